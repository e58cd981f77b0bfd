// Package outcome puts the result of a verification into words: the verdict in
// one line, advice on what stands in its way, and the JSON of --json. Every
// form in which verify reports says the same.
package outcome

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// An Outcome is a result, and what it is about.
type Outcome struct {
	Subject string // an address, or the name of a file
	AsOf    string // when the document was judged
	Result  attestation.Result

	// PublicKeys are those of a release.
	PublicKeys []string
}

// FormatTime writes a time as outcomes have it.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Entry returns what is published of the image, and the zero value unless the
// verification passed.
func (o Outcome) Entry() pcrs.Entry {
	if o.Result.Judgement == nil {
		return pcrs.Entry{}
	}
	return o.Result.Judgement.Entry
}

// Line says in one line what the result means.
func (o Outcome) Line() string {
	entry := o.Entry()
	switch o.Result.Verdict {
	case attestation.Good:
		return fmt.Sprintf("PASS: %s runs release %s for %s, as of %s", o.Subject, entry.Version, entry.Image.Architecture, o.AsOf)
	case attestation.UnsafeEmulated:
		return fmt.Sprintf("UNSAFE: EMULATED: %s says that it runs release %s for %s; nobody signed that, and nothing is proved", o.Subject, entry.Version, entry.Image.Architecture)
	case attestation.Incomplete:
		return fmt.Sprintf("INCOMPLETE: nothing failed, but not checked: %s; never enough to release a key", List(o.Result.Blocking()))
	}
	why := "FAIL: "
	if o.Result.Emulated {
		why += "EMULATED, not signed: "
	}
	return why + List(o.Result.Blocking())
}

// List names checks.
func List(checks []report.Check) string {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = c.ID + " " + c.What
	}
	return strings.Join(names, "; ")
}

// advice goes with a rule that stands in the way.
var advice = map[report.Rule]string{
	report.C7:  "is this machine's clock right? for an archived document, add --at-document-time",
	report.D1:  "--nonce says what the document was asked with",
	report.D2:  "is this machine's clock right? for an archived document, add --at-document-time",
	report.E1:  "is PCRS.md that of the release which runs there? --pcrs names another",
	report.E3:  "an enclave in debug mode shows its memory to its host: start it without --debug-mode",
	report.E11: "the enclave must have this very bundle before its data key: give it to the parent instance, which hands it over",
	report.E9:  "--binding and --certificate say what the document is bound to",
}

// Hints advises on what stands in the way of a pass.
func (o Outcome) Hints() []string {
	if o.Result.Emulated && o.Result.ExitStatus() == int(report.Signature) {
		return []string{"QEMU's emulated Nitro machine signs nothing; to try things out on it, add --unsafe-accept-emulated"}
	}
	var out []string
	for _, c := range o.Result.Blocking() {
		if c.Rule() == report.D2 && c.Verdict == report.Skipped {
			continue // as was asked for
		}
		if hint := advice[c.Rule()]; hint != "" && (len(out) == 0 || out[len(out)-1] != hint) {
			out = append(out, hint)
		}
	}
	return out
}

// MarshalJSON writes the object that --json prints.
func (o Outcome) MarshalJSON() ([]byte, error) {
	entry := o.Entry()
	return json.Marshal(struct {
		Subject      string              `json:"subject"`
		Verdict      attestation.Verdict `json:"verdict"`
		Emulated     bool                `json:"emulated"`
		AsOf         string              `json:"as_of"`
		ExitStatus   int                 `json:"exit_status"`
		Release      string              `json:"release,omitempty"`
		Architecture pcrs.Architecture   `json:"architecture,omitempty"`
		Checks       *report.Report      `json:"checks"`
		PublicKeys   []string            `json:"public_keys,omitempty"`
	}{
		o.Subject, o.Result.Verdict, o.Result.Emulated, o.AsOf, o.Result.ExitStatus(),
		entry.Version, entry.Image.Architecture, o.Result.Report, o.PublicKeys,
	})
}
