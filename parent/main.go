// Command parent runs on the parent instance: it launches the enclave, feeds it, carries its traffic, and asks
// a running one.
//
// Exit codes: 0 done, or stopped as asked, 1 the operation failed, 2 usage, 3 the enclave did not boot or ended
// by itself, 4 the enclave runs but does not sign.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"holdfast/image/sandbox"
	"holdfast/parent/emulator"
)

func main() {
	sandbox.Init()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitEnclave = 3
	exitIdle    = 4
)

// A usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// A command is the first word of the command line.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

var commands = []command{
	{"emulate", "boot an enclave image on an emulated Nitro machine, feed it and serve its HTTPS", emulate},
	{"status", "say how far a running enclave has come", status},
	{"slashing", "move, see, raise and vouch for slashing protection", slashingCommand},
	{"tables", "read the key tables of AWS's sample, for moving over", tablesCommand},
}

func usage() string {
	var b strings.Builder
	b.WriteString("parent launches the enclave, feeds it, and carries its traffic.\n\nusage: parent COMMAND [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.summary)
	}
	b.WriteString("\n'parent COMMAND -h' tells more, with examples.\n" + exitCodes)
	return b.String()
}

const exitCodes = `Exit codes: 0 done, or stopped as asked, 1 failed, 2 usage, 3 the enclave did not boot or ended by
itself, 4 the enclave runs but does not sign.
`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 0:
		io.WriteString(stderr, usage())
		return exitUsage
	case isHelp(args[0]):
		io.WriteString(stdout, usage())
		return exitDone
	}
	for _, c := range commands {
		if c.name == args[0] {
			return report(ctx, c.run(ctx, args[1:], stdout, stderr), stderr)
		}
	}
	fmt.Fprintf(stderr, "parent: unknown command %q (hint: parent help)\n", args[0])
	return exitUsage
}

func isHelp(arg string) bool {
	return slices.Contains([]string{"help", "-h", "-help", "--help"}, arg)
}

// report prints an error and gives the exit code. An interruption is what was asked for.
func report(ctx context.Context, err error, stderr io.Writer) int {
	var usage usageError
	var ended *emulator.EndError
	interrupted := ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
	if err == nil || interrupted || errors.Is(err, flag.ErrHelp) {
		return exitDone
	}
	fmt.Fprintf(stderr, "parent: %s\n", strings.TrimRight(err.Error(), "\n"))
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errIdle):
		return exitIdle
	case errors.As(err, &ended), errors.Is(err, emulator.ErrNoHeartbeat), errors.Is(err, errNotServing):
		return exitEnclave
	}
	return exitFailed
}
