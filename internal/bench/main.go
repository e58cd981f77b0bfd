// Command bench measures Holdfast beside a limit or a peer, in one run, and prints a table and then one
// line a figure: "figure NAME VALUE UNIT". A figure with a limit is the ratio to it.
//
// 'make bench' runs it. Medians of several rounds are shown, since machines are noisy.
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A comparison is a benchmark of ours beside the one that limits it.
type comparison struct {
	figure      string // name of the ratio
	pkg         string
	ours, limit string // benchmark names
}

func comparisons() []comparison {
	return []comparison{
		{"eif-measure", "./image/eif", "BenchmarkMeasure", "BenchmarkSHA384"},
		{"sign-over-handler", "./enclave/ethereum", "BenchmarkSignOverHandler", "BenchmarkSignBare"},
		{"sign-over-https", "./enclave/ethereum", "BenchmarkSignOverHTTPS", "BenchmarkSignBare"},
		{"load-10000-keys", "./enclave/ethereum", "BenchmarkLoad10000", "BenchmarkDerive10000"},
		{"verify-document", "./verify/attestation", "BenchmarkVerifyDocument", "BenchmarkFiveP384"},
	}
}

const rounds = 5

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, stdout, stderr io.Writer) error {
	figures, err := sizes(os.Getenv("HOLDFAST_EIF"))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%-20s %14s %14s %7s\n", "", "ours", "limit", "ratio")
	for _, c := range comparisons() {
		ours, limit, err := c.measure(ctx, stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", c.figure, err)
		}
		fmt.Fprintf(stdout, "%-20s %11.0f ns %11.0f ns %7.2f\n", c.figure, ours, limit, ours/limit)
		figures = append(figures, fmt.Sprintf("figure %s %.2f ratio", c.figure, ours/limit))
	}
	durable, err := journalFigures(ctx, stdout, stderr)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	table, err := dynamoFigures(ctx, stdout, stderr)
	if err != nil {
		return fmt.Errorf("dynamodb: %w", err)
	}
	for _, f := range slices.Concat(figures, durable, table) {
		fmt.Fprintln(stdout, f)
	}
	return nil
}

// sizes gives the figures of the built image.
func sizes(image string) ([]string, error) {
	st, err := os.Stat(image)
	if err != nil {
		return nil, fmt.Errorf("the built image: %w (hint: make bench)", err)
	}
	kernel, err := os.Stat(filepath.Join(filepath.Dir(os.Getenv("HOLDFAST_KERNEL_CONFIG")), "bzImage"))
	if err != nil {
		return nil, fmt.Errorf("the built kernel: %w (hint: make bench)", err)
	}
	return []string{
		fmt.Sprintf("figure eif-size %d bytes", st.Size()),
		fmt.Sprintf("figure kernel-size %d bytes", kernel.Size()),
	}, nil
}

// measure runs the two benchmarks in turn and returns their median times in nanoseconds.
func (c comparison) measure(ctx context.Context, stderr io.Writer) (ours, limit float64, err error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-tags", "netgo,osusergo", "-ldflags=-extldflags=-static", "-run", "^$",
		"-bench", "^("+c.ours+"|"+c.limit+")$", "-count", strconv.Itoa(rounds), "-cpu", "1", c.pkg)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, stderr
	if err := cmd.Run(); err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, &out)
	}
	if ours, err = median(out.String(), c.ours); err != nil {
		return 0, 0, err
	}
	limit, err = median(out.String(), c.limit)
	return ours, limit, err
}

// median reads the middle time per operation of one benchmark from the output of go test.
func median(output, name string) (float64, error) { return medianOf(output, name, "ns/op") }

// medianOf reads the middle of what one benchmark reports in one unit.
func medianOf(output, name, unit string) (float64, error) {
	var values []float64
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || strings.SplitN(fields[0], "-", 2)[0] != name {
			continue
		}
		at := slices.Index(fields, unit)
		if at < 1 {
			continue
		}
		value, err := strconv.ParseFloat(fields[at-1], 64)
		if err != nil {
			return 0, fmt.Errorf("benchmark line %q: %w", line, err)
		}
		values = append(values, value)
	}
	if len(values) != rounds {
		return 0, fmt.Errorf("%s ran %d times with %s, want %d", name, len(values), unit, rounds)
	}
	slices.Sort(values)
	return values[len(values)/2], nil
}
