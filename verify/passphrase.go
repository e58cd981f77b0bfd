package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/term"

	"holdfast/verify/identity"
	"holdfast/verify/reference"
)

// passphraseVariable names a file with a passphrase in its first line, for where there
// is no terminal.
const passphraseVariable = "HOLDFAST_PASSPHRASE_FILE"

// askPassphrase asks for the passphrase of a file, as [identity.Passphrase].
func askPassphrase(file string) ([]byte, error) {
	if name := os.Getenv(passphraseVariable); name != "" {
		data, err := reference.ReadFile(name, identity.MaxPassphrase+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", passphraseVariable, err)
		}
		return passphraseOf(data)
	}
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("it has a passphrase, and there is no terminal to ask on (hint: %s names a file with it)", passphraseVariable)
	}
	defer terminal.Close()
	fmt.Fprintf(terminal, "passphrase of %s: ", file)
	data, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(terminal)
	if err != nil {
		return nil, err
	}
	return passphraseOf(data)
}

// passphraseOf takes the line end off.
func passphraseOf(data []byte) ([]byte, error) {
	line := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(line) == 0 || bytes.ContainsAny(line, "\r\n") {
		return nil, errors.New("want a passphrase of one line")
	}
	return line, nil
}
