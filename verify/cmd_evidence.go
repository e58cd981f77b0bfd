package main

import (
	"context"
	"errors"
	"io/fs"

	"holdfast/verify/evidence"
	"holdfast/verify/report"
)

const evidenceHelp = `usage: verify evidence [flags] DIR

Repeats, without a network, the verification whose evidence "verify live
--evidence DIR" stored, as of the time stored there. That time is the word of
whoever wrote the folder. The measurements are the folder's own PCRS.md unless
--pcrs names another.
` + commonFlags + `
examples:
  verify evidence audit-2026-11
  verify evidence --pcrs PCRS.md audit-2026-11
`

func runEvidence(_ context.Context, t *terminal, args []string) error {
	v := newVerification("evidence")
	if err := v.parse(t, evidenceHelp, args, "DIR"); err != nil {
		return err
	}
	dir := v.set.Arg(0)
	seen, measurements, err := evidence.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return errorWithHint(int(report.Malformed), err)
	}
	if !v.given("pcrs") {
		v.measurements = measurements
	}
	options, err := v.options()
	if err != nil {
		return err
	}
	result := seen.Verify(options)
	return t.conclude(v.json, summarize(seen.URL, formatTime(seen.Time), result), result)
}
