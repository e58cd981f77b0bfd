package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// metrics runs benchmarks of a package and returns what they report, as medians over the rounds: by
// benchmark, then by unit, as go test prints them.
func metrics(ctx context.Context, stderr io.Writer, pkg, pattern string, args ...string) (map[string]map[string]float64, error) {
	output, err := benchmark(ctx, stderr, pkg, pattern, append([]string{"-cpu", "1"}, args...)...)
	if err != nil {
		return nil, err
	}
	return parseMetrics(output)
}

// benchmark runs benchmarks of a package, each as often as there are rounds, and returns what go test prints.
func benchmark(ctx context.Context, stderr io.Writer, pkg, pattern string, args ...string) (string, error) {
	args = append([]string{"test", "-tags", "netgo,osusergo", "-ldflags=-extldflags=-static", "-run", "^$",
		"-bench", "^(" + pattern + ")$", "-count", strconv.Itoa(rounds)}, append(args, pkg)...)
	cmd := exec.CommandContext(ctx, "go", args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, &out)
	}
	return out.String(), nil
}

// parseMetrics reads the output of go test: a benchmark's name, its iterations, then values with units.
func parseMetrics(output string) (map[string]map[string]float64, error) {
	all := map[string]map[string][]float64{}
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || len(fields)%2 != 0 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := strings.SplitN(fields[0], "-", 2)[0]
		if all[name] == nil {
			all[name] = map[string][]float64{}
		}
		for i := 2; i < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("benchmark line %q: %w", line, err)
			}
			all[name][fields[i+1]] = append(all[name][fields[i+1]], value)
		}
	}
	return medians(all)
}

func medians(all map[string]map[string][]float64) (map[string]map[string]float64, error) {
	middle := map[string]map[string]float64{}
	for name, units := range all {
		middle[name] = map[string]float64{}
		for unit, values := range units {
			if len(values) != rounds {
				return nil, fmt.Errorf("%s reported %s %d times, want %d", name, unit, len(values), rounds)
			}
			slices.Sort(values)
			middle[name][unit] = values[len(values)/2]
		}
	}
	return middle, nil
}

// pick returns one metric, which must be there and positive.
func pick(all map[string]map[string]float64, name, unit string) (float64, error) {
	value := all[name][unit]
	if value <= 0 {
		return 0, fmt.Errorf("%s reported no %s", name, unit)
	}
	return value, nil
}
