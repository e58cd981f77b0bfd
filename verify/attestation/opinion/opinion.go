// Package opinion asks another implementation, hf/nitrite, whether it accepts
// an attestation document too, and crypto/x509 about its chain.
//
// It runs only on documents that package chain has accepted, and both must
// agree. It is never the trust path: nitrite panics on a leaf with a P-521 key,
// and returns a result beside an error that callers have been seen to ignore.
// So the leaf's curve is checked first, a panic counts as disagreement, and
// what it decoded is compared field by field with our own reading.
package opinion

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hf/nitrite"

	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

// Ask lets them verify the same bytes under the same root at the document's own
// time, and notes the outcome as S1.
func Ask(raw []byte, d *document.Document, trust chain.Trust, r *report.Report) {
	if r.Check(report.A9).Verdict != report.Pass || r.Check(report.A7).Verdict != report.Pass {
		r.Skip(report.S1, "agreement", "not asked: A7 or A9 failed")
		return
	}
	got := "agreement"
	err := ask(raw, d, trust)
	if err != nil {
		got = err.Error()
	}
	r.Record(report.S1, err == nil, "agreement", got)
}

func ask(raw []byte, d *document.Document, trust chain.Trust) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("nitrite panicked: %v", p)
		}
	}()
	leaf, err := x509.ParseCertificate(d.Certificate)
	if err != nil {
		return err
	}
	// nitrite would hand the chain to crypto/x509 with the document's own root
	// among the intermediates, and x509 would then verify the link below it
	// twice, which is a fifth of the work. So nitrite stops at the leaf, and
	// x509 gets the same chain without that.
	anchor := x509.NewCertPool()
	anchor.AddCert(leaf)
	result, err := nitrite.Verify(raw, nitrite.VerifyOptions{Roots: anchor, CurrentTime: d.Timestamp})
	if err != nil {
		return err
	}
	if !result.SignatureOK || result.Document == nil {
		return errors.New("nitrite does not accept the signature")
	}
	if err := compare(result.Document, d); err != nil {
		return err
	}
	return verifyChain(result.Certificates, trust, d.Timestamp)
}

// verifyChain lets crypto/x509 judge the certificates that nitrite read, the
// leaf first, with the options that nitrite has.
func verifyChain(certificates []*x509.Certificate, trust chain.Trust, at time.Time) error {
	root, err := x509.ParseCertificate(trust.Root())
	if err != nil {
		return err
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range certificates[1:] {
		if !c.Equal(root) {
			intermediates.AddCert(c)
		}
	}
	_, err = certificates[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err
}

// compare tells which field nitrite read differently.
func compare(theirs *nitrite.Document, ours *document.Document) error {
	for field, same := range map[string]bool{
		"module_id":   theirs.ModuleID == ours.ModuleID,
		"timestamp":   theirs.Timestamp == uint64(ours.Timestamp.UnixMilli()),
		"pcrs":        samePCRs(theirs.PCRs, ours),
		"certificate": bytes.Equal(theirs.Certificate, ours.Certificate),
		"cabundle":    slices.EqualFunc(theirs.CABundle, ours.CABundle, bytes.Equal),
		"public_key":  bytes.Equal(theirs.PublicKey, ours.PublicKey),
		"user_data":   bytes.Equal(theirs.UserData, ours.UserData),
		"nonce":       bytes.Equal(theirs.Nonce, ours.Nonce),
	} {
		if !same {
			return fmt.Errorf("nitrite reads another %s", field)
		}
	}
	return nil
}

func samePCRs(theirs map[uint][]byte, ours *document.Document) bool {
	if len(theirs) != len(ours.PCRs) {
		return false
	}
	for i, pcr := range ours.PCRs {
		if !bytes.Equal(theirs[uint(i)], pcr[:]) {
			return false
		}
	}
	return true
}
