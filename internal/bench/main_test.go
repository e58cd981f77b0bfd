package main

import (
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkSign    	     100	    500 ns/op
BenchmarkSign    	     100	    300 ns/op	  12 B/op
BenchmarkSign-2  	     100	    400.5 ns/op
BenchmarkSign    	     100	    100 ns/op
BenchmarkSignOverHandler 	 10	  99 ns/op
BenchmarkSign    	     100	    900 ns/op
PASS
`

func TestTheMedianIsOfThatBenchmarkAlone(t *testing.T) {
	got, err := median(output, "BenchmarkSign")
	if err != nil || got != 400.5 {
		t.Fatalf("median = %v, %v; want 400.5", got, err)
	}
}

func TestAMissingRoundIsAnError(t *testing.T) {
	if _, err := median(output, "BenchmarkSignOverHandler"); err == nil || !strings.Contains(err.Error(), "ran 1 times with ns/op, want 5") {
		t.Fatalf("got %v", err)
	}
}

func TestAMedianIsOfOneUnitAlone(t *testing.T) {
	const output = `BenchmarkSyncs-2  20  900 ns/op  3.000 syncs
BenchmarkSyncs-2  20  100 ns/op  1.000 syncs
BenchmarkSyncs-2  20  200 ns/op  2.000 syncs
BenchmarkSyncs-2  20  300 ns/op  1.000 syncs
BenchmarkSyncs-2  20  400 ns/op  2.000 syncs
`
	got, err := medianOf(output, "BenchmarkSyncs", "syncs")
	if err != nil || got != 2 {
		t.Fatalf("median = %v, %v; want 2", got, err)
	}
}
