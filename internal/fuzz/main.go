// Command fuzz runs every fuzz target for a while and keeps what it learned: of the inputs that the go
// command found interesting, those that reach code which no seed and no kept input reaches go to the
// target's testdata/fuzz, smallest first.
//
// 'make fuzz' runs it. It ends with status 1 if a target failed; the input that did it is then in testdata/fuzz
// too, as the go command leaves it.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz:", err)
		os.Exit(1)
	}
}

// A target is one fuzz test.
type target struct{ pkg, name string }

func (t target) String() string { return t.pkg + " " + t.name }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := flag.NewFlagSet("fuzz", flag.ContinueOnError)
	set.SetOutput(stderr)
	each := set.Duration("time", 10*time.Second, "fuzz each target for this `duration`")
	most := set.Int("keep", 100, "keep at most this `number` of inputs a target")
	if err := set.Parse(args); err != nil {
		return err
	}
	packages := set.Args()
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	listed, err := goCommand(ctx, append([]string{"test", "-tags=netgo,osusergo", "-list=^Fuzz"}, packages...)...)
	if err != nil {
		return err
	}
	var failed []string
	targets := parseList(listed)
	for _, t := range targets {
		begun := time.Now()
		fault := t.fuzz(ctx, *each)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if fault != nil {
			failed = append(failed, t.String())
			fmt.Fprintf(stderr, "%s: %v\n", t, fault)
			continue
		}
		fuzzed := time.Since(begun)
		kept, of, err := t.keep(ctx, *most)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		fmt.Fprintf(stdout, "%-62s %5.0f s, kept %d of %d new inputs\n", t, fuzzed.Seconds(), kept, of)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d targets failed: %s", len(failed), len(targets), strings.Join(failed, ", "))
	}
	return nil
}

// parseList reads the output of go test -list: names, then a line about their package.
func parseList(output string) []target {
	var targets []target
	var names []string
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case len(fields) > 1 && fields[0] == "ok":
			for _, name := range names {
				targets = append(targets, target{fields[1], name})
			}
			names = nil
		}
	}
	return targets
}

// fuzz runs the target, whose corpus grows in the go command's cache.
func (t target) fuzz(ctx context.Context, each time.Duration) error {
	_, err := goCommand(ctx, "test", "-tags=netgo,osusergo", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), t.pkg)
	return err
}

// keep chooses among the inputs that the target's corpus in the cache has and its testdata has not, copies
// the chosen ones there, and returns how many of how many those are.
func (t target) keep(ctx context.Context, most int) (kept, of int, err error) {
	where, err := goCommand(ctx, "list", "-f={{.Dir}}", t.pkg)
	if err != nil {
		return 0, 0, err
	}
	cache, err := goCommand(ctx, "env", "GOCACHE")
	if err != nil {
		return 0, 0, err
	}
	home := strings.TrimSpace(where)
	c := &corpus{
		target: t, home: home, dir: filepath.Join(home, "testdata", "fuzz", t.name),
		found: filepath.Join(strings.TrimSpace(cache), "fuzz", t.pkg, t.name),
	}
	temp, err := os.MkdirTemp("", "holdfast-fuzz-")
	if err != nil {
		return 0, 0, err
	}
	defer os.RemoveAll(temp)
	c.program, c.profile = filepath.Join(temp, "test"), filepath.Join(temp, "profile")
	if _, err := goCommand(ctx, "test", "-c", "-tags=netgo,osusergo", "-covermode=set", "-coverpkg=holdfast/...", "-o", c.program, t.pkg); err != nil {
		return 0, 0, err
	}
	return c.grow(ctx, most)
}

// goCommand runs the go command and returns what it prints.
func goCommand(ctx context.Context, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, &out)
	}
	return out.String(), nil
}
