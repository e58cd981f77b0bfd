// Command verify checks that an enclave runs a published Holdfast image, and
// releases keys to it.
//
// It is the auditor's tool and the gate before a key release. Every rule of
// the verification is printed with its number; the exit status says which kind
// failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"holdfast/verify/reference"
)

const usage = `usage: verify COMMAND [flags] ...

  verify live URL            ask a running enclave and check its answer
  verify document FILE       check an attestation document
  verify evidence DIR        check again what live stored in a folder
  verify release URL BUNDLE  check an enclave, then give it a bundle's data key
  verify build               rebuild an image from source, compare with PCRS.md
  verify history [DIR]       check that PCRS.md was only ever added to
  verify policy FILE         check an AWS KMS key policy
  verify policy generate     write one from PCRS.md

"verify COMMAND --help" explains a command. Flags come before arguments.

exit status:
  0  every check passed                5  nonce or age
  1  the operation failed              6  measurements
  2  wrong usage                       7  channel binding
  3  malformed document                8  policy
  4  signature or certificate chain
`

// The exit statuses that package report does not define.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns its exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	commands := map[string]func(context.Context, *terminal, []string) error{
		"live":     runLive,
		"build":    runBuild,
		"document": runDocument,
		"evidence": runEvidence,
		"history":  runHistory,
		"release":  runRelease,
		"policy":   runPolicy,
	}
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return exitUsage
	}
	name := args[0]
	if name == "help" || strings.TrimLeft(name, "-") == "help" || name == "-h" {
		fmt.Fprint(stdout, usage)
		return 0
	}
	command, ok := commands[name]
	if !ok {
		fmt.Fprintf(stderr, "verify: no command %q\nhint: \"verify help\" lists them\n", name)
		return exitUsage
	}
	t := &terminal{stdout: stdout, stderr: stderr}
	return t.exitStatus(advised(command(ctx, t, args[1:])))
}

// A terminal is where a command writes.
type terminal struct{ stdout, stderr io.Writer }

// An exitError carries an exit status. Its message, where there is one, is
// still to be printed.
type exitError struct {
	status int
	err    error
	hints  []string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// errorWithHint makes an error with an exit status and advice.
func errorWithHint(status int, err error, hints ...string) error {
	return &exitError{status, err, hints}
}

func usageError(format string, args ...any) error {
	return &exitError{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// advised turns an error of package reference into one that ends this program. Any
// other stays as it is.
func advised(err error) error {
	var r *reference.Error
	if !errors.As(err, &r) {
		return err
	}
	out := &exitError{status: r.Status, err: err}
	if r.Hint != "" {
		out.hints = []string{r.Hint}
	}
	return out
}

// exitStatus prints what is left to say about an error.
func (t *terminal) exitStatus(err error) int {
	var e *exitError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case !errors.As(err, &e):
		fmt.Fprintf(t.stderr, "verify: %v\n", err)
		return exitFailed
	}
	if e.err != nil {
		fmt.Fprintf(t.stderr, "verify: %v\n", e.err)
	}
	for _, hint := range e.hints {
		fmt.Fprintf(t.stderr, "hint: %s\n", hint)
	}
	return e.status
}
