package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
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
