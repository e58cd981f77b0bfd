package reference_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/verify/attestation/chain"
	"holdfast/verify/pcrs"
	"holdfast/verify/reference"
)

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestADenyListHasOneFormOnly(t *testing.T) {
	got, err := reference.ReadDenied(write(t, "aws.nitro-enclaves 1a2b\nzone.example ff\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []chain.Denied{{Issuer: "aws.nitro-enclaves", Serial: "1a2b"}, {Issuer: "zone.example", Serial: "ff"}}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, content := range []string{"a", "a b c", "a 0x1", "a 1A", "a 01", "a 1\n\nb 2", "a -1"} {
		if got, err := reference.ReadDenied(write(t, content)); err == nil || got != nil {
			t.Errorf("%q: got %v", content, got)
		}
	}
}

func TestReadFileRefusesMoreThanItsBound(t *testing.T) {
	name := write(t, "12345")
	if got, err := reference.ReadFile(name, 5); err != nil || string(got) != "12345" {
		t.Errorf("got %q %v", got, err)
	}
	if _, err := reference.ReadFile(name, 4); err == nil || !strings.Contains(err.Error(), "more than 4 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestTheOptionsAreThoseOfTheFiles(t *testing.T) {
	published, err := (*pcrs.File)(nil).WithImage("v1.0.0", pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcrs.PCR{1}, PCR1: pcrs.PCR{2}, PCR2: pcrs.PCR{3}})
	if err != nil {
		t.Fatal(err)
	}
	f := reference.Files{PCRs: write(t, string(published.Bytes())), Release: "v1.0.0", Strict: true}
	options, err := f.Options(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := options.Policy
	if p.Release != "v1.0.0" || !p.Strict || p.MaxAge <= 0 || len(p.Measurements.Entries()) != 1 || options.UnsafeAcceptEmulated || len(f.Measurements) == 0 {
		t.Errorf("got %+v", options)
	}
}

func TestFilesThatCannotBeReadGiveNoOptions(t *testing.T) {
	for name, f := range map[string]reference.Files{
		"none":           {},
		"no PCRS.md":     {PCRs: "nowhere"},
		"no root":        {PCRs: "nowhere", Root: "nowhere", RootSHA256: "00"},
		"not PCRS.md":    {PCRs: write(t, "hello")},
		"no signature":   {PCRs: write(t, "hello"), Signers: write(t, "")},
		"no deny list":   {PCRs: write(t, "hello"), Deny: "nowhere"},
		"not a root":     {PCRs: write(t, "hello"), Root: write(t, "root"), RootSHA256: strings.Repeat("0", 64)},
		"only half root": {PCRs: write(t, "hello"), Root: "", RootSHA256: "00"},
	} {
		if options, err := f.Options(time.Now()); err == nil || options.Policy.Measurements != nil {
			t.Errorf("%s: got %+v, %v", name, options, err)
		}
	}
	half := reference.Files{RootSHA256: "00"}
	if err := half.Check(); err == nil || !strings.Contains(err.Error(), "go together") {
		t.Errorf("got %v", err)
	}
}
