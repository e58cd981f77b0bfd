package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestTheTablesFiguresAreRatesAndRequests(t *testing.T) {
	var output strings.Builder
	for range rounds {
		for _, keys := range []string{"1", "8", "64"} {
			fmt.Fprintf(&output, "BenchmarkDuty%s-2 10 1000000 ns/op 1.000 requests/duty\nBenchmarkBareWrite%s-2 10 800000 ns/op\n", keys, keys)
		}
	}
	var table bytes.Buffer
	figures, err := dynamoTable(&table, output.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"figure dynamodb-record-8 1000 duties/s", "figure dynamodb-record-64-of-bare 0.80 ratio", "figure dynamodb-record-1-requests 1 requests/duty"} {
		if !slices.Contains(figures, want) {
			t.Errorf("got %q, want %q among them", figures, want)
		}
	}
	if _, err := dynamoTable(&table, strings.ReplaceAll(output.String(), "requests/duty", "requests")); err == nil {
		t.Error("requests that were not counted are no error")
	}
}
