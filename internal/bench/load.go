package main

import (
	"context"
	"fmt"
	"io"
)

// halfLoad prints how long answers take at half load beside a bare signature, and returns the figures. The
// limit is three times, of 99 answers in a hundred to requests at even intervals.
func halfLoad(ctx context.Context, stdout, stderr io.Writer) ([]string, error) {
	all, err := metrics(ctx, stderr, "./enclave/ethereum", "BenchmarkHalfLoad", "-benchtime", "1x")
	if err != nil {
		return nil, err
	}
	get := func(unit string) float64 {
		value, missing := pick(all, "BenchmarkHalfLoad", unit)
		if missing != nil {
			err = missing
		}
		return value
	}
	bare, capacity := get("bare-ns"), get("capacity/s")
	fmt.Fprintf(stdout, "\nattestations over HTTPS keep-alive at half load: %.0f a second, of %.0f that one processor does\n", capacity/2, capacity)
	fmt.Fprintf(stdout, "%-20s %9s %9s %9s %9s   times a bare signature (%.0f ns)\n", "requests due", "p50", "p90", "p99", "most", bare)
	var figures []string
	for _, arrivals := range []struct{ unit, name, figure string }{
		{"even", "at even intervals", "sign-p99-half-load"},
		{"random", "at random", "sign-p99-half-load-random"},
	} {
		p99 := get(arrivals.unit+"-p99-ns") / bare
		fmt.Fprintf(stdout, "%-20s %9.2f %9.2f %9.2f %9.2f\n", arrivals.name,
			get(arrivals.unit+"-p50-ns")/bare, get(arrivals.unit+"-p90-ns")/bare, p99, get(arrivals.unit+"-most-ns")/bare)
		figures = append(figures, fmt.Sprintf("figure %s %.2f ratio", arrivals.figure, p99))
	}
	fmt.Fprintf(stdout, "meanwhile other programs kept %.0f %% of the machine's processors busy; above a few, latencies are theirs\n", all["BenchmarkHalfLoad"]["others-%"])
	return figures, err
}
