package main

import (
	"strings"
	"testing"
)

const output = `goos: linux
BenchmarkSign    	     100	    500 ns/op	  7 p99-ns
BenchmarkSign    	     100	    300 ns/op	  3 p99-ns
BenchmarkSign-2  	     100	    400.5 ns/op	  9 p99-ns
BenchmarkSign    	     100	    100 ns/op	  1 p99-ns
BenchmarkSign    	     100	    900 ns/op	  5 p99-ns
PASS
`

func TestTheMediansAreOfEachBenchmarkAndUnit(t *testing.T) {
	other := strings.NewReplacer("BenchmarkSign", "BenchmarkSignOverHandler", "400.5", "444").Replace(output)
	got, err := parseMetrics(output + other)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		name, unit string
		value      float64
	}{
		{"BenchmarkSign", "ns/op", 400.5}, {"BenchmarkSign", "p99-ns", 5},
		{"BenchmarkSignOverHandler", "ns/op", 444},
	} {
		if value, err := pick(got, want.name, want.unit); err != nil || value != want.value {
			t.Errorf("%s: got %v %s, %v; want %v", want.name, value, want.unit, err, want.value)
		}
	}
}

func TestAMissingRoundIsAnError(t *testing.T) {
	four := output[:strings.LastIndex(output, "BenchmarkSign")]
	if _, err := parseMetrics(four); err == nil || !strings.Contains(err.Error(), "4 times, want 5") {
		t.Fatalf("got %v", err)
	}
}

func TestAMetricThatWasNotReportedIsAnError(t *testing.T) {
	got, err := parseMetrics(output)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][2]string{{"BenchmarkSign", "B/op"}, {"BenchmarkOther", "ns/op"}} {
		if value, err := pick(got, want[0], want[1]); err == nil {
			t.Errorf("%v: got %v", want, value)
		}
	}
}

func TestALineThatIsNoNumberIsAnError(t *testing.T) {
	if got, err := parseMetrics("BenchmarkSign 1 x ns/op\n"); err == nil {
		t.Errorf("got %v", got)
	}
}
