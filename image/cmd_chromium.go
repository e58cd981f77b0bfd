package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/image/builder"
	"holdfast/image/sandbox"
)

var chromiumCommand = command{
	run:  runChromium,
	name: "chromium", args: "ROOT [Chromium's arguments]",
	summary: "run the locked headless Chromium on the host's files; for tests of pages",
	help: `Runs Chromium from the unpacked set ROOT, with the host's files at their own paths and no network. Its
DevTools protocol is on file descriptors 3 and 4, as --remote-debugging-pipe has it. 'image env' writes a
program that calls it and exports its path as HOLDFAST_CHROMIUM.`,
}

// chromiumProgram is where Debian's package chromium-headless-shell has the browser.
const chromiumProgram = "/usr/lib/chromium/chromium-headless-shell"

// joinPipes is the shell's part: only standard input and output lead into a sandbox, so the protocol goes
// there, and is moved to the descriptors on which Chromium wants it. Chromium's own sandbox needs
// privileges that this one does not have, and what it shows is ours.
const joinPipes = `exec "$0" --no-sandbox "$@" 3<&0 4>&1 0</dev/null 1>/dev/null`

func runChromium(ctx context.Context, c *call) error {
	if len(c.args) == 0 {
		return usagef("got no root, want: image chromium ROOT [Chromium's arguments]")
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	err = sandbox.Run(ctx, sandbox.Spec{
		Root:   c.args[0],
		Host:   true,
		Dir:    dir,
		Args:   append([]string{"sh", "-c", joinPipes, chromiumProgram}, c.args[1:]...),
		Stdin:  os.NewFile(3, "devtools in"),
		Stdout: os.NewFile(4, "devtools out"),
		Stderr: c.stderr,
	})
	var exit *sandbox.ExitError
	if errors.As(err, &exit) {
		os.Exit(exit.Status())
	}
	return err
}

// exportChromium writes the program that runs the browser, since tests want a path and no arguments.
func exportChromium(ctx context.Context, b *builder.Builder) (string, error) {
	root, err := b.Root(ctx, "chromium")
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.Checkout, "build", "chromium")
	script := fmt.Sprintf("#!/bin/sh\nexec %s chromium %s \"$@\"\n", shellQuote(self), shellQuote(root))
	return path, writeProgram(path, []byte(script))
}
