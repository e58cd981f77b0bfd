package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/parent/journal"
)

// write has an enclave's store write a few records, and returns the folder and the file.
func write(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	s := serve(t, dir)
	store := open(t, config(s.socket))
	for n := range 5 {
		if d := store.Record(t.Context(), chain, keyOf(n), vote(uint64(n)+1)); d.Answer != slashing.Allowed {
			t.Fatal(d.Err)
		}
	}
	store.Close()
	s.stop()
	report, err := journal.Verify(dir)
	if err != nil || report.Records == 0 || report.Head.Sequence < 5 || report.Incomplete != 0 ||
		report.Head.Sequence != report.First+uint64(report.Records)-1 {
		t.Fatalf("a sound journal: %+v, %v", report, err)
	}
	return dir, filepath.Join(dir, report.File)
}

func TestTheHeadOfAJournalIsWhatTheNextStartReads(t *testing.T) {
	dir, _ := write(t)
	report, err := journal.Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	store := open(t, config(serve(t, dir).socket))
	if digest, sequence := store.Head(); digest != report.Head.Digest || sequence != report.Head.Sequence {
		t.Errorf("the store read record %d (%x), want %v", sequence, digest, report.Head)
	}
}

func TestVerifyingChangesNothing(t *testing.T) {
	dir, file := write(t)
	data := read(t, file)
	if err := os.WriteFile(file, append(data, data[:7]...), 0o600); err != nil { // torn, which a server would cut off
		t.Fatal(err)
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if report, err := journal.Verify(dir); err != nil || report.Incomplete != 7 || report.Bytes != int64(len(data)) {
		t.Errorf("got %+v, %v; want 7 incomplete bytes", report, err)
	}
	if after, err := os.ReadDir(dir); err != nil || len(after) != len(before) || len(read(t, file)) != len(data)+7 {
		t.Errorf("the folder has changed: %v, %v", after, err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAFlippedBitOfAJournalIsSeen(t *testing.T) {
	dir, file := write(t)
	sound, err := journal.Verify(dir)
	if err != nil {
		t.Fatal(err)
	}
	data := read(t, file)
	for at := 0; at < len(data); at += 1 + len(data)/500 {
		data[at] ^= 1
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		report, err := journal.Verify(dir)
		var damage *journal.DamageError
		if err == nil && report.Head == sound.Head || err != nil && !errors.As(err, &damage) {
			t.Fatalf("bit of byte %d: got %+v, %v", at, report, err)
		}
		data[at] ^= 1
	}
}

func TestAFolderWithoutAJournalSaysSo(t *testing.T) {
	if report, err := journal.Verify(t.TempDir()); err != nil || report != (journal.Report{}) {
		t.Errorf("got %+v, %v", report, err)
	}
	if _, err := journal.Verify(filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	_, file := write(t)
	renamed := filepath.Join(t.TempDir(), "00000000000000099999.journal")
	if err := os.WriteFile(renamed, read(t, file), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Verify(filepath.Dir(renamed)); err == nil {
		t.Error("a file under another's name was taken")
	}
}
