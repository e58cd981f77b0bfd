// Command parent runs on the parent instance: it launches the enclave and carries its traffic.
//
// Exit codes: 0 stopped as asked, 1 the operation failed, 2 usage, 3 the enclave did not boot or ended
// by itself.
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
)

// A usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

const usage = `parent launches the enclave and carries its traffic.

usage: parent COMMAND [flags]

  emulate    boot an enclave image on an emulated Nitro machine and serve its HTTPS

'parent COMMAND -h' tells more, with examples.
Exit codes: 0 stopped as asked, 1 failed, 2 usage, 3 the enclave did not boot or ended by itself.
`

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	switch {
	case len(args) == 0:
		io.WriteString(stderr, usage)
		return exitUsage
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]):
		io.WriteString(stdout, usage)
		return exitDone
	case args[0] == "emulate":
		return report(ctx, emulate(ctx, args[1:], stdout, stderr), stderr)
	}
	fmt.Fprintf(stderr, "parent: unknown command %q (hint: parent help)\n", args[0])
	return exitUsage
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
	case errors.As(err, &ended), errors.Is(err, emulator.ErrNoHeartbeat), errors.Is(err, errNotServing):
		return exitEnclave
	}
	return exitFailed
}
