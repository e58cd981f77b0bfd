// Package chain verifies who signed an attestation document: cryptography, and
// no policy.
//
// It walks the certificates by hand, from the pinned root over the cabundle to
// the leaf, because a generic verifier accepts any order, extra certificates,
// and a leaf that is itself an authority. The caller says at which moments the
// chain must be valid; there is no default. That crypto/x509 agrees is the
// business of package opinion, whose library calls it.
//
// The rules are C1 to C9 and A7 to A9 of package report.
package chain

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

// maxLength bounds a chain, root and leaf included. Real ones have five.
const maxLength = 8

// ErrUnverified says that some rule failed; the report has the particulars.
var ErrUnverified = errors.New("the document's signature or certificate chain does not verify")

// A Validity says when every certificate must be valid. Without a moment no
// chain is.
type Validity struct {
	At []time.Time

	// Skew allows the verifier's clock to be slow: a certificate is valid
	// this long before its notBefore. Leaves are made 3 s before their use.
	Skew time.Duration
}

// Verify checks a document's certificates and signature, and notes each rule in
// r. The error is [ErrUnverified].
func Verify(d *document.Document, trust Trust, validity Validity, r *report.Report) error {
	w := &walk{doc: d, trust: trust, validity: validity, r: r}
	// The signature comes before the chain, so that a forged or damaged
	// document costs one verification and not five.
	if !w.anchor() || !w.parse() || !w.leafKey() || !w.signature() {
		return ErrUnverified
	}
	w.order()
	w.links()
	w.authorities()
	w.leaf()
	w.valid()
	w.denied()
	checkNames(w.certs, d, r)
	for _, rule := range []report.Rule{report.C1, report.C2, report.C3, report.C4, report.C5, report.C6, report.C7, report.C8, report.C9, report.A7, report.A8, report.A9} {
		if r.Check(rule).Verdict != report.Pass {
			return ErrUnverified
		}
	}
	return nil
}

// A walk is one verification. certs is the chain from root to leaf.
type walk struct {
	doc      *document.Document
	trust    Trust
	validity Validity
	r        *report.Report
	certs    []*x509.Certificate
}

// anchor applies C1 and C2: the root that counts is the pinned one, and the
// document must repeat it byte for byte.
func (w *walk) anchor() bool {
	if w.trust.root == nil {
		return w.r.Record(report.C1, false, "a pinned root", "none")
	}
	pinned := fmt.Sprintf("SHA-256 %x", sha256.Sum256(w.trust.root.Raw))
	w.r.Pass(report.C1, "a pinned root", pinned)
	got := sha256.Sum256(w.doc.CABundle[0])
	return w.r.Record(report.C2, bytes.Equal(w.doc.CABundle[0], w.trust.root.Raw), pinned, fmt.Sprintf("SHA-256 %x", got))
}

// parse reads every certificate. x509.ParseCertificate refuses trailing bytes
// and duplicate extensions (C4).
func (w *walk) parse() bool {
	w.certs = []*x509.Certificate{w.trust.root}
	for i, der := range append(w.doc.CABundle[1:len(w.doc.CABundle):len(w.doc.CABundle)], w.doc.Certificate) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return w.r.Record(report.C4, false, "well-formed certificates", fmt.Sprintf("certificate %d: %v", i+1, err))
		}
		w.certs = append(w.certs, c)
	}
	if n := len(w.certs); n > maxLength {
		return w.r.Record(report.C5, false, fmt.Sprintf("at most %d certificates", maxLength), fmt.Sprint(n))
	}
	return true
}

func (w *walk) last() *x509.Certificate { return w.certs[len(w.certs)-1] }

// judge notes a rule that every listed certificate must satisfy: wrong returns
// what is wrong with one, or "".
func (w *walk) judge(rule report.Rule, certs []*x509.Certificate, expected string, wrong func(i int, c *x509.Certificate) string) {
	for i, c := range certs {
		if got := wrong(i, c); got != "" {
			w.r.Fail(rule, expected, fmt.Sprintf("%s: %s", commonName(c), got))
			return
		}
	}
	w.r.Pass(rule, expected, fmt.Sprintf("so for %d of %d certificates", len(certs), len(w.certs)))
}

