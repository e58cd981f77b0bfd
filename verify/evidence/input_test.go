package evidence_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/evidence"
	"holdfast/verify/report"
)

// marlin is a document of a real enclave.
func marlin(t testing.TB) []byte {
	t.Helper()
	raw, err := os.ReadFile("../attestation/testdata/marlin1.bin")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func answer(document, binding []byte) []byte {
	return fmt.Appendf(nil, `{"document":%q,"binding":%q}`, base64.StdEncoding.EncodeToString(document), base64.StdEncoding.EncodeToString(binding))
}

func TestEveryFormOfInputGivesTheSameDocument(t *testing.T) {
	raw := marlin(t)
	for name, input := range map[string][]byte{
		"binary":      raw,
		"base64":      []byte(base64.StdEncoding.EncodeToString(raw)),
		"hexadecimal": fmt.Appendf(nil, "%x", raw),
		"JSON":        answer(raw, []byte("binding")),
	} {
		r := &report.Report{}
		got, bind, err := evidence.Decode(input, r)
		if err != nil || !bytes.Equal(got, raw) || r.Check(report.A2).Verdict != report.Pass {
			t.Errorf("%s: got %.8x, %v, %+v", name, got, err, r.Check(report.A2))
		}
		if want := name == "JSON"; (string(bind) == "binding") != want {
			t.Errorf("%s: got binding %q", name, bind)
		}
	}
}

func TestInputThatIsNoAnswerFailsA2(t *testing.T) {
	for name, input := range map[string]string{
		"an open brace":      "{",
		"no members":         "{}",
		"no binding":         `{"document":"hEQ="}`,
		"an unknown one":     `{"document":"","binding":"","x":0}`,
		"two values":         `{"document":"","binding":""} {}`,
		"bad base64":         `{"document":"*","binding":""}`,
		"base64 with a feed": `{"document":"AAAA","binding":"AA\nAA"}`,
		"too much":           "{" + strings.Repeat(" ", int(evidence.MaxAnswerSize)),
		"something else":     "hello",
	} {
		r := &report.Report{}
		if _, _, err := evidence.Decode([]byte(input), r); err == nil || r.Check(report.A2).Verdict != report.Fail {
			t.Errorf("%s: got %v, %+v", name, err, r.Check(report.A2))
		}
		result := evidence.VerifyInput([]byte(input), attestation.Options{})
		if result.Verdict != attestation.Refused || result.ExitStatus() != int(report.Malformed) {
			t.Errorf("%s: got %v, status %d", name, result.Verdict, result.ExitStatus())
		}
	}
}

func TestTheBindingOfThePolicyCountsBeforeTheAnswers(t *testing.T) {
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	options := attestation.Options{Trust: trust, Policy: judgement.Policy{AtDocumentTime: true, TLSKey: []byte("key")}}
	input := answer(marlin(t), []byte("theirs"))
	result := evidence.VerifyInput(input, options)
	if got := result.Report.Check(report.E9); got.Verdict != report.Fail || !strings.Contains(got.Got, "version") {
		t.Errorf("got %+v", got)
	}
	options.Policy.Binding = []byte("holdfast/attestation/v1")
	result = evidence.VerifyInput(input, options)
	if got := result.Report.Check(report.E9); !strings.Contains(got.Got, "truncated") {
		t.Errorf("got %+v, want ours to be read", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"document":"hEQ=","binding":"AA=="}`))
	f.Add([]byte("hESh"))
	f.Add(answer(marlin(f), []byte("binding")))
	f.Fuzz(func(t *testing.T, input []byte) {
		r := &report.Report{}
		raw, bind, err := evidence.Decode(input, r)
		if (err == nil) != (r.Check(report.A2).Verdict == report.Pass) {
			t.Errorf("error %v, and A2 %v", err, r.Check(report.A2).Verdict)
		}
		if err != nil && (raw != nil || bind != nil) {
			t.Error("bytes came back with an error")
		}
	})
}
