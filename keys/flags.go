package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"holdfast/enclave/secret"
	"holdfast/keys/holder"
)

// flags are those of one command, with its help.
type flags struct {
	*flag.FlagSet
	help string
	dir  string

	passphraseFile string
}

// folderHelp is the help of the flags that every command on a folder has.
const folderHelp = `
  --dir DIR                the key holder's folder (default ./holdfast)
  --passphrase-file FILE   the identity's passphrase; asked for on the terminal
                           otherwise, if there is one
`

func newFlags(name, help string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError), help: help}
	f.SetOutput(io.Discard)
	return f
}

// newFolderFlags makes the flags of a command on a folder.
func newFolderFlags(name, help string) *flags {
	f := newFlags(name, help)
	f.StringVar(&f.dir, "dir", "holdfast", "")
	f.StringVar(&f.passphraseFile, "passphrase-file", "", "")
	return f
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, " ") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// parse reads a command line, whose flags may come before, between and after its
// arguments, of which there are at least least, and at most most unless that is
// negative.
func (f *flags) parse(t *terminal, args []string, least, most int) ([]string, error) {
	var arguments []string
	for {
		err := f.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(t.stdout, f.help)
			return nil, err
		case err != nil:
			return nil, &failure{exitUsage, err, []string{fmt.Sprintf(`"keys %s --help" lists the flags`, f.Name())}}
		}
		parsed := len(args) - f.NArg()
		if f.NArg() == 0 || parsed > 0 && args[parsed-1] == "--" {
			arguments = append(arguments, f.Args()...)
			break
		}
		arguments = append(arguments, f.Arg(0))
		args = f.Args()[1:]
	}
	if len(arguments) < least || most >= 0 && len(arguments) > most {
		return nil, &failure{exitUsage, fmt.Errorf("got %d arguments: see its usage", len(arguments)), []string{fmt.Sprintf(`"keys %s --help" shows it`, f.Name())}}
	}
	return arguments, nil
}

// given tells whether a flag stood on the command line.
func (f *flags) given(name string) bool {
	found := false
	f.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

// maxSecretFile bounds a passphrase or a token in a file, in bytes. What opens an
// identity elsewhere takes no longer passphrase.
const maxSecretFile = 1 << 10

// readSecret reads the first line of a file.
func readSecret(name string) (secret.Bytes, error) {
	data, err := holder.ReadFile(name, maxSecretFile)
	if err != nil {
		return secret.Bytes{}, err
	}
	end := len(data)
	for i, c := range data {
		if c == '\n' || c == '\r' {
			end = i
			break
		}
	}
	if end == 0 {
		clear(data)
		return secret.Bytes{}, malformed(fmt.Errorf("%s: the first line is empty", name))
	}
	return secret.New(data[:end]), nil
}
