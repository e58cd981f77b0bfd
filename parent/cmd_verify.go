package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"holdfast/parent/journal"
)

const journalHelp = `usage: parent slashing verify DIR

Reads the journal in a directory and changes nothing: is every record as it was written, and does each
follow the one before? Records are sealed, so whether they are the enclave's only the enclave can tell. The
head that it prints is what 'parent slashing vouch -expect' wants, if this is noted when the enclave has stopped.

A few incomplete bytes at the end are what a crash leaves: they were never acknowledged, and no signature
rests on them.

  parent slashing verify journal

Exit codes: 0 sound, 1 damaged, unreadable or empty, 2 usage.
`

func slashingVerify(_ context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("slashing verify", journalHelp, stdout)
	if err := f.parse(args, 1, 1); err != nil {
		return err
	}
	report, err := journal.Verify(f.args[0])
	if err == nil && report.File == "" {
		err = errors.New("there is no journal in " + f.args[0])
	}
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "file\t%s\nrecords\t%d, from %d to %d\nbytes\t%d\nhead\t%x\n",
		report.File, report.Records, report.First, report.Head.Sequence, report.Bytes, report.Head.Digest)
	if report.Incomplete > 0 {
		fmt.Fprintf(t, "incomplete\t%d bytes at the end\n", report.Incomplete)
	}
	return t.Flush()
}
