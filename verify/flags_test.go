package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/verify/attestation/chain"
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
	got, err := readDenied(write(t, "aws.nitro-enclaves 1a2b\nzone.example ff\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []chain.Denied{{Issuer: "aws.nitro-enclaves", Serial: "1a2b"}, {Issuer: "zone.example", Serial: "ff"}}; len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, content := range []string{"a", "a b c", "a 0x1", "a 1A", "a 01", "a 1\n\nb 2", "a -1"} {
		if got, err := readDenied(write(t, content)); err == nil || got != nil {
			t.Errorf("%q: got %v", content, got)
		}
	}
}

func TestReadBoundedRefusesMoreThanItsBound(t *testing.T) {
	name := write(t, "12345")
	if got, err := readBounded(name, 5); err != nil || string(got) != "12345" {
		t.Errorf("got %q %v", got, err)
	}
	if _, err := readBounded(name, 4); err == nil || !strings.Contains(err.Error(), "more than 4 bytes") {
		t.Errorf("got %v", err)
	}
}

func TestWriteFileReplacesAFileAsAWhole(t *testing.T) {
	name := write(t, "old")
	if err := writeFile(name, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "new" {
		t.Errorf("got %q", got)
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	if err := writeFile(filepath.Join(name, "below"), nil); err == nil {
		t.Error("written below a file")
	}
}

func TestNoncesOnTheCommandLineAreWhole(t *testing.T) {
	if got, err := parseNonce(strings.Repeat("0a", 32)); err != nil || len(got) != 32 || got[0] != 10 {
		t.Errorf("got %x %v", got, err)
	}
	if got, err := parseNonce(""); err != nil || len(got) != 0 {
		t.Errorf("got %x %v", got, err)
	}
	for _, s := range []string{"0a", strings.Repeat("0a", 33), strings.Repeat("zz", 32)} {
		if _, err := parseNonce(s); err == nil {
			t.Errorf("accepted %q", s)
		}
	}
}