func commonName(c *x509.Certificate) string { return fmt.Sprintf("%q", clip(c.Subject.CommonName)) }

func clip(s string) string {
	const limit = 96
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

// order applies C3.
func (w *walk) order() {
	w.judge(report.C3, w.certs[1:], "root to leaf, each issued by the one before", func(i int, c *x509.Certificate) string {
		if parent := w.certs[i]; !bytes.Equal(c.RawIssuer, parent.RawSubject) {
			return fmt.Sprintf("issuer %q after subject %s", clip(c.Issuer.CommonName), commonName(parent))
		}
		return ""
	})
}

// links applies C4.
func (w *walk) links() {
	w.judge(report.C4, w.certs, "X.509 v3, P-384, ecdsa-with-SHA384, signed by the one before", func(i int, c *x509.Certificate) string {
		switch {
		case c.Version != 3:
			return fmt.Sprintf("version %d", c.Version)
		case c.SignatureAlgorithm != x509.ECDSAWithSHA384:
			return fmt.Sprintf("signature algorithm %v", c.SignatureAlgorithm)
		case !isP384(c):
			return "key is not P-384"
		case len(c.UnhandledCriticalExtensions) > 0:
			return fmt.Sprintf("unknown critical extension %v", c.UnhandledCriticalExtensions[0])
		}
		if i > 0 {
			if err := c.CheckSignatureFrom(w.certs[i-1]); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}

func isP384(c *x509.Certificate) bool {
	key, ok := c.PublicKey.(*ecdsa.PublicKey)
	return ok && key.Curve == elliptic.P384()
}

var oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}

// authorities applies C5 to every certificate but the leaf.
func (w *walk) authorities() {
	cas := w.certs[:len(w.certs)-1]
	w.judge(report.C5, cas, "critical CA=TRUE, keyCertSign, pathLen respected", func(i int, c *x509.Certificate) string {
		below := len(cas) - 1 - i // authorities below this one
		switch {
		case !c.BasicConstraintsValid || !c.IsCA:
			return "not a CA"
		case !criticalBasicConstraints(c):
			return "basicConstraints not critical"
		case c.KeyUsage&x509.KeyUsageCertSign == 0:
			return "no keyCertSign"
		case (c.MaxPathLen > 0 || c.MaxPathLenZero) && below > c.MaxPathLen:
			return fmt.Sprintf("pathLen %d above %d authorities", c.MaxPathLen, below)
		}
		return ""
	})
}

func criticalBasicConstraints(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(oidBasicConstraints) {
			return e.Critical
		}
	}
	return false
}

// leaf applies C6. The key usage of real leaves is not critical.
func (w *walk) leaf() {
	leaf := w.last()
	got := "CA=FALSE, digitalSignature"
	switch {
	case leaf.IsCA:
		got = "CA=TRUE"
	case leaf.MaxPathLen > 0 || leaf.MaxPathLenZero:
		got = fmt.Sprintf("pathLen %d", leaf.MaxPathLen)
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		got = "no digitalSignature"
	default:
		w.r.Pass(report.C6, got, got)
		return
	}
	w.r.Fail(report.C6, "CA=FALSE, no pathLen, digitalSignature", got)
}

// valid applies C7.
func (w *walk) valid() {
	if len(w.validity.At) == 0 {
		w.r.Fail(report.C7, "a moment to check", "none")
		return
	}
	expected := "valid"
	for _, at := range w.validity.At {
		expected += " at " + at.UTC().Format(time.RFC3339)
	}
	w.judge(report.C7, w.certs, expected, func(_ int, c *x509.Certificate) string {
		for _, at := range w.validity.At {
			if at.Before(c.NotBefore.Add(-w.validity.Skew)) || at.After(c.NotAfter) {
				return fmt.Sprintf("valid from %s to %s", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
			}
		}
		return ""
	})
}

// denied applies C8. AWS directs verifiers not to consult the chain's CRLs.
func (w *walk) denied() {
	w.judge(report.C8, w.certs, fmt.Sprintf("none of %d denied certificates", len(w.trust.denied)), func(_ int, c *x509.Certificate) string {
		if w.trust.denies(c) {
			return "denied: serial " + c.SerialNumber.Text(16)
		}
		return ""
	})
}
