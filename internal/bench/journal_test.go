package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTheJournalsFiguresAreRates(t *testing.T) {
	var output strings.Builder
	for range rounds {
		output.WriteString("BenchmarkSync-2 10 1000000 ns/op\nBenchmarkTogether64-2 10 5 ns/op 1.5 syncs 3.000 max-syncs\n")
		for _, name := range []string{"Record1", "Record8", "Record64", "Sign1", "Sign8", "Sign64"} {
			fmt.Fprintf(&output, "Benchmark%s-2 10 500000 ns/op 1.000 syncs/round\n", name)
		}
	}
	var table bytes.Buffer
	figures, err := journalTable(&table, output.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"figure journal-record-8 2000 duties/s", "figure journal-sign-64-per-sync 2.00 ratio", "figure journal-together-64 3 syncs"} {
		if !slices.Contains(figures, want) {
			t.Errorf("got %q, want %q among them", figures, want)
		}
	}
	if !strings.Contains(table.String(), "1000    2.00") {
		t.Errorf("got table\n%s", &table)
	}
	if _, err := journalTable(&table, strings.ReplaceAll(output.String(), "Sign64", "Sign65")); err == nil {
		t.Error("a missing benchmark is no error")
	}
}
