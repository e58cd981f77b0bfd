// Command bench measures Holdfast beside a limit or a peer, in one run, and prints tables and then one
// line a figure: "figure NAME VALUE UNIT". A figure with a limit is the ratio to it.
//
// 'make bench' runs it. Medians of several rounds are shown, since machines are noisy.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
)

// A comparison is a benchmark of ours beside the one that limits it.
type comparison struct {
	figure      string // name of the ratio
	pkg         string
	ours, limit string // benchmark names
	peak        string // name of the figure for the peak of memory that ours reports, if it does
}

// peakUnit is the unit in which a benchmark reports by how much the heap grew at most.
const peakUnit = "peak-MB"

// A measurement is what a comparison came to: nanoseconds, and megabytes.
type measurement struct{ ours, limit, peak float64 }

func comparisons() []comparison {
	return []comparison{
		{"eif-measure", "./image/eif", "BenchmarkMeasure", "BenchmarkSHA384", ""},
		{"sign-over-handler", "./enclave/ethereum", "BenchmarkSignOverHandler", "BenchmarkSignBare", ""},
		{"sign-over-https", "./enclave/ethereum", "BenchmarkSignOverHTTPS", "BenchmarkSignBare", ""},
		{"load-10000-keys", "./enclave/ethereum", "BenchmarkLoad10000", "BenchmarkDerive10000", ""},
		{"seal-10000-keys", "./enclave/bundle", "BenchmarkSeal", "BenchmarkDerive", "seal-10000-keys-memory"},
		{"open-10000-keys", "./enclave/bundle", "BenchmarkOpen", "BenchmarkDerive", "open-10000-keys-memory"},
	}
}

// sections print tables of their own, and return figures.
func sections() []func(ctx context.Context, stdout, stderr io.Writer) ([]string, error) {
	return []func(ctx context.Context, stdout, stderr io.Writer) ([]string, error){memory, halfLoad, documentCost, journalFigures, dynamoFigures}
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
		m, err := c.measure(ctx, stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", c.figure, err)
		}
		fmt.Fprintf(stdout, "%-20s %11.0f ns %11.0f ns %7.2f\n", c.figure, m.ours, m.limit, m.ours/m.limit)
		figures = append(figures, fmt.Sprintf("figure %s %.2f ratio", c.figure, m.ours/m.limit))
		if c.peak != "" {
			figures = append(figures, fmt.Sprintf("figure %s %.1f MB", c.peak, m.peak))
		}
	}
	for _, section := range sections() {
		more, err := section(ctx, stdout, stderr)
		if err != nil {
			return err
		}
		figures = append(figures, more...)
	}
	fmt.Fprintln(stdout)
	for _, f := range figures {
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

// measure runs the two benchmarks in turn and returns their medians.
func (c comparison) measure(ctx context.Context, stderr io.Writer) (m measurement, err error) {
	all, err := metrics(ctx, stderr, c.pkg, c.ours+"|"+c.limit)
	if err != nil {
		return m, err
	}
	if m.ours, err = pick(all, c.ours, "ns/op"); err != nil {
		return m, err
	}
	if c.peak != "" {
		if m.peak, err = pick(all, c.ours, peakUnit); err != nil {
			return m, err
		}
	}
	m.limit, err = pick(all, c.limit, "ns/op")
	return m, err
}
