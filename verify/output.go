package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/report"
)

// A summary is the outcome of a command as --json prints it.
type summary struct {
	Subject      string              `json:"subject"`
	Verdict      attestation.Verdict `json:"verdict"`
	Emulated     bool                `json:"emulated"`
	AsOf         string              `json:"as_of"`
	ExitStatus   int                 `json:"exit_status"`
	Release      string              `json:"release,omitempty"`
	Architecture string              `json:"architecture,omitempty"`
	Checks       *report.Report      `json:"checks"`
	PublicKeys   []string            `json:"public_keys,omitempty"`
}

// summarize describes a result. asOf is when the document was judged.
func summarize(subject, asOf string, result attestation.Result) summary {
	s := summary{
		Subject:    subject,
		Verdict:    result.Verdict,
		Emulated:   result.Emulated,
		AsOf:       asOf,
		ExitStatus: result.ExitStatus(),
		Checks:     result.Report,
	}
	if result.Judgement != nil {
		s.Release = result.Judgement.Entry.Version
		s.Architecture = string(result.Judgement.Entry.Image.Architecture)
	}
	return s
}

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

// conclude prints a result and turns it into the command's error, nil for a
// pass.
func (t *terminal) conclude(asJSON bool, s summary, result attestation.Result) error {
	if err := t.print(asJSON, s, result); err != nil {
		return err
	}
	if s.ExitStatus == 0 {
		return nil
	}
	return &exitError{status: s.ExitStatus, hints: hints(result)}
}

func (t *terminal) print(asJSON bool, s summary, result attestation.Result) error {
	if asJSON {
		return t.printJSON(s)
	}
	if err := report.Write(t.stdout, result.Report.Checks()); err != nil {
		return err
	}
	_, err := fmt.Fprintln(t.stdout, verdictLine(s, result))
	return err
}

// verdictLine says in one line what a result means.
func verdictLine(s summary, result attestation.Result) string {
	switch result.Verdict {
	case attestation.Good:
		return fmt.Sprintf("PASS: %s runs release %s for %s, as of %s", s.Subject, s.Release, s.Architecture, s.AsOf)
	case attestation.UnsafeEmulated:
		return fmt.Sprintf("UNSAFE: EMULATED: %s says that it runs release %s for %s; nobody signed that, and nothing is proved", s.Subject, s.Release, s.Architecture)
	case attestation.Incomplete:
		return fmt.Sprintf("INCOMPLETE: nothing failed, but not checked: %s; never enough to release a key", list(result.Blocking()))
	}
	why := "FAIL: "
	if result.Emulated {
		why += "EMULATED, not signed: "
	}
	return why + list(result.Blocking())
}

// list names checks.
func list(checks []report.Check) string {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.ID + " " + c.What
	}
	return strings.Join(names, "; ")
}

// hints advises on what stands in the way of a pass.
func hints(result attestation.Result) []string {
	if result.Emulated && result.ExitStatus() == int(report.Signature) {
		return []string{"QEMU's emulated Nitro machine signs nothing; to try things out on it, add --unsafe-accept-emulated"}
	}
	advice := map[report.Rule]string{
		report.C7: "is this machine's clock right? for an archived document, add --at-document-time",
		report.D1: "--nonce says what the document was asked with",
		report.D2: "is this machine's clock right? for an archived document, add --at-document-time",
		report.E1: "is PCRS.md that of the release which runs there? --pcrs names another",
		report.E3: "an enclave in debug mode shows its memory to its host: start it without --debug-mode",
		report.E9: "--binding and --certificate say what the document is bound to",
	}
	var out []string
	for _, c := range result.Blocking() {
		if hint := advice[c.Rule()]; hint != "" && (len(out) == 0 || out[len(out)-1] != hint) {
			out = append(out, hint)
		}
	}
	return out
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }
