// Command image builds, measures and inspects Holdfast's images.
//
// Exit codes: 0 done, 1 the operation failed, 2 usage, 3 an input is malformed, 6 the measurements
// differ from PCRS.md or between two builds.
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

	"holdfast/image/builder"
	"holdfast/image/cache"
	"holdfast/image/debian"
	"holdfast/image/eif"
	"holdfast/image/progress"
	"holdfast/image/sandbox"
	"holdfast/verify/pcrs"
)

func main() {
	sandbox.Init()
	if os.Args[0] == varyArgument {
		fmt.Fprintln(os.Stderr, "image: varying the build:", vary(os.Args))
		os.Exit(exitFailed)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

const (
	exitDone         = 0
	exitFailed       = 1
	exitUsage        = 2
	exitMalformed    = 3
	exitMeasurements = 6
)

// A command is one verb of the program.
type command struct {
	name, args, summary, help string
	run                       func(ctx context.Context, c *call) error
}

func commands() []command {
	return []command{
		buildCommand, pcrsCommand, reproduceCommand, measureCommand, inspectCommand, diffCommand,
		lockCommand, fetchCommand, emulatorCommand, doctorCommand, envCommand, ccCommand, chromiumCommand,
	}
}

// A call is one invocation of a command.
type call struct {
	cmd            command
	stdout, stderr io.Writer
	flags          *flag.FlagSet
	args           []string // what follows the flags; set once they are parsed

	checkout, cacheDir, mirror, securityMirror string
	quiet                                      bool
	jobs                                       int
}

// A usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

// errMeasurements says that measurements differ; the difference has been printed.
var errMeasurements = errors.New("measurements differ")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		writeUsage(stderr)
		return exitUsage
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		writeUsage(stdout)
		return exitDone
	}
	i := slices.IndexFunc(commands(), func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprintf(stderr, "image: unknown command %q (hint: image help)\n", args[0])
		return exitUsage
	}
	return report(invoke(ctx, commands()[i], args[1:], stdout, stderr), stderr)
}

// invoke parses a command's flags and runs it.
func invoke(ctx context.Context, cmd command, args []string, stdout, stderr io.Writer) error {
	c := &call{cmd: cmd, stdout: stdout, stderr: stderr, flags: flag.NewFlagSet(cmd.name, flag.ContinueOnError)}
	if cmd.name == ccCommand.name || cmd.name == chromiumCommand.name { // another program's flags follow
		c.args = args
		return cmd.run(ctx, c)
	}
	c.flags.SetOutput(io.Discard)
	c.flags.StringVar(&c.checkout, "C", ".", "a `directory` of the checkout")
	c.flags.StringVar(&c.cacheDir, "cache", "", "the cache `directory`; default $HOLDFAST_CACHE or the user's cache directory")
	c.flags.StringVar(&c.mirror, "mirror", "", "Debian mirror `URLs`; default $HOLDFAST_DEBIAN_MIRROR or the machine's apt sources")
	c.flags.StringVar(&c.securityMirror, "security-mirror", "", "Debian security mirror `URLs`; default $HOLDFAST_DEBIAN_SECURITY_MIRROR or apt's")
	c.flags.IntVar(&c.jobs, "j", 0, "compilers at once; default one a processor")
	c.flags.BoolVar(&c.quiet, "q", false, "no progress")
	c.args = args
	return cmd.run(ctx, c)
}

// parse parses the command's flags, then wants between least and most arguments.
func (c *call) parse(least, most int) error {
	err := c.flags.Parse(c.args)
	if errors.Is(err, flag.ErrHelp) {
		c.cmd.writeHelp(c.stdout, c.flags)
		return flag.ErrHelp
	}
	if err != nil {
		return usagef("%w (hint: image %s -h)", err, c.cmd.name)
	}
	c.args = c.flags.Args()
	if len(c.args) < least || len(c.args) > most {
		return usagef("got %d arguments, want: image %s %s (hint: image %s -h)", len(c.args), c.cmd.name, c.cmd.args, c.cmd.name)
	}
	return nil
}

// report prints an error and gives the exit code.
func report(err error, stderr io.Writer) int {
	var usage usageError
	var format *eif.FormatError
	var syntax *pcrs.SyntaxError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.Is(err, errMeasurements):
		return exitMeasurements
	}
	fmt.Fprintf(stderr, "image: %v\n", err)
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &format), errors.As(err, &syntax):
		return exitMalformed
	}
	return exitFailed
}

// builder returns a builder for the flags of the call.
func (c *call) builder() (*builder.Builder, error) {
	checkout, err := builder.Find(c.checkout)
	if err != nil {
		return nil, err
	}
	store, err := cache.Open(c.cacheDir)
	if err != nil {
		return nil, err
	}
	mirrors, err := debian.Mirrors(c.mirror, c.securityMirror)
	if err != nil {
		return nil, err
	}
	var reporter *progress.Reporter
	if !c.quiet {
		reporter = progress.New(c.stderr)
	}
	store.OnWait = func(name string) {
		reporter.Stage("waiting").Done("for another process that makes " + name)
	}
	return &builder.Builder{
		Checkout: checkout,
		Cache:    store,
		Mirrors:  mirrors,
		Progress: reporter,
		Jobs:     c.jobs,
	}, nil
}

const usageHead = `image builds, measures and inspects Holdfast's images.

usage: image COMMAND [flags] [arguments]

`

const usageTail = `
'image COMMAND -h' tells more, with examples.
Exit codes: 0 done, 1 failed, 2 usage, 3 malformed input, 6 measurements differ.
`

func writeUsage(w io.Writer) {
	io.WriteString(w, usageHead)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-10s %s\n", c.name, c.summary)
	}
	io.WriteString(w, usageTail)
}

func (cmd command) writeHelp(w io.Writer, flags *flag.FlagSet) {
	fmt.Fprintf(w, "usage: image %s\n\n%s\n\nflags:\n", strings.TrimSpace(cmd.name+" [flags] "+cmd.args), strings.TrimSpace(cmd.help))
	flags.SetOutput(w)
	flags.PrintDefaults()
}
