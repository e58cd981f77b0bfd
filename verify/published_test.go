package main

import (
	"crypto/sha512"
	"os"
	"path/filepath"
	"testing"

	"holdfast/internal/testenv"
	"holdfast/verify/pcrs"
	"holdfast/verify/rebuild"
)

// The image program builds verify in the sandbox, and has compared that with PCRS.md before this test runs.
// The host's go command, given the flags of the Makefile, must come to the same bytes: so may anyone.
func TestTheProgramThatTheHostBuildsIsThePublishedOne(t *testing.T) {
	program := filepath.Join(testenv.Need(t, "HOLDFAST_BIN"), "verify")
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	version, err := rebuild.Version("..")
	if err != nil {
		t.Fatal(err)
	}
	published, err := parseMeasurements("../PCRS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range published.Entries() {
		if e.Version != version || e.Image.Architecture != pcrs.X8664 {
			continue
		}
		if got := pcrs.Digest(sha512.Sum384(data)); got != e.Image.Verify {
			t.Errorf("%s has SHA-384\n%s, PCRS.md has\n%s", program, got, e.Image.Verify)
		}
		return
	}
	t.Errorf("PCRS.md has no entry for %s", version)
}
