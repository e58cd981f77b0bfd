package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"holdfast/verify/history"
	"holdfast/verify/reference"
	"holdfast/verify/report"
)

const historyHelp = `usage: verify history [flags] [DIR]

Checks that PCRS.md, in the git repository of DIR (default: here), was only ever
added to: from each revision to the next along HEAD's first parents, no release
has vanished or changed, except from active to revoked. The newest release may
change until a tag has its version, and every tagged release is also compared
with what its tag has. The file in the working tree counts as the last revision.

Git's history is what its server says it is: keep an old clone, or ask for
signatures with --signers, if you mean to notice a history that was rewritten.

flags:
  --signers FILE   ask for a signature in PCRS.md.sig, by a signer in FILE
  --json           print one JSON object

examples:
  verify history
  verify history --signers maintainers.allowed ~/src/holdfast
`

func runHistory(ctx context.Context, t *terminal, args []string) error {
	set := newFlagSet("history")
	asJSON := set.Bool("json", false, "")
	signersFile := set.String("signers", "", "")
	if err := parseFlags(t, set, historyHelp, args, 0, 1); err != nil {
		return err
	}
	dir := "."
	if set.NArg() == 1 {
		dir = set.Arg(0)
	}
	result, err := history.Check(ctx, dir)
	if errors.Is(err, history.ErrShallow) {
		return errorWithHint(exitFailed, err, "git fetch --unshallow --tags")
	}
	if err != nil {
		return err
	}
	signer := ""
	if *signersFile != "" {
		if signer, err = reference.VerifySignatureOf(result.File, *signersFile); err != nil {
			return err
		}
	}
	return t.concludeHistory(*asJSON, result, signer)
}

// concludeHistory prints the checks and the verdict.
func (t *terminal) concludeHistory(asJSON bool, r history.Result, signer string) error {
	verdict := fmt.Sprintf("PASS: PCRS.md was only added to, in %d revisions", r.Revisions)
	status := 0
	if len(r.Findings) > 0 {
		verdict = fmt.Sprintf("FAIL: what PCRS.md had published was changed: %d findings", len(r.Findings))
		status = int(report.Measurements)
	}
	if err := t.printChecks(asJSON, r.File, verdict, status, historyChecks(r, signer)); err != nil || status == 0 {
		return err
	}
	return errorWithHint(status, nil, "enclaves are trusted for what was published: ask who changed it, and why")
}

func historyChecks(r history.Result, signer string) []report.Check {
	h1 := report.Check{ID: "H1", What: "append-only", Expected: "no release changed or gone", Got: fmt.Sprintf("so in %d revisions", r.Revisions), Verdict: report.Pass}
	if len(r.Findings) > 0 {
		h1.Verdict, h1.Got = report.Fail, fmt.Sprintf("%d findings", len(r.Findings))
	}
	tagged := "none"
	if len(r.Tagged) > 0 {
		tagged = strings.Join(r.Tagged, ", ")
	}
	checks := []report.Check{
		h1,
		{ID: "H2", What: "tagged releases", Expected: "", Got: fmt.Sprintf("%s, of %d", tagged, r.Releases), Verdict: report.Pass},
	}
	if signer != "" {
		checks = append(checks, report.Check{ID: "H3", What: "signature of PCRS.md", Expected: "an allowed signer", Got: signer, Verdict: report.Pass})
	}
	for _, f := range r.Findings {
		checks = append(checks, report.Check{ID: "H1", What: f.Revision, Got: f.Text, Verdict: report.Fail})
	}
	return checks
}
