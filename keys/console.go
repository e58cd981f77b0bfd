package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"holdfast/enclave/secret"
)

// A console is the terminal of a person. What is shown there does not pass through
// standard output, which may be a file.
type console interface {
	Show(text []byte) error
	Clear() // forgets what was shown, as far as a terminal can
	// Ask reads a line. It is not echoed if hidden.
	Ask(ctx context.Context, prompt string, hidden bool) (secret.Bytes, error)
	Close() error
}

// tty is the controlling terminal.
type tty struct {
	*os.File
	lines *bufio.Reader
}

func openTTY() (console, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("there is no terminal to ask on: %w", err)
	}
	return &tty{f, bufio.NewReader(f)}, nil
}

func (c *tty) Show(text []byte) error {
	_, err := c.Write(text)
	return err
}

// Clear erases the screen and what has scrolled off it (ECMA-48 ED; 3J is xterm's).
func (c *tty) Clear() { fmt.Fprint(c, "\x1b[H\x1b[2J\x1b[3J") }

func (c *tty) Ask(ctx context.Context, prompt string, hidden bool) (secret.Bytes, error) {
	before, err := term.GetState(int(c.Fd()))
	if err != nil {
		return secret.Bytes{}, err
	}
	fmt.Fprint(c, prompt)
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		if hidden {
			a.line, a.err = term.ReadPassword(int(c.Fd()))
			fmt.Fprintln(c)
		} else {
			a.line, a.err = c.lines.ReadBytes('\n')
		}
		answers <- a
	}()
	select {
	case a := <-answers:
		return secret.New(bytes.TrimRight(a.line, "\r\n")), a.err
	case <-ctx.Done():
		// Whoever interrupts a hidden answer wants to see again what they type.
		term.Restore(int(c.Fd()), before)
		fmt.Fprintln(c)
		return secret.Bytes{}, ctx.Err()
	}
}

// A counter shows how far a long piece of work is: in place on a terminal, every
// ten seconds elsewhere.
type counter struct {
	t        *terminal
	what     string
	terminal bool
	shown    time.Time
}

func (t *terminal) counter(what string) *counter {
	f, ok := t.stderr.(*os.File)
	return &counter{t: t, what: what, terminal: ok && term.IsTerminal(int(f.Fd())), shown: time.Now()}
}

func (c *counter) update(done, total int) {
	pace, start, end := 10*time.Second, "", "\n"
	if c.terminal {
		pace, start, end = 100*time.Millisecond, "\r", ""
	}
	if now := time.Now(); now.Sub(c.shown) >= pace {
		c.shown = now
		fmt.Fprintf(c.t.stderr, "%s%s %d of %d%s", start, c.what, done, total, end)
	}
	if done == total && c.terminal {
		fmt.Fprint(c.t.stderr, "\r\x1b[K")
	}
}
