// Command keys is the key holder's tool: it makes or imports validators' keys,
// makes the certificates of a signer and its clients, and seals all of it into a
// bundle that only the holder and attested enclaves can open.
//
// It works on a folder (package holder) on a machine of the holder's own, and
// reaches no network but AWS KMS, when sealing, and the tables of AWS's sample, when
// moving over from it. A running enclave, which can make or reseal keys, it asks
// through a socket that the parent makes, and verifies what that answers. Secrets come from files or the
// terminal, never from arguments or the environment, and are never printed; the
// one exception is a new mnemonic, which is shown once.
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
	"unicode"

	"holdfast/enclave/ethereum/keystore"
	"holdfast/keys/holder"
	"holdfast/keys/keyfiles"
	"holdfast/keys/mnemonic"
)

const usage = `usage: keys COMMAND [flags] ...

  keys new                   start a folder: configuration, certificates, identity
  keys add FILE|DIR...       import EIP-2335 keystores or Web3Signer's key folder
  keys generate              make validators' keys and their deposit data
  keys make                  have a running enclave make keys, sealed and attested
  keys import-tables         have a running enclave reseal AWS's sample's tables
  keys client NAME           make a validator client's certificate
  keys seal                  seal a bundle
  keys show FILE             everything of a bundle but its secrets
  keys list                  the public keys of the folder
  keys remove PUBKEY...      remove keys from the folder
  keys rotate-tls            make a new certificate for the signer

"keys COMMAND --help" explains a command.

exit status:
  0  done            3  malformed input
  1  failed          4  wrong password or passphrase
  2  wrong usage       5  an enclave's answer is not to be trusted
`

// The exit statuses.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitMalformed = 3
	exitPassword  = 4

	// exitUnverified is that of an enclave's answer which did not pass verification.
	exitUnverified = 5
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &terminal{stdout: os.Stdout, stderr: os.Stderr, console: openTTY, kms: newKMS}
	os.Exit(run(ctx, t, os.Args[1:]))
}

// A terminal is where a command writes, whom it asks, and what it reaches.
type terminal struct {
	stdout, stderr io.Writer

	// console opens the terminal of whoever started the command. It fails where
	// there is none.
	console func() (console, error)

	kms func(ctx context.Context, region, endpoint string) (encrypter, error)
}

// run executes one command line and returns its exit status.
func run(ctx context.Context, t *terminal, args []string) int {
	commands := map[string]func(context.Context, *terminal, []string) error{
		"new":           runNew,
		"add":           runAdd,
		"generate":      runGenerate,
		"make":          runMake,
		"import-tables": runImportTables,
		"client":        runClient,
		"seal":          runSeal,
		"show":          runShow,
		"list":          runList,
		"remove":        runRemove,
		"rotate-tls":    runRotateTLS,
	}
	if len(args) == 0 {
		fmt.Fprint(t.stderr, usage)
		return exitUsage
	}
	name := args[0]
	if strings.TrimLeft(name, "-") == "help" || name == "-h" {
		fmt.Fprint(t.stdout, usage)
		return 0
	}
	command, ok := commands[name]
	if !ok {
		fmt.Fprintf(t.stderr, "keys: no command %q\nhint: \"keys help\" lists them\n", name)
		return exitUsage
	}
	return t.exitStatus(command(ctx, t, args[1:]))
}

// A failure is an error with an exit status and advice.
type failure struct {
	status int
	err    error
	hints  []string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func usageError(format string, args ...any) error {
	return &failure{status: exitUsage, err: fmt.Errorf(format, args...)}
}

func malformed(err error, hints ...string) error { return &failure{exitMalformed, err, hints} }

func withHint(err error, hints ...string) error { return &failure{statusOf(err), err, hints} }

// statusOf finds the exit status of an error.
func statusOf(err error) int {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f.status
	case errors.Is(err, holder.ErrMalformed), errors.Is(err, keyfiles.ErrMalformed), errors.Is(err, mnemonic.ErrMalformed):
		return exitMalformed
	case errors.Is(err, holder.ErrPassphrase), errors.Is(err, keystore.ErrPassword):
		return exitPassword
	}
	return exitFailed
}

// exitStatus prints an error.
func (t *terminal) exitStatus(err error) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(t.stderr, "keys: interrupted")
		return exitFailed
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintf(t.stderr, "keys: %s\n", printable(line))
	}
	var f *failure
	if errors.As(err, &f) {
		for _, hint := range f.hints {
			fmt.Fprintf(t.stderr, "hint: %s\n", hint)
		}
	}
	return statusOf(err)
}

// printable takes from a line what would steer a terminal. An error may quote whoever
// is behind a control socket, and that is not trusted.
func printable(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || r == '\t' {
			return r
		}
		return unicode.ReplacementChar
	}, line)
}

// warn says what the holder should know.
func (t *terminal) warn(format string, args ...any) {
	fmt.Fprintf(t.stderr, "warning: "+format+"\n", args...)
}
