package report_test

import (
	"encoding/json"
	"strings"
	"testing"

	"holdfast/verify/report"
)

func passAll(r *report.Report) {
	for _, rule := range report.Rules() {
		r.Pass(rule, "so", "so")
	}
}

func TestTheZeroReportHasSkippedEverything(t *testing.T) {
	var r report.Report
	if r.Passed() || len(r.With(report.Skipped)) != len(report.Rules()) {
		t.Error("an empty report passed")
	}
}

func TestAReportPassesOnlyWithEveryRule(t *testing.T) {
	var r report.Report
	passAll(&r)
	if !r.Passed() {
		t.Error("every rule holds, and yet no pass")
	}
	for _, rule := range report.Rules() {
		var r report.Report
		for _, other := range report.Rules() {
			if other != rule {
				r.Pass(other, "", "")
			}
		}
		if r.Passed() {
			t.Errorf("passed without %s", rule)
		}
		r.Skip(rule, "", "no reason")
		if r.Passed() {
			t.Errorf("passed with %s skipped", rule)
		}
	}
}

func TestAFailureStays(t *testing.T) {
	var r report.Report
	passAll(&r)
	r.Fail(report.B5, "one", "other")
	r.Pass(report.B5, "", "")
	r.Skip(report.B5, "", "")
	if got := r.Check(report.B5); got.Verdict != report.Fail || got.Got != "other" || r.Passed() {
		t.Errorf("got %+v", got)
	}
}

func TestSkippingDoesNotHideAResult(t *testing.T) {
	var r report.Report
	r.Pass(report.D1, "", "")
	r.Skip(report.D1, "", "")
	if got := r.Check(report.D1).Verdict; got != report.Pass {
		t.Errorf("got %v", got)
	}
}

func TestTheZeroVerdictIsAFailure(t *testing.T) {
	var v report.Verdict
	if v != report.Fail || v.String() != "fail" {
		t.Errorf("got %v", v)
	}
}

func TestEveryRuleHasANumberAMeaningAndAClass(t *testing.T) {
	seen := map[string]bool{}
	var r report.Report
	for _, c := range r.Checks() {
		if c.ID == "" || c.What == "" || seen[c.ID] {
			t.Errorf("rule %d: number %q, meaning %q", c.Rule(), c.ID, c.What)
		}
		seen[c.ID] = true
		if class := c.Rule().Class(); class < report.Malformed || class > report.Policy {
			t.Errorf("%s: class %d", c.ID, class)
		}
	}
}

func TestOneLineACheck(t *testing.T) {
	var r report.Report
	r.Fail(report.A3, "four elements", "five")
	var out strings.Builder
	if err := report.Write(&out, r.Checks()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != len(report.Rules()) {
		t.Fatalf("got %d lines, want %d", len(lines), len(report.Rules()))
	}
	if want := "fail     A3   COSE_Sign1 array"; !strings.HasPrefix(lines[2], want) || !strings.HasSuffix(lines[2], "got five; expected four elements") {
		t.Errorf("got %q", lines[2])
	}
}

func TestJSONHasTheSameChecks(t *testing.T) {
	var r report.Report
	r.Pass(report.E9, "this", "that")
	data, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var checks []map[string]string
	if err := json.Unmarshal(data, &checks); err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if want := map[bool]string{true: "pass", false: "skipped"}[c["id"] == "E9"]; c["verdict"] != want {
			t.Errorf("%s: got %s, want %s", c["id"], c["verdict"], want)
		}
	}
}
