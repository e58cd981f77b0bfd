package outcome_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/outcome"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// passed is a result in which every check passed.
func passed(verdict attestation.Verdict) attestation.Result {
	r := &report.Report{}
	for _, rule := range report.Rules() {
		r.Pass(rule, "so", "so")
	}
	return attestation.Result{Verdict: verdict, Report: r, Judgement: &judgement.Judgement{
		Entry: pcrs.Entry{Version: "v1.2.3", Image: pcrs.Image{Architecture: pcrs.X8664}},
	}}
}

func TestTheLineSaysWhatTheVerdictMeans(t *testing.T) {
	incomplete := attestation.Verify(nil, attestation.Options{}, nil)
	for name, test := range map[string]struct {
		o    outcome.Outcome
		want string
	}{
		"a pass":   {outcome.Outcome{Subject: "S", AsOf: "T", Result: passed(attestation.Good)}, "PASS: S runs release v1.2.3 for x86_64, as of T"},
		"emulated": {outcome.Outcome{Subject: "S", Result: passed(attestation.UnsafeEmulated)}, "UNSAFE: EMULATED: S says that it runs release v1.2.3 for x86_64; nobody signed that, and nothing is proved"},
		"a skip":   {outcome.Outcome{Result: attestation.Result{Verdict: attestation.Incomplete, Report: &report.Report{}}}, "INCOMPLETE: nothing failed, but not checked: "},
		"nothing":  {outcome.Outcome{Result: incomplete}, "FAIL: A1 size of the document"},
	} {
		if got := test.o.Line(); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestTheZeroOutcomeIsAFailure(t *testing.T) {
	if got := (outcome.Outcome{}).Line(); !strings.HasPrefix(got, "FAIL: ") {
		t.Errorf("got %q", got)
	}
}

func TestJSONCarriesTheVerdictTheStatusAndEveryCheck(t *testing.T) {
	data, err := json.Marshal(outcome.Outcome{Subject: "S", AsOf: "T", Result: passed(attestation.Good), PublicKeys: []string{"0x1"}})
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Subject, Verdict, Release string
		ExitStatus                int      `json:"exit_status"`
		PublicKeys                []string `json:"public_keys"`
	}
	// report.Check does not read its verdict back; only the number counts here.
	var loose map[string]any
	if err := json.Unmarshal(data, &loose); err != nil {
		t.Fatal(err)
	}
	checks := loose["checks"].([]any)
	delete(loose, "checks")
	rest, _ := json.Marshal(loose)
	if err := json.Unmarshal(rest, &got); err != nil {
		t.Fatal(err)
	}
	if got.Subject != "S" || got.Verdict != "pass" || got.Release != "v1.2.3" || got.ExitStatus != 0 || !slices.Equal(got.PublicKeys, []string{"0x1"}) {
		t.Errorf("got %+v", got)
	}
	if len(checks) != len(report.Rules()) {
		t.Errorf("got %d checks, want %d", len(checks), len(report.Rules()))
	}
}

func TestAFailureSaysNothingOfARelease(t *testing.T) {
	data, err := json.Marshal(outcome.Outcome{Result: attestation.Verify(nil, attestation.Options{}, nil)})
	if err != nil || strings.Contains(string(data), `"release"`) || !strings.Contains(string(data), `"exit_status":3`) {
		t.Errorf("got %s, %v", data, err)
	}
}

func TestTimesAreUTC(t *testing.T) {
	east := time.FixedZone("east", 3600)
	if got := outcome.FormatTime(time.Date(2026, 11, 21, 13, 0, 0, 0, east)); got != "2026-11-21T12:00:00Z" {
		t.Errorf("got %s", got)
	}
}
