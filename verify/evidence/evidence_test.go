package evidence_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/evidence"
)

func example() evidence.Folder {
	return evidence.Folder{Measurements: []byte("# PCRS\n"), Evidence: evidence.Evidence{
		URL:         "https://signer.example:9000",
		Time:        time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC),
		Nonce:       bytes.Repeat([]byte{7}, evidence.NonceSize),
		Document:    []byte("document"),
		Binding:     []byte("binding"),
		Certificate: []byte("certificate"),
	}}
}

func written(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	if err := evidence.Write(dir, example()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadReturnsWhatWriteStored(t *testing.T) {
	want := example()
	got, err := evidence.Read(written(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.URL != want.URL || !got.Time.Equal(want.Time) || !bytes.Equal(got.Nonce, want.Nonce) || !bytes.Equal(got.Document, want.Document) ||
		!bytes.Equal(got.Binding, want.Binding) || !bytes.Equal(got.Certificate, want.Certificate) || string(got.Measurements) != "# PCRS\n" {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestAFolderIsNeverOverwritten(t *testing.T) {
	dir := written(t)
	if err := evidence.Write(dir, evidence.Folder{}); err == nil {
		t.Error("overwritten")
	}
	if _, err := evidence.Read(dir); err != nil {
		t.Errorf("damaged: %v", err)
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	parent := t.TempDir()
	if err := evidence.Write(filepath.Join(parent, "missing", "audit"), example()); err == nil {
		t.Error("written into a folder that does not exist")
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func TestReadRefusesADamagedFolder(t *testing.T) {
	for name, test := range map[string]struct {
		file    string
		content []byte // nil: removed
	}{
		"no index":             {"evidence.json", nil},
		"another version":      {"evidence.json", []byte(`{"version":2,"url":"","time":"2026-11-21T12:00:00Z","nonce":""}`)},
		"an unknown member":    {"evidence.json", []byte(`{"version":1,"verdict":"pass"}`)},
		"a short nonce":        {"evidence.json", []byte(`{"version":1,"url":"","time":"2026-11-21T12:00:00Z","nonce":"00"}`)},
		"an endless document":  {"document.cbor", make([]byte, document.MaxSize+1)},
		"no document":          {"document.cbor", nil},
		"no binding":           {"binding.bin", nil},
		"no certificate":       {"certificate.pem", nil},
		"a certificate in DER": {"certificate.pem", []byte("der")},
		"two certificates":     {"certificate.pem", bytes.Repeat(evidence.CertificatePEM([]byte("x")), 2)},
		"no measurements":      {"PCRS.md", nil},
	} {
		dir := written(t)
		path := filepath.Join(dir, test.file)
		var err error
		if test.content == nil {
			err = os.Remove(path)
		} else {
			err = os.WriteFile(path, test.content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.Read(dir); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
