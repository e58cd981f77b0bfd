package main

import (
	"encoding/json"
	"fmt"

	"holdfast/verify/outcome"
	"holdfast/verify/report"
)

// printChecks prints the checks of a command that judges no document.
func (t *terminal) printChecks(asJSON bool, subject, verdict string, status int, checks []report.Check) error {
	if !asJSON {
		if err := report.Write(t.stdout, checks); err != nil {
			return err
		}
		_, err := fmt.Fprintln(t.stdout, verdict)
		return err
	}
	return t.printJSON(struct {
		Subject    string         `json:"subject"`
		Verdict    string         `json:"verdict"`
		ExitStatus int            `json:"exit_status"`
		Checks     []report.Check `json:"checks"`
	}{subject, map[bool]string{true: "pass", false: "fail"}[status == 0], status, checks})
}

// printJSON writes one object.
func (t *terminal) printJSON(v any) error {
	enc := json.NewEncoder(t.stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// conclude prints an outcome and turns it into the command's error, nil for a
// pass.
func (t *terminal) conclude(asJSON bool, o outcome.Outcome) error {
	if err := t.print(asJSON, o); err != nil {
		return err
	}
	if o.Result.ExitStatus() == 0 {
		return nil
	}
	return &exitError{status: o.Result.ExitStatus(), hints: o.Hints()}
}

func (t *terminal) print(asJSON bool, o outcome.Outcome) error {
	if asJSON {
		return t.printJSON(o)
	}
	if err := report.Write(t.stdout, o.Result.Report.Checks()); err != nil {
		return err
	}
	_, err := fmt.Fprintln(t.stdout, o.Line())
	return err
}
