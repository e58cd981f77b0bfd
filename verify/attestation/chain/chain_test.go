package chain_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

// noon is when every document of these tests is made.
var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// sign returns a document made at noon, and its trust.
func sign(t *testing.T) (*document.Document, chain.Trust) {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := module.Device().Attest(t.Context(), nsm.Request{})
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
	return d, trust
}

func TestADocumentVerifies(t *testing.T) {
	d, trust := sign(t)
	r := &report.Report{}
	if err := chain.Verify(d, trust, chain.Validity{At: []time.Time{noon}}, r); err != nil {
		t.Errorf("%v: %+v", err, r.With(report.Fail))
	}
}

func TestWithoutAMomentNothingIsValid(t *testing.T) {
	d, trust := sign(t)
	r := &report.Report{}
	if err := chain.Verify(d, trust, chain.Validity{}, r); !errors.Is(err, chain.ErrUnverified) || r.Check(report.C7).Verdict != report.Fail {
		t.Errorf("got %v, %+v", err, r.Check(report.C7))
	}
}

func TestTheZeroTimeIsNotNow(t *testing.T) {
	d, trust := sign(t)
	if chain.Verify(d, trust, chain.Validity{At: []time.Time{{}}}, &report.Report{}) == nil {
		t.Error("valid in the year 1")
	}
}

func TestEveryMomentCounts(t *testing.T) {
	d, trust := sign(t)
	for name, at := range map[string][]time.Time{
		"the first": {noon.Add(4 * time.Hour), noon},
		"the last":  {noon, noon.Add(4 * time.Hour)},
	} {
		if chain.Verify(d, trust, chain.Validity{At: at}, &report.Report{}) == nil {
			t.Errorf("%s was left out", name)
		}
	}
}

func TestASlowClockIsForgivenByTheSkew(t *testing.T) {
	d, trust := sign(t)
	early := []time.Time{noon.Add(-30 * time.Second)} // the leaf starts 3 s before noon
	if chain.Verify(d, trust, chain.Validity{At: early}, &report.Report{}) == nil {
		t.Error("valid before its time")
	}
	if err := chain.Verify(d, trust, chain.Validity{At: early, Skew: time.Minute}, &report.Report{}); err != nil {
		t.Error(err)
	}
	late := []time.Time{noon.Add(3*time.Hour + time.Second)}
	if chain.Verify(d, trust, chain.Validity{At: late, Skew: time.Minute}, &report.Report{}) == nil {
		t.Error("the skew lengthened a certificate's life")
	}
}

func TestAForgedDocumentCostsOneVerification(t *testing.T) {
	d, trust := sign(t)
	d.Payload = append(bytes.Clone(d.Payload), 0)
	r := &report.Report{}
	if chain.Verify(d, trust, chain.Validity{At: []time.Time{noon}}, r) == nil {
		t.Fatal("verified")
	}
	if got := r.Check(report.C4).Verdict; got != report.Skipped {
		t.Errorf("C4 is %v, want skipped: the chain was walked for a forgery", got)
	}
}

func TestVerifyDoesNotChangeTheDocument(t *testing.T) {
	d, trust := sign(t)
	bundle := len(d.CABundle)
	spare := append(d.CABundle[:bundle:bundle], []byte("spare"))
	d.CABundle = spare[:bundle] // room for one more behind the slice
	if err := chain.Verify(d, trust, chain.Validity{At: []time.Time{noon}}, &report.Report{}); err != nil {
		t.Fatal(err)
	}
	if string(spare[bundle]) != "spare" {
		t.Error("written behind the bundle")
	}
}
