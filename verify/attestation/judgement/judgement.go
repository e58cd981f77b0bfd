// Package judgement decides whether an attestation document is the one that was
// asked for: fresh, from a published image, and bound to this very connection.
// It checks no signature and reads no bytes; packages chain and document do.
//
// A [Policy] names everything that is expected. What it leaves out is not taken
// for granted: a missing measurement or limit fails, a missing nonce or binding
// is reported as skipped, and a report with a skipped rule is no pass.
//
// The rules are D1, D2, P1 and E1 to E12 of package report.
package judgement

import (
	"bytes"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"strconv"
	"strings"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

const (
	// DefaultMaxAge is how old a document may be when it is verified.
	DefaultMaxAge = 5 * time.Minute

	// DefaultSkew is how far the verifier's clock may be behind.
	DefaultSkew = time.Minute

	// MinNonceSize is that of the shortest nonce worth the name.
	MinNonceSize = 16
)

// A Policy is what a document must agree with. The zero value accepts nothing.
type Policy struct {
	// Measurements is PCRS.md. Release, where not empty, leaves only that
	// release of it.
	Measurements *pcrs.File
	Release      string

	// SignedBy names who signed PCRS.md, where that was checked. It is for
	// the report; the caller has refused a bad signature.
	SignedBy string

	// Nonce is what the verifier sent.
	Nonce []byte

	// Now is when the document is judged. A document is fresh if it is at
	// most MaxAge old and at most Skew from the future.
	Now          time.Time
	MaxAge, Skew time.Duration

	// AtDocumentTime leaves freshness out of account, for archived
	// documents: D2 is then skipped.
	AtDocumentTime bool

	// Binding is the encoded binding served beside the document, TLSKey the
	// SubjectPublicKeyInfo of the TLS peer that served it.
	Binding, TLSKey []byte

	// Generation is the encoded generation that a document speaks of, which then
	// binds no channel and answers no nonce: nobody asked, and what it binds is a
	// bundle that is sealed once. Nil for any other document.
	Generation []byte

	// Configuration is the SHA-384 of the configuration of the bundle that the
	// enclave must have. Zero stands for no bundle, of which E11 and E12 tell.
	Configuration [sha512.Size384]byte

	// Strict refuses fields that this version does not know.
	Strict bool
}

// A Judgement is what a document turned out to be. Its fields mean something
// only if the report as a whole passed.
type Judgement struct {
	Entry   pcrs.Entry
	Binding binding.Binding

	// Generation is nil unless the policy has one.
	Generation *binding.Generation

	// Configuration is that of the policy once E11 and E12 have found it in the
	// enclave, and zero otherwise.
	Configuration [sha512.Size384]byte
}

// Judge applies a policy and notes each rule in r.
func Judge(d *document.Document, policy Policy, r *report.Report) Judgement {
	j := &judge{doc: d, policy: policy, r: r}
	j.unknownKeys()
	j.platform()
	j.nonce()
	j.age()
	j.debug()
	j.measurements()
	j.applicationRamdisk()
	j.instance()
	j.kernel()
	j.binding()
	j.configuration()
	j.start()
	j.bundle()
	return j.out
}

// A judge is one application of a policy.
type judge struct {
	doc    *document.Document
	policy Policy
	r      *report.Report
	out    Judgement
}

func (j *judge) unknownKeys() {
	if j.policy.Strict && len(j.doc.UnknownKeys) > 0 {
		j.r.Fail(report.B5, "no unknown fields", fmt.Sprintf("%q", j.doc.UnknownKeys))
	}
}

// nonce applies D1.
func (j *judge) nonce() {
	want := j.policy.Nonce
	switch {
	case len(want) == 0 && j.policy.Generation != nil:
		j.r.Pass(report.D1, "", "none: nobody asked for a generation's document")
	case len(want) == 0:
		j.r.Skip(report.D1, "the verifier's nonce", "no nonce was asked for")
	case len(want) < MinNonceSize:
		j.r.Fail(report.D1, fmt.Sprintf("a nonce of at least %d bytes", MinNonceSize), fmt.Sprintf("%d bytes", len(want)))
	default:
		same := subtle.ConstantTimeCompare(j.doc.Nonce, want) == 1
		j.r.Record(report.D1, same, quote(want), quote(j.doc.Nonce))
	}
}

func quote(b []byte) string {
	const limit = 64
	switch {
	case b == nil:
		return "null"
	case len(b) > limit:
		return fmt.Sprintf("%x… (%d bytes)", b[:limit], len(b))
	}
	return fmt.Sprintf("%x", b)
}

// age applies D2.
func (j *judge) age() {
	p := j.policy
	if p.AtDocumentTime {
		j.r.Skip(report.D2, "fresh", "NOT CHECKED: verified at the document's own time, "+j.doc.Timestamp.Format(time.RFC3339))
		return
	}
	if p.Now.IsZero() || p.MaxAge <= 0 {
		j.r.Fail(report.D2, "a time and a maximum age", "none")
		return
	}
	age := p.Now.Sub(j.doc.Timestamp)
	expected := fmt.Sprintf("-%v to %v", p.Skew, p.MaxAge)
	j.r.Record(report.D2, age >= -p.Skew && age <= p.MaxAge, expected, age.Round(time.Millisecond).String())
}

// binding applies E9: user_data commits to the binding, and the binding to the
// key of the TLS connection.
func (j *judge) binding() {
	if j.policy.Generation != nil {
		j.generation()
		return
	}
	const expected = "user_data = SHA-384 of the binding, which names this TLS key"
	if len(j.policy.Binding) == 0 || len(j.policy.TLSKey) == 0 {
		j.r.Skip(report.E9, expected, "no binding, or no TLS key, to compare with")
		return
	}
	b, err := binding.Parse(j.policy.Binding)
	if err != nil {
		j.r.Fail(report.E9, expected, err.Error())
		return
	}
	digest := b.Digest()
	switch {
	case subtle.ConstantTimeCompare(j.doc.UserData, digest[:]) != 1:
		j.r.Fail(report.E9, fmt.Sprintf("user_data %x", digest), "user_data "+quote(j.doc.UserData))
	case !bytes.Equal(b.TLSKey, j.policy.TLSKey):
		j.r.Fail(report.E9, expected, "the TLS connection has another key")
	default:
		j.out.Binding = b
		j.r.Pass(report.E9, expected, fmt.Sprintf("user_data %x and the TLS key agree", digest))
	}
}

// generation applies E9 to a document of keys that were made inside.
func (j *judge) generation() {
	const expected = "user_data = SHA-384 of the generation"
	g, err := binding.ParseGeneration(j.policy.Generation)
	if err != nil {
		j.r.Fail(report.E9, expected, err.Error())
		return
	}
	digest := g.Digest()
	if j.r.Record(report.E9, subtle.ConstantTimeCompare(j.doc.UserData, digest[:]) == 1, fmt.Sprintf("user_data %x", digest), "user_data "+quote(j.doc.UserData)) {
		j.out.Generation = &g
	}
}

// configuration applies E8. Once a configuration is in force, the enclave has
// extended its digest into PCR16 and locked it.
func (j *judge) configuration() {
	if j.r.Check(report.E9).Verdict != report.Pass {
		j.r.Skip(report.E8, "the bound configuration", "E9 does not hold")
		return
	}
	got := "no PCR16"
	pcr16, there := j.doc.PCRs[16]
	if there {
		got = pcr16.String()
	}
	if j.policy.Generation != nil {
		j.r.Pass(report.E8, "", got+": that of the enclave, which need not be the bundle's that it made")
		return
	}
	if c := j.out.Binding.Configuration; c != [48]byte{} {
		want := document.Extend(pcrs.PCR{}, c[:])
		j.r.Record(report.E8, there && pcr16 == want, want.String(), got)
		return
	}
	// No configuration is bound, so none may show.
	j.r.Record(report.E8, !there || pcr16.IsZero(), "no PCR16, as no configuration is bound", got)
}

// start applies E10, for information: the upper 48 bits of the enclave's id are
// the milliseconds at which it started. AWS does not document this.
func (j *judge) start() {
	got := "not told by this module_id"
	if _, id, ok := strings.Cut(j.doc.ModuleID, "-enc"); ok && len(id) == 16 {
		if ms, err := strconv.ParseInt(id[:12], 16, 64); err == nil {
			started := time.UnixMilli(ms).UTC()
			got = fmt.Sprintf("about %s, up %v", started.Format(time.RFC3339), j.doc.Timestamp.Sub(started).Round(time.Second))
		}
	}
	j.r.Pass(report.E10, "", got)
}

// bundle applies E11 and E12: before a data key is released, the enclave has the
// configuration of its bundle, and has extended it into PCR16 and locked that. A
// document shows a register above PCR15 only once it is locked.
func (j *judge) bundle() {
	want := j.policy.Configuration
	if want == [sha512.Size384]byte{} {
		const none = "not compared: no bundle was named"
		j.r.Pass(report.E11, "", none)
		j.r.Pass(report.E12, "", none)
		return
	}
	if j.r.Check(report.E9).Verdict != report.Pass {
		j.r.Skip(report.E11, fmt.Sprintf("%x", want), "E9 does not hold")
		j.r.Skip(report.E12, fmt.Sprintf("PCR16 of %x", want), "E9 does not hold")
		return
	}
	bound, got := j.out.Binding.Configuration, NoBundle
	if bound != [sha512.Size384]byte{} {
		got = fmt.Sprintf("%x", bound)
	}
	same := j.r.Record(report.E11, bound == want, fmt.Sprintf("%x", want), got)
	register, got := document.Extend(pcrs.PCR{}, want[:]), "no PCR16, or one that is not locked"
	pcr16, there := j.doc.PCRs[16]
	if there {
		got = pcr16.String()
	}
	if j.r.Record(report.E12, there && pcr16 == register, register.String(), got) && same {
		j.out.Configuration = want
	}
}

// NoBundle is what E11 gets of an enclave that has not been given a bundle.
const NoBundle = "none: the enclave has not been given a bundle"
