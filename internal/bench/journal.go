package main

import (
	"context"
	"fmt"
	"io"
)

// journalFigures measures how many attestations a second the slashing journal makes
// durable, and signs, with 1, 8 and 64 keys side by side. Their limit is how often a
// second the same disk syncs a file to which as much is appended as one attestation
// takes; beyond it duties share syncs. The disk is that of the folder for temporary
// files (TMPDIR): of one in memory, the ratios say nothing.
//
// The last figure is the most syncs that 64 attestations of 64 keys cost, asked for
// at once, in any of many rounds.
func journalFigures(ctx context.Context, stdout, stderr io.Writer) ([]string, error) {
	output, err := benchmark(ctx, stderr, "./parent/journal", "Benchmark(Sync|Record(1|8|64)|Sign(1|8|64)|Together64)")
	if err != nil {
		return nil, err
	}
	return journalTable(stdout, output)
}

// journalTable prints what the benchmarks said as rates.
func journalTable(stdout io.Writer, output string) ([]string, error) {
	all, err := parseMetrics(output)
	if err != nil {
		return nil, err
	}
	limit, err := pick(all, "BenchmarkSync", "ns/op")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "\n%-20s %14s %14s %7s\n", "", "duties/s", "fdatasync/s", "ratio")
	var figures []string
	for _, what := range []string{"Record", "Sign"} {
		for _, keys := range []string{"1", "8", "64"} {
			ours, err := pick(all, "Benchmark"+what+keys, "ns/op")
			if err != nil {
				return nil, err
			}
			name := map[string]string{"Record": "journal-record-", "Sign": "journal-sign-"}[what] + keys
			fmt.Fprintf(stdout, "%-20s %14.0f %14.0f %7.2f\n", name, 1e9/ours, 1e9/limit, limit/ours)
			figures = append(figures, fmt.Sprintf("figure %s %.0f duties/s", name, 1e9/ours),
				fmt.Sprintf("figure %s-per-sync %.2f ratio", name, limit/ours))
		}
	}
	syncs, err := pick(all, "BenchmarkTogether64", "max-syncs")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "%-20s %8.0f syncs %8d syncs %7.2f\n", "journal-together-64", syncs, maxSyncs, syncs/maxSyncs)
	return append(figures, fmt.Sprintf("figure journal-together-64 %.0f syncs", syncs)), nil
}

// maxSyncs is what 64 concurrent duties may cost.
const maxSyncs = 4
