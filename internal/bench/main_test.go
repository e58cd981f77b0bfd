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
BenchmarkSignOverHandler 	 10	  99 ns/op	   7.5 peak-MB
BenchmarkSign    	     100	    900 ns/op
PASS
`

func TestTheMedianIsOfThatBenchmarkAlone(t *testing.T) {
	got, err := median(output, "BenchmarkSign", "ns/op")
	if err != nil || got != 400.5 {
		t.Fatalf("median = %v, %v; want 400.5", got, err)
	}
}

func TestAnotherUnitIsReadFromTheSameLines(t *testing.T) {
	got, err := median(strings.Repeat("BenchmarkOpen-2 \t 1\t 99 ns/op\t 7.5 peak-MB\t 3 B/op\n", rounds), "BenchmarkOpen", peakUnit)
	if err != nil || got != 7.5 {
		t.Fatalf("median = %v, %v; want 7.5", got, err)
	}
}

func TestAMissingRoundIsAnError(t *testing.T) {
	if _, err := median(output, "BenchmarkSignOverHandler", "ns/op"); err == nil || !strings.Contains(err.Error(), "ran 1 times, want 5") {
		t.Fatalf("got %v", err)
	}
}
