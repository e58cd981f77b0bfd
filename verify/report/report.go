// Package report collects what a verification found, one line a rule.
//
// A [Report] starts with every rule skipped, and a rule that nobody judged
// stays so. [Report.Passed] asks for every rule: a verification that forgot
// one, or stopped half way, cannot come out as a pass.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
)

// A Verdict is the outcome of one rule. Its zero value is a failure.
type Verdict uint8

// The outcomes of a rule.
const (
	Fail Verdict = iota
	Pass
	Skipped
)

// String returns "fail", "pass" or "skipped".
func (v Verdict) String() string {
	switch v {
	case Pass:
		return "pass"
	case Skipped:
		return "skipped"
	}
	return "fail"
}

// MarshalText returns the same as [Verdict.String].
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// A Check is what was found about one rule.
type Check struct {
	ID       string  `json:"id"`
	What     string  `json:"what"`
	Expected string  `json:"expected"`
	Got      string  `json:"got"`
	Verdict  Verdict `json:"verdict"`

	rule Rule
}

// Rule returns the rule that was checked.
func (c Check) Rule() Rule { return c.rule }

// A Report holds one check for every rule. The zero value has skipped them
// all.
type Report struct {
	checks [rules]*Check
}

// Record notes whether a rule holds, and returns holds. A rule that has failed
// once stays failed.
func (r *Report) Record(rule Rule, holds bool, expected, got string) bool {
	if have := r.checks[rule]; have != nil && have.Verdict == Fail {
		return holds
	}
	verdict := Fail
	if holds {
		verdict = Pass
	}
	r.set(rule, verdict, expected, got)
	return holds
}

// Pass notes that a rule holds.
func (r *Report) Pass(rule Rule, expected, got string) { r.Record(rule, true, expected, got) }

// Fail notes that a rule does not hold.
func (r *Report) Fail(rule Rule, expected, got string) { r.Record(rule, false, expected, got) }

// Skip says why a rule could not be checked, unless it was.
func (r *Report) Skip(rule Rule, expected, why string) {
	if r.checks[rule] == nil {
		r.set(rule, Skipped, expected, why)
	}
}

func (r *Report) set(rule Rule, verdict Verdict, expected, got string) {
	c := catalog[rule]
	r.checks[rule] = &Check{ID: c.id, What: c.what, Expected: expected, Got: got, Verdict: verdict, rule: rule}
}

// Check returns what was found about one rule.
func (r *Report) Check(rule Rule) Check {
	if c := r.checks[rule]; c != nil {
		return *c
	}
	c := catalog[rule]
	return Check{ID: c.id, What: c.what, Got: "not reached", Verdict: Skipped, rule: rule}
}

// Checks returns one check for every rule, in order.
func (r *Report) Checks() []Check {
	checks := make([]Check, 0, rules)
	for _, rule := range Rules() {
		checks = append(checks, r.Check(rule))
	}
	return checks
}

// With returns the checks that have a verdict.
func (r *Report) With(v Verdict) []Check {
	return slices.DeleteFunc(r.Checks(), func(c Check) bool { return c.Verdict != v })
}

// Passed tells whether every rule was checked and holds.
func (r *Report) Passed() bool { return len(r.With(Pass)) == int(rules) }

// Write writes one line a check: verdict, number, subject, what was found and
// what was expected.
func Write(w io.Writer, checks []Check) error {
	for _, c := range checks {
		line := fmt.Sprintf("%-7s  %-3s  %-34s  got %s", c.Verdict, c.ID, c.What, c.Got)
		if c.Expected != "" {
			line += "; expected " + c.Expected
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// MarshalJSON writes the list of checks.
func (r *Report) MarshalJSON() ([]byte, error) { return json.Marshal(r.Checks()) }
