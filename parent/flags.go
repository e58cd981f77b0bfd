package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"holdfast/enclave/control/client"
)

// flags are those of one command, with its help.
type flags struct {
	*flag.FlagSet
	help   string
	stdout io.Writer
	args   []string // what is no flag
}

// newFlags begins the flags of a command, named as it is typed after "parent".
func newFlags(name, help string, stdout io.Writer) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), help: help, stdout: stdout}
	f.SetOutput(io.Discard)
	return f
}

// parse takes flags before, between and after at least least and at most most arguments.
func (f *flags) parse(args []string, least, most int) error {
	for rest := args; ; {
		if err := f.Parse(rest); errors.Is(err, flag.ErrHelp) {
			io.WriteString(f.stdout, f.help)
			f.SetOutput(f.stdout)
			f.PrintDefaults()
			return err
		} else if err != nil {
			return usagef("%w (hint: parent %s -h)", err, f.Name())
		}
		if rest = f.FlagSet.Args(); len(rest) == 0 {
			break
		}
		f.args, rest = append(f.args, rest[0]), rest[1:]
	}
	switch {
	case len(f.args) > most && most == 0:
		return usagef("got argument %q, want flags only (hint: parent %s -h)", f.args[0], f.Name())
	case len(f.args) < least || len(f.args) > most:
		return usagef("got %d arguments, want %s (hint: parent %s -h)", len(f.args), span(least, most), f.Name())
	}
	return nil
}

func span(least, most int) string {
	if least == most {
		return fmt.Sprint(least)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

// defaultControl is where the parent image has the control socket.
const defaultControl = "/run/holdfast/control"

// control adds the flag that says which enclave is meant.
func (f *flags) control() *string {
	return f.String("control", defaultControl, "the `socket` that 'parent emulate -control' made")
}

// reach returns a client of the enclave behind a control socket.
func reach(socket string) (*client.Client, error) {
	if socket == "" {
		return nil, usagef("-control: got an empty path")
	}
	return client.Unix(socket), nil
}

// printJSON prints a value for machines.
func printJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// printable is an enclave's text without what could move a terminal's cursor.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '\uFFFD'
	}, s)
}
