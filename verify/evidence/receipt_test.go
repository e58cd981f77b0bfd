package evidence_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/evidence"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// released is a folder of a real document, with a receipt that fits it.
func released(t *testing.T) (evidence.Folder, evidence.Receipt) {
	t.Helper()
	bound := binding.Binding{TLSKey: []byte("key"), HPKEKey: make([]byte, binding.HPKEKeySize), Configuration: [48]byte{3}}
	f := example()
	f.Configuration = pcrs.Digest{3}
	f.Document, f.Binding = marlin(t), bound.Encode()
	d, err := document.Parse(f.Document, &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	entry := pcrs.Entry{Version: "v1.2.3", Image: pcrs.Image{Architecture: pcrs.X8664}}
	r := evidence.NewReceipt(f.Evidence, d, bound, entry, false)
	r.Time = f.Time.Add(time.Second)
	r.Bundle = evidence.Bundle{Name: "staking", Version: 7, Digest: pcrs.Digest{1}, Configuration: pcrs.Digest{3}}
	r.Sealed = pcrs.Digest{2}
	r.PublicKeys = []string{"0x01"}
	return f, r
}

func TestAReceiptFitsItsEvidence(t *testing.T) {
	f, r := released(t)
	if err := r.Check(f); err != nil {
		t.Error(err)
	}
	if len(r.PCRs) != 16 || r.PCRs[0].Index != 0 || r.PCRs[15].Index != 15 {
		t.Errorf("got registers %v", r.PCRs)
	}
}

func TestAReceiptIsReadBackWithItsFolder(t *testing.T) {
	f, r := released(t)
	dir := filepath.Join(t.TempDir(), "release")
	if err := evidence.Write(dir, f); err != nil {
		t.Fatal(err)
	}
	if got, err := evidence.Read(dir); err != nil || got.Receipt != nil {
		t.Errorf("before the release: got %v, %v", got.Receipt, err)
	}
	if err := evidence.WriteReceipt(dir, r); err != nil {
		t.Fatal(err)
	}
	got, err := evidence.Read(dir)
	if err != nil || got.Receipt == nil || !reflect.DeepEqual(*got.Receipt, r) {
		t.Errorf("got %+v, %v, want %+v", got.Receipt, err, r)
	}
	if id, err := got.ModuleID(); err != nil || id != r.ModuleID || !strings.HasPrefix(id, "i-") {
		t.Errorf("got module %q, %v", id, err)
	}
}

func TestAReceiptOfOtherEvidenceIsFound(t *testing.T) {
	for field, change := range map[string]func(*evidence.Receipt){
		"URL":       func(r *evidence.Receipt) { r.URL += "x" },
		"module_id": func(r *evidence.Receipt) { r.ModuleID += "x" },
		"document":  func(r *evidence.Receipt) { r.Document[0] ^= 1 },
		"binding":   func(r *evidence.Receipt) { r.Binding[0] ^= 1 },
		"registers": func(r *evidence.Receipt) { r.PCRs[2].Value[0] ^= 1 },
		"bundle":    func(r *evidence.Receipt) { r.Bundle.Configuration[0] ^= 1 },
		"time":      func(r *evidence.Receipt) { r.Time = r.Time.Add(-time.Hour) },
	} {
		f, r := released(t)
		change(&r)
		if err := r.Check(f); err == nil || !strings.Contains(err.Error(), "another "+field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
	f, r := released(t)
	f.Document = []byte("noise")
	if r.Check(f) == nil {
		t.Error("a receipt of noise")
	}
	f, r = released(t)
	f.Binding = []byte("noise")
	if r.Check(f) == nil {
		t.Error("a receipt of no binding")
	}
}

func TestADamagedReceiptIsAnError(t *testing.T) {
	f, _ := released(t)
	for name, content := range map[string]string{
		"nothing":           "",
		"an unknown member": `{"version":2,"secret":""}`,
		"another version":   `{"version":1}`,
		"a short digest":    `{"version":2,"document_sha384":"00"}`,
		"two values":        `{"version":2}{}`,
	} {
		dir := filepath.Join(t.TempDir(), "release")
		if err := evidence.Write(dir, f); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "receipt.json"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.Read(dir); err == nil || !strings.Contains(err.Error(), "receipt.json") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestASignatureIsPartOfTheFolder(t *testing.T) {
	f, _ := released(t)
	f.Signature = []byte("signature")
	dir := filepath.Join(t.TempDir(), "audit")
	if err := evidence.Write(dir, f); err != nil {
		t.Fatal(err)
	}
	if got, err := evidence.Read(dir); err != nil || string(got.Signature) != "signature" {
		t.Errorf("got %q, %v", got.Signature, err)
	}
}

func TestIndexAndReceiptAreToldApart(t *testing.T) {
	f, r := released(t)
	f.Receipt = &r
	files, err := f.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if got, want := evidence.IsIndex(file.Data), file.Name == "evidence.json"; got != want {
			t.Errorf("%s: taken for an index: %v", file.Name, got)
		}
		if got, want := evidence.IsReceipt(file.Data), file.Name == "receipt.json"; got != want {
			t.Errorf("%s: taken for a receipt: %v", file.Name, got)
		}
	}
}
