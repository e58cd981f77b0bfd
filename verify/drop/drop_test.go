package drop_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/drop"
	"holdfast/verify/enclavetest"
	"holdfast/verify/evidence"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

const vectors = "../attestation/testdata/"

func marlin(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(vectors, "marlin1.bin"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// measurements lists the image of a document.
func measurements(t testing.TB, raw []byte) []byte {
	t.Helper()
	d, err := document.Parse(raw, &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: d.PCRs[0], PCR1: d.PCRs[1], PCR2: d.PCRs[2]})
	if err != nil {
		t.Fatal(err)
	}
	return f.Bytes()
}

func file(name string, data []byte) evidence.File { return evidence.File{Name: name, Data: data} }

// folder is what verify live would have written, of an enclave that AWS did not
// sign for.
func folder(t *testing.T) evidence.Folder {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := enclavetest.Start(nil, enclavetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	bound := e.Binding()
	digest, nonce := bound.Digest(), make([]byte, 32)
	raw, err := module.Device().Attest(context.Background(), nsm.Request{UserData: digest[:], Nonce: nonce})
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Folder{
		Evidence:     evidence.Evidence{URL: "https://signer.example", Time: time.Now(), Nonce: nonce, Document: raw, Binding: bound.Encode(), Certificate: module.Root().Raw},
		Measurements: measurements(t, raw),
		Signature:    []byte("-----BEGIN SSH SIGNATURE-----\n"),
		Receipt:      &evidence.Receipt{Version: 1},
	}
}

func TestADocumentWithMeasurementsIsIncomplete(t *testing.T) {
	raw := marlin(t)
	for name, input := range map[string][]byte{
		"binary": raw,
		"base64": []byte(base64.StdEncoding.EncodeToString(raw)),
		"JSON":   fmt.Appendf(nil, `{"document":%q,"binding":""}`, base64.StdEncoding.EncodeToString(raw)),
	} {
		got, err := drop.Verify([]evidence.File{file("PCRS.md", measurements(t, raw)), file("a.doc", input)}, drop.Settings{AtDocumentTime: true})
		if err != nil || got.Verdict != attestation.Incomplete || !strings.Contains(got.HTML, "<h1>INCOMPLETE</h1>") {
			t.Errorf("%s: got %v, %v", name, got.Verdict, err)
		}
		if strings.Contains(got.HTML, "Hint:") {
			t.Errorf("%s: advice on flags that a page does not have", name)
		}
	}
}

func TestWithoutMeasurementsNothingPasses(t *testing.T) {
	got, err := drop.Verify([]evidence.File{file("a.doc", marlin(t))}, drop.Settings{AtDocumentTime: true})
	if err != nil || got.Verdict != attestation.Refused {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
}

func TestThePagesOwnMeasurementsServeWhereNoneAreDropped(t *testing.T) {
	raw := marlin(t)
	settings := drop.Settings{AtDocumentTime: true, Measurements: measurements(t, raw)}
	if got, err := drop.Verify([]evidence.File{file("a.doc", raw)}, settings); err != nil || got.Verdict != attestation.Incomplete {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
	settings.Release = "v2.0.0"
	if got, err := drop.Verify([]evidence.File{file("a.doc", raw)}, settings); err != nil || got.Verdict != attestation.Refused {
		t.Errorf("another release: got %v, %v", got.Verdict, err)
	}
}

func TestAnOldDocumentFailsUnlessItIsArchived(t *testing.T) {
	raw := marlin(t)
	got, err := drop.Verify([]evidence.File{file("a.doc", raw)}, drop.Settings{Now: time.Now(), Measurements: measurements(t, raw)})
	if err != nil || got.Verdict != attestation.Refused {
		t.Errorf("got %v, %v", got.Verdict, err)
	}
}

// TestAFolderIsJudgedAsEvidence expects a failure: the page trusts AWS, which
// signed nothing here. Nonce and measurements come from the folder and hold.
func TestAFolderIsJudgedAsEvidence(t *testing.T) {
	files, err := folder(t).Files()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 7 {
		t.Fatalf("got %d files, want the whole folder", len(files))
	}
	got, err := drop.Verify(files, drop.Settings{})
	if err != nil || got.Verdict != attestation.Refused {
		t.Fatalf("got %v, %v", got.Verdict, err)
	}
	for _, want := range []string{"https://signer.example", "C2 root in the document", `<th scope="row">D1</th>`} {
		if !strings.Contains(got.HTML, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(got.HTML, "E1 PCR0, PCR1 and PCR2;") || strings.Contains(got.HTML, "D1 nonce") {
		t.Error("it fails for another reason")
	}
}

func TestWhatCannotBeJudgedIsAnError(t *testing.T) {
	raw := marlin(t)
	f := folder(t)
	index := []byte(`{"version":1,"url":"","time":"2026-11-21T12:00:00Z","nonce":"` + strings.Repeat("00", 32) + `"}`)
	certificate := evidence.CertificatePEM(f.Certificate)
	for name, test := range map[string]struct {
		files    []evidence.File
		settings drop.Settings
		want     string
	}{
		"nothing":                 {nil, drop.Settings{}, "got 0 files"},
		"too many":                {make([]evidence.File, 17), drop.Settings{}, "got 17 files"},
		"no document":             {[]evidence.File{file("PCRS.md", f.Measurements)}, drop.Settings{}, "no attestation document"},
		"two documents":           {[]evidence.File{file("a", raw), file("b", raw)}, drop.Settings{}, "b: a second document"},
		"too large":               {[]evidence.File{file("a", make([]byte, drop.MaxFileSize+1))}, drop.Settings{}, "more than"},
		"bad measurements":        {[]evidence.File{file("a", raw), file("b", []byte("# PCRS\nx"))}, drop.Settings{}, "PCRS.md:2"},
		"a nonce of words":        {[]evidence.File{file("a", raw)}, drop.Settings{Nonce: "xyz"}, "nonce: "},
		"a certificate cut short": {[]evidence.File{file("a", raw), file("c", certificate[:60])}, drop.Settings{}, "certificate: "},
		"evidence in part":        {[]evidence.File{file("a", raw), file("e", index)}, drop.Settings{}, "goes with"},
		"evidence of version 2": {[]evidence.File{
			file("a", raw), file("e", []byte(`{"version":2,"time":"2026-11-21T12:00:00Z","nonce":""}`)),
			file("b", []byte(binding.Version)), file("c", certificate),
		}, drop.Settings{}, "got version 2"},
	} {
		got, err := drop.Verify(test.files, test.settings)
		if err == nil || !strings.Contains(err.Error(), test.want) || got.HTML != "" || got.Verdict != attestation.Refused {
			t.Errorf("%s: got %v, %v, want %q", name, got.Verdict, err, test.want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(marlin(f), []byte("# PCRS"), "00")
	f.Add([]byte(`{"version":1,"time":1,"nonce":2}`), []byte("-----BEGIN CERTIFICATE-----"), "")
	f.Fuzz(func(t *testing.T, a, b []byte, nonce string) {
		got, err := drop.Verify([]evidence.File{file("a", a), file("b", b)}, drop.Settings{AtDocumentTime: true, Nonce: nonce})
		if (err == nil) != (got.HTML != "") {
			t.Errorf("got %d bytes with %v", len(got.HTML), err)
		}
		if got.Verdict == attestation.Good {
			t.Error("an archived document passed")
		}
	})
}
