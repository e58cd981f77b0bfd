package main

import (
	"context"
	"fmt"
	"io"
)

// documentCost prints where the processor time of verifying a document goes, and returns the figures. The
// limit is 10 ms. Each of the two opinions, ours and nitrite's, verifies four links of the chain and the
// signature: ten verifications on P-384, of which the second five are the price of a second opinion.
func documentCost(ctx context.Context, stdout, stderr io.Writer) ([]string, error) {
	all, err := metrics(ctx, stderr, "./verify/attestation", "BenchmarkVerifyDocument|BenchmarkOurOwn|BenchmarkSecondOpinion|BenchmarkFiveP384")
	if err != nil {
		return nil, err
	}
	get := func(name string) float64 {
		value, missing := pick(all, "Benchmark"+name, "least-cpu-ms/op")
		if missing != nil {
			err = missing
		}
		return value
	}
	whole, five := get("VerifyDocument"), get("FiveP384")
	fmt.Fprintf(stdout, "\nverifying a document: processor time, the least of many\n%-34s %9s %9s\n", "", "ms", "share")
	for _, part := range []struct {
		name string
		ms   float64
	}{
		{"the whole", whole},
		{"our own checks", get("OurOwn")},
		{"the second opinion, nitrite", get("SecondOpinion")},
		{"five P-384 verifications", five},
		{"ten, five of each opinion", 2 * five},
	} {
		fmt.Fprintf(stdout, "%-34s %9.2f %8.0f%%\n", part.name, part.ms, 100*part.ms/whole)
	}
	return []string{
		fmt.Sprintf("figure verify-document-cpu %.2f ms", whole),
		fmt.Sprintf("figure verify-document %.2f ratio", whole/five),
		fmt.Sprintf("figure verify-document-p384-share %.2f ratio", 2*five/whole),
	}, err
}
