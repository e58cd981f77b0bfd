package attestation_test

import (
	"slices"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

func emulated(s scene) scene {
	s.module.Emulated = true
	return s
}

// accepting adds the flag that accepts emulated documents.
func accepting(s scene) scene {
	change := s.options
	s.options = func(o *attestation.Options) {
		o.UnsafeAcceptEmulated = true
		if change != nil {
			change(o)
		}
	}
	return s
}

func TestAnEmulatedDocumentIsNeverGood(t *testing.T) {
	result := emulated(scene{}).play(t)
	if !result.Emulated || result.Verdict != attestation.Refused || result.ExitStatus() != int(report.Signature) || result.Document != nil {
		t.Errorf("got emulated %v, verdict %v, status %d", result.Emulated, result.Verdict, result.ExitStatus())
	}
	for _, rule := range []report.Rule{report.A4, report.A6, report.A7, report.A9, report.C1, report.C2, report.C3, report.C4, report.C5, report.C6, report.C7, report.C8, report.C9, report.S1} {
		if got := result.Report.Check(rule).Verdict; got != report.Fail {
			t.Errorf("%s: %v, want fail", rule, got)
		}
	}
}

func TestAnEmulatedDocumentAcceptedByNameIsCalledUnsafe(t *testing.T) {
	result := accepting(emulated(scene{})).play(t)
	if result.Verdict != attestation.UnsafeEmulated || result.ExitStatus() != 0 || result.Document == nil {
		t.Errorf("got verdict %v, status %d", result.Verdict, result.ExitStatus())
	}
	if result.Report.Passed() {
		t.Error("the report passed")
	}
}

func TestAcceptingEmulationExcusesNothingElse(t *testing.T) {
	for name, test := range map[string]struct {
		scene  scene
		rule   report.Rule
		status report.Class
	}{
		"nonce":        {scene{request: func(r *nsm.Request) { r.Nonce[0] ^= 1 }}, report.D1, report.Freshness},
		"age":          {scene{module: nsmtest.Options{Now: func() time.Time { return time.Now().Add(-time.Hour) }}}, report.D2, report.Freshness},
		"measurements": {scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {8}, 1: measured[1], 2: measured[2]}}}, report.E1, report.Measurements},
		"debug":        {scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {}, 1: {}, 2: {}}}}, report.E3, report.Measurements},
		"policy":       {with(func(o *attestation.Options) { o.Policy.Measurements = nil }), report.E2, report.Measurements},
		"binding":      {scene{request: func(r *nsm.Request) { r.UserData = nil }}, report.E9, report.Binding},
		"key":          {with(func(o *attestation.Options) { o.Policy.TLSKey = []byte("other") }), report.E9, report.Binding},
		"form":         {raw(func(d []byte) []byte { return append(d, 0) }), report.A3, report.Malformed},
		"payload":      {extra("digest", "\x66SHA384"), report.B3, report.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			result := accepting(emulated(test.scene)).play(t)
			if got := result.Report.Check(test.rule).Verdict; got != report.Fail {
				t.Errorf("%s: %v, want fail", test.rule, got)
			}
			if result.Verdict != attestation.Refused || result.ExitStatus() != int(test.status) {
				t.Errorf("got %v, status %d, want refused, %d", result.Verdict, result.ExitStatus(), test.status)
			}
		})
	}
}

func TestWithoutBindingAnEmulatedDocumentIsIncomplete(t *testing.T) {
	result := accepting(emulated(with(func(o *attestation.Options) { o.Policy.Binding = nil }))).play(t)
	if result.Verdict != attestation.Incomplete || result.ExitStatus() == 0 {
		t.Errorf("got %v, status %d", result.Verdict, result.ExitStatus())
	}
}

// TestEmulationIsNoWayAroundASignature tries documents that have some marks of
// an emulated one, with the flag set.
func TestEmulationIsNoWayAroundASignature(t *testing.T) {
	for name, change := range map[string]func(*nsmtest.Template){
		"its header over a real signature": func(t *nsmtest.Template) { t.Protected = []byte{0xa1, 0x01, 0x20} },
		"a real header over its signature": func(t *nsmtest.Template) { t.Signed = func([]byte) []byte { return make([]byte, 64) } },
		"its header over zeros of right size": func(t *nsmtest.Template) {
			t.Protected = []byte{0xa1, 0x01, 0x20}
			t.Signed = func([]byte) []byte { return make([]byte, 96) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := accepting(mutate(change)).play(t)
			if result.Emulated || result.Verdict != attestation.Refused {
				t.Errorf("got emulated %v, verdict %v", result.Emulated, result.Verdict)
			}
		})
	}
}

func TestAGenuineDocumentIsNotRelabelledByTheFlag(t *testing.T) {
	result := accepting(scene{}).play(t)
	if result.Verdict != attestation.Good || result.Emulated {
		t.Errorf("got %v, emulated %v", result.Verdict, result.Emulated)
	}
}

func TestTheUnsafeParserTakesNothingButEmulatedDocuments(t *testing.T) {
	raw := read(t, "marlin1.bin")
	if d, err := document.ParseUnsafeEmulated(raw, &report.Report{}); err == nil || d != nil {
		t.Error("a signed document came through the parser for emulated ones")
	}
	if document.IsEmulated(raw) || document.IsEmulated(nil) {
		t.Error("taken for emulated")
	}
}

func TestBlockingNamesWhatFailed(t *testing.T) {
	result := scene{request: func(r *nsm.Request) { r.UserData = nil }}.play(t)
	got := result.Blocking()
	if !slices.ContainsFunc(got, func(c report.Check) bool { return c.Rule() == report.E9 }) || len(got) != 1 {
		t.Errorf("got %v, want E9 alone", got)
	}
}
