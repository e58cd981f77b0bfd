package main

import (
	"context"
	"fmt"
	"io"
)

// maxResident is what a signer with 10,000 keys may keep in memory, in megabytes.
const maxResident = 150

// memory prints what a process with 10,000 keys keeps resident, and returns the figure.
func memory(ctx context.Context, stdout, stderr io.Writer) ([]string, error) {
	all, err := metrics(ctx, stderr, "./enclave/ethereum", "BenchmarkMemory10000", "-benchtime", "1x")
	if err != nil {
		return nil, err
	}
	resident, err := pick(all, "BenchmarkMemory10000", "resident-MB")
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "\n%-20s %11.1f MB %11d MB %7.2f\n", "resident-10000-keys", resident, maxResident, resident/maxResident)
	return []string{fmt.Sprintf("figure resident-10000-keys %.1f MB", resident)}, nil
}
