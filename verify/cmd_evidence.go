package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"holdfast/verify/attestation"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/report"
)

const evidenceHelp = `usage: verify evidence [flags] DIR

Repeats, without a network, the verification whose evidence "verify live
--evidence DIR" stored, as of the time stored there. That time is the word of
whoever wrote the folder. The measurements are the folder's own PCRS.md unless
--pcrs names another. The receipt of a release must be of this evidence.
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
	folder, err := evidence.Read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		return errorWithHint(int(report.Malformed), err)
	}
	if !v.given("pcrs") {
		v.Measurements, v.Signature = folder.Measurements, folder.Signature
	}
	options, err := v.options(folder.Time)
	if err != nil {
		return err
	}
	result := folder.Verify(options)
	folder.Measurements, folder.Signature = v.Measurements, v.Signature // those that were compared
	o := outcome.Outcome{Subject: folder.URL, AsOf: outcome.FormatTime(folder.Time), Result: result}
	if err := v.concludeFolder(t, o, folder); err != nil {
		return err
	}
	return checkReceipt(folder, result)
}

// checkReceipt compares a receipt with the evidence that it lies beside.
func checkReceipt(folder evidence.Folder, result attestation.Result) error {
	if folder.Receipt == nil {
		return nil
	}
	err := folder.Receipt.Check(folder)
	if entry := result.Judgement.Entry; err == nil && (folder.Receipt.Release != entry.Version || folder.Receipt.Emulated != result.Emulated) {
		err = fmt.Errorf("receipt.json: got release %s, want %s", folder.Receipt.Release, entry.Version)
	}
	if err != nil {
		return errorWithHint(int(report.Binding), err, "the enclave passed, and what was released to it is not what the receipt says")
	}
	return nil
}
