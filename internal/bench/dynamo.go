package main

import (
	"context"
	"fmt"
	"io"
)

// dynamoFigures measures how many duties a second DynamoDB Local makes durable, with 1, 8 and 64 keys side by
// side, and how many requests each costs. Their limit is how many bare writes of such items the same program
// takes: what it takes on one machine's processor says nothing of DynamoDB itself, but the ratio and the requests
// do.
func dynamoFigures(ctx context.Context, stdout, stderr io.Writer) ([]string, error) {
	output, err := benchmark(ctx, stderr, "./enclave/slashing/dynamo", "Benchmark(Duty|BareWrite)(1|8|64)")
	if err != nil {
		return nil, err
	}
	return dynamoTable(stdout, output)
}

// dynamoTable prints what the benchmarks said as rates.
func dynamoTable(stdout io.Writer, output string) ([]string, error) {
	all, err := parseMetrics(output)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(stdout, "\n%-20s %14s %14s %7s\n", "", "duties/s", "bare writes/s", "ratio")
	var figures []string
	for _, keys := range []string{"1", "8", "64"} {
		ours, err := pick(all, "BenchmarkDuty"+keys, "ns/op")
		if err != nil {
			return nil, err
		}
		limit, err := pick(all, "BenchmarkBareWrite"+keys, "ns/op")
		if err != nil {
			return nil, err
		}
		requests, err := pick(all, "BenchmarkDuty"+keys, "requests/duty")
		if err != nil {
			return nil, err
		}
		name := "dynamodb-record-" + keys
		fmt.Fprintf(stdout, "%-20s %14.0f %14.0f %7.2f\n", name, 1e9/ours, 1e9/limit, limit/ours)
		figures = append(figures,
			fmt.Sprintf("figure %s %.0f duties/s", name, 1e9/ours),
			fmt.Sprintf("figure %s-of-bare %.2f ratio", name, limit/ours),
			fmt.Sprintf("figure %s-requests %g requests/duty", name, requests))
	}
	return figures, nil
}
