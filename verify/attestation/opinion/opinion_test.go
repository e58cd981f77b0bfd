package opinion_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/opinion"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

func attested(t *testing.T, options nsmtest.Options) ([]byte, *document.Document, chain.Trust) {
	t.Helper()
	module, err := nsmtest.New(options)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := module.Device().Attest(t.Context(), nsm.Request{Nonce: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.Parse(raw, &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(module.Root().Raw)
	trust, err := chain.NewTrust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: module.Root().Raw}), hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	return raw, d, trust
}

// accepted is a report in which our own verification has accepted the leaf.
func accepted() *report.Report {
	r := &report.Report{}
	r.Pass(report.A7, "", "")
	r.Pass(report.A9, "", "")
	return r
}

func TestBothAgreeOnAGoodDocument(t *testing.T) {
	raw, d, trust := attested(t, nsmtest.Options{})
	r := accepted()
	opinion.Ask(raw, d, trust, r)
	if got := r.Check(report.S1); got.Verdict != report.Pass {
		t.Errorf("S1: %+v", got)
	}
}

func TestAnotherReadingOfAnyFieldIsDisagreement(t *testing.T) {
	raw, d, trust := attested(t, nsmtest.Options{})
	for field, change := range map[string]func(*document.Document){
		"module_id":  func(d *document.Document) { d.ModuleID += "x" },
		"timestamp":  func(d *document.Document) { d.Timestamp = d.Timestamp.Add(1e6) },
		"pcrs":       func(d *document.Document) { d.PCRs = map[int]pcrs.PCR{} },
		"cabundle":   func(d *document.Document) { d.CABundle = d.CABundle[1:] },
		"public_key": func(d *document.Document) { d.PublicKey = []byte{1} },
		"user_data":  func(d *document.Document) { d.UserData = []byte{1} },
		"nonce":      func(d *document.Document) { d.Nonce = []byte{1} },
	} {
		changed := *d
		change(&changed)
		r := accepted()
		opinion.Ask(raw, &changed, trust, r)
		if got := r.Check(report.S1); got.Verdict != report.Fail || !strings.Contains(got.Got, field) {
			t.Errorf("%s: %+v, want disagreement", field, got)
		}
	}
}

func TestAnotherLeafIsDisagreement(t *testing.T) {
	raw, d, trust := attested(t, nsmtest.Options{})
	changed := *d
	changed.Certificate = d.CABundle[0]
	r := accepted()
	opinion.Ask(raw, &changed, trust, r)
	if got := r.Check(report.S1).Verdict; got != report.Fail {
		t.Errorf("got %v, want fail", got)
	}
	changed.Certificate = []byte{1}
	r = accepted()
	opinion.Ask(raw, &changed, trust, r)
	if got := r.Check(report.S1).Verdict; got != report.Fail {
		t.Errorf("no certificate at all: got %v, want fail", got)
	}
}

func TestAChainToAnotherRootIsDisagreement(t *testing.T) {
	raw, d, _ := attested(t, nsmtest.Options{})
	_, _, stranger := attested(t, nsmtest.Options{})
	for name, trust := range map[string]chain.Trust{"another root": stranger, "no root": {}} {
		r := accepted()
		opinion.Ask(raw, d, trust, r)
		if got := r.Check(report.S1).Verdict; got != report.Fail {
			t.Errorf("%s: got %v, want fail", name, got)
		}
	}
}

func TestAnExpiredChainIsDisagreement(t *testing.T) {
	raw, d, trust := attested(t, nsmtest.Options{})
	late := *d
	late.Timestamp = d.Timestamp.Add(24 * time.Hour)
	r := accepted()
	opinion.Ask(raw, &late, trust, r)
	if got := r.Check(report.S1).Verdict; got != report.Fail {
		t.Errorf("got %v, want fail", got)
	}
}

func TestAForgedSignatureIsDisagreement(t *testing.T) {
	raw, d, trust := attested(t, nsmtest.Options{Mutate: func(t *nsmtest.Template) {
		t.Signed = func(s []byte) []byte { s[3] ^= 1; return s }
	}})
	r := accepted()
	opinion.Ask(raw, d, trust, r)
	if got := r.Check(report.S1).Verdict; got != report.Fail {
		t.Errorf("got %v, want fail", got)
	}
}

func TestAPanicIsDisagreement(t *testing.T) {
	// nitrite panics on a P-521 leaf. Our own check of the curve is told here
	// that the leaf is in order, so that nitrite is reached at all.
	raw, d, trust := attested(t, nsmtest.Options{Mutate: func(t *nsmtest.Template) {
		key, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
		if err != nil {
			panic(err)
		}
		t.Chain.Leaf.Key = key
		t.Signed = func(s []byte) []byte { return s[:96] }
	}})
	r := accepted()
	opinion.Ask(raw, d, trust, r)
	if got := r.Check(report.S1); got.Verdict != report.Fail || !strings.Contains(got.Got, "panicked") {
		t.Errorf("S1: %+v, want a caught panic", got)
	}
}

func TestNobodyIsAskedAboutALeafWithAnotherKey(t *testing.T) {
	raw, d, trust := attested(t, nsmtest.Options{})
	r := &report.Report{}
	r.Fail(report.A9, "P-384", "P-521")
	r.Pass(report.A7, "", "")
	opinion.Ask(raw, d, trust, r)
	if got := r.Check(report.S1).Verdict; got != report.Skipped {
		t.Errorf("got %v, want skipped", got)
	}
}
