package rebuild_test

import (
	"context"
	"crypto/sha512"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/verify/pcrs"
	"holdfast/verify/rebuild"
)

// program writes a shell script that stands for the command image.
func program(t *testing.T, script string) rebuild.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return rebuild.Program(path)
}

func put(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.eif")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const eif = ".eif\x00\x04\x00\x00rest"

func answer(extra string) string {
	hex := func(s string) string { return fmt.Sprintf("%x", sha512.Sum384([]byte(s))) }
	return fmt.Sprintf(`{"Measurements":{"HashAlgorithm":"Sha384 { ... }","PCR0":%q,"PCR1":%q,"PCR2":%q%s}}`, hex("0"), hex("1"), hex("2"), extra)
}

func TestAnImageIsMeasuredByTheProgramAndHashedHere(t *testing.T) {
	p := program(t, `test "$1" = measure || exit 9; echo '`+answer("")+`'`)
	got, err := p.Measure(t.Context(), rebuild.Files{EIF: put(t, eif)})
	if err != nil {
		t.Fatal(err)
	}
	want := pcrs.Image{
		Architecture: pcrs.X8664, EIF: sha512.Sum384([]byte(eif)), Size: int64(len(eif)),
		PCR0: sha512.Sum384([]byte("0")), PCR1: sha512.Sum384([]byte("1")), PCR2: sha512.Sum384([]byte("2")),
	}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheHeaderTellsTheArchitecture(t *testing.T) {
	p := program(t, `echo '`+answer(`,"PCR8":"`+strings.Repeat("08", 48)+`"`)+`'`)
	got, err := p.Measure(t.Context(), rebuild.Files{EIF: put(t, ".eif\x00\x04\x00\x01rest")})
	if err != nil || got.Architecture != pcrs.AArch64 || got.PCR8.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestMeasurementsOfAnotherFormAreRefused(t *testing.T) {
	zero := strings.Repeat("0", 96)
	for name, script := range map[string]string{
		"a failure":         "echo trouble >&2; exit 1",
		"nothing":           "true",
		"no JSON":           "echo hello",
		"an unknown member": "echo '" + answer(`,"PCR9":""`) + "'",
		"no PCR0":           `echo '{"Measurements":{}}'`,
		"a zero":            `echo '{"Measurements":{"PCR0":"` + zero + `","PCR1":"` + zero + `","PCR2":"` + zero + `"}}'`,
		"a short value":     `echo '{"Measurements":{"PCR0":"00"}}'`,
		"endless output":    "head -c 100000 /dev/zero",
	} {
		if got, err := program(t, script).Measure(t.Context(), rebuild.Files{EIF: put(t, eif)}); err == nil || got != (pcrs.Image{}) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	p := program(t, `echo '`+answer("")+`'`)
	for _, content := range []string{"", ".eif", "PK\x03\x04 rest of it"} {
		if _, err := p.Measure(t.Context(), rebuild.Files{EIF: put(t, content)}); err == nil {
			t.Errorf("%q: accepted", content)
		}
	}
}

func TestTheProgramVerifyIsBuiltAndHashedWhereItIsWanted(t *testing.T) {
	files := rebuild.Files{EIF: put(t, eif), Verify: put(t, "the program")}
	var log strings.Builder
	if err := program(t, `echo "$*"`).Build(t.Context(), "src", files, &log); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("build -C src -unpublished -o %s -verify %s\n", files.EIF, files.Verify); log.String() != want {
		t.Errorf("got %q, want %q", &log, want)
	}
	p := program(t, `echo '`+answer("")+`'`)
	got, err := p.Measure(t.Context(), files)
	if err != nil || got.Verify != sha512.Sum384([]byte("the program")) {
		t.Errorf("got %v, %v", got.Verify, err)
	}
	files.Verify += " that is not there"
	if got, err := p.Measure(t.Context(), files); err == nil {
		t.Errorf("got %v of nothing", got.Verify)
	}
}

func TestAFailedBuildIsAnError(t *testing.T) {
	var log strings.Builder
	err := program(t, `echo "building $*"; exit 6`).Build(t.Context(), "src", rebuild.Files{EIF: "out.eif"}, &log)
	if err == nil || log.String() != "building build -C src -unpublished -o out.eif\n" {
		t.Errorf("got %v, log %q", err, &log)
	}
}

func TestACancelledBuildEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := program(t, "sleep 60").Build(ctx, "src", rebuild.Files{EIF: "out.eif"}, &strings.Builder{}); err == nil {
		t.Error("it went on")
	}
}

func TestTheVersionIsThatOfTheCheckout(t *testing.T) {
	dir := t.TempDir()
	if _, err := rebuild.Version(dir); err == nil {
		t.Error("a version came from nowhere")
	}
	if err := os.Mkdir(filepath.Join(dir, "image"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "image", "VERSION"), []byte("v1.2.3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := rebuild.Version(dir); err != nil || got != "v1.2.3" {
		t.Errorf("got %q, %v", got, err)
	}
}
