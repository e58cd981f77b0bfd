// Package attestation verifies an attestation document from its bytes to a
// verdict.
//
// The work is done by four packages that know nothing of each other's concern:
// document reads bytes, chain verifies certificates and signature, judgement
// compares with what is published and was asked for, opinion asks another
// implementation. This package runs them in that order and draws the
// conclusion: a pass takes every rule, and nothing read from a document that
// did not pass is handed out.
//
// QEMU's emulated Nitro machine makes documents that nobody signs. They are
// recognised, called EMULATED, and refused, unless the caller asks by name for
// the verdict [UnsafeEmulated]; that verdict is never [Good].
package attestation

import (
	"slices"
	"time"

	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/attestation/opinion"
	"holdfast/verify/report"
)

// A Verdict is the conclusion. The zero value refuses.
type Verdict int

// The conclusions.
const (
	// Refused: some rule failed.
	Refused Verdict = iota

	// Incomplete: no rule failed, but some could not be checked. It is never
	// enough for a release.
	Incomplete

	// UnsafeEmulated: an emulated document, accepted by name. Everything that
	// an emulator can get right is right, and nothing is proved.
	UnsafeEmulated

	// Good: every rule was checked and holds.
	Good
)

// String returns "fail", "incomplete", "unsafe-emulated" or "pass".
func (v Verdict) String() string {
	switch v {
	case Incomplete:
		return "incomplete"
	case UnsafeEmulated:
		return "unsafe-emulated"
	case Good:
		return "pass"
	}
	return "fail"
}

// MarshalText returns the same as [Verdict.String].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Options say what to trust and what to expect. The zero value refuses
// everything.
type Options struct {
	Trust  chain.Trust
	Policy judgement.Policy

	// UnsafeAcceptEmulated allows the verdict [UnsafeEmulated].
	UnsafeAcceptEmulated bool
}

// A Result is a verdict with its reasons.
type Result struct {
	Verdict  Verdict
	Emulated bool
	Report   *report.Report

	// Document and Judgement are nil for the verdicts Refused and Incomplete.
	Document  *document.Document
	Judgement *judgement.Judgement

	// blocking holds the checks that kept the verdict from being a pass.
	blocking []report.Check
}

// Verify verifies a document in its binary form. The report may already hold
// what was found about the input (A2); nil stands for a binary input.
func Verify(raw []byte, options Options, r *report.Report) Result {
	if r == nil {
		r = &report.Report{}
		r.Pass(report.A2, "binary", "binary")
	}
	result := Result{Report: r, Emulated: document.IsEmulated(raw)}
	result.verify(raw, options)
	return result
}

func (result *Result) verify(raw []byte, options Options) {
	r := result.Report
	parse := document.Parse
	if result.Emulated {
		parse = document.ParseUnsafeEmulated
	}
	d, err := parse(raw, r)
	if err != nil {
		result.blocking = r.With(report.Fail)
		return
	}
	if result.Emulated {
		refuseSignature(r)
	} else {
		verifySignature(raw, d, options, r)
	}
	j := judgement.Judge(d, options.Policy, r)
	result.conclude(result.Emulated && options.UnsafeAcceptEmulated)
	if result.Verdict == Good || result.Verdict == UnsafeEmulated {
		result.Document, result.Judgement = d, &j
	}
}

// verifySignature runs the cryptography. A document is verified at its own
// time, and now as well unless it is an archived one.
func verifySignature(raw []byte, d *document.Document, options Options, r *report.Report) {
	p := options.Policy
	validity := chain.Validity{At: []time.Time{d.Timestamp}, Skew: p.Skew}
	if !p.AtDocumentTime {
		validity.At = append(validity.At, p.Now)
	}
	if chain.Verify(d, options.Trust, validity, r) == nil {
		opinion.Ask(raw, d, options.Trust, r)
	}
}

// unproved lists the rules that no emulated document satisfies.
var unproved = []report.Rule{
	report.A4, report.A6, report.A7, report.A8, report.A9,
	report.C1, report.C2, report.C3, report.C4, report.C5, report.C6, report.C7, report.C8, report.C9,
	report.S1, report.P1, report.E6,
}

// refuseSignature fails the rules that ask for a signature.
func refuseSignature(r *report.Report) {
	for _, rule := range unproved[:len(unproved)-2] {
		r.Fail(rule, "a document signed by the Nitro Security Module", "EMULATED: not signed")
	}
}

// conclude draws the verdict from the report.
func (result *Result) conclude(acceptEmulated bool) {
	r := result.Report
	failed := r.With(report.Fail)
	if acceptEmulated {
		failed = slices.DeleteFunc(failed, func(c report.Check) bool { return slices.Contains(unproved, c.Rule()) })
	}
	skipped := r.With(report.Skipped)
	switch {
	case len(failed) > 0:
		result.blocking = failed
	case len(skipped) > 0:
		result.Verdict, result.blocking = Incomplete, skipped
	case acceptEmulated:
		result.Verdict = UnsafeEmulated
	case r.Passed():
		result.Verdict = Good
	}
}

// Blocking returns the checks that stand in the way of a pass: those that
// failed or, if none did, those that were skipped.
func (result Result) Blocking() []report.Check { return result.blocking }

// ExitStatus returns the command's exit status for a result: 0 for a pass and
// for an emulated document accepted by name, otherwise the lowest class among
// the blocking checks. That a document is emulated is a matter of its
// signature.
func (result Result) ExitStatus() int {
	if result.Verdict == Good || result.Verdict == UnsafeEmulated {
		return 0
	}
	lowest := report.Policy
	for _, c := range result.blocking {
		class := c.Rule().Class()
		if result.Emulated && slices.Contains(unproved, c.Rule()) {
			class = report.Signature
		}
		lowest = min(lowest, class)
	}
	return int(lowest)
}
