package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"holdfast/enclave/control/message"
)

const statusHelp = `usage: parent status [flags]

Asks a running enclave how far it has come: waiting for a bundle, waiting for the bundle's data key, or
serving; and what keeps it from going on. What it says comes over this machine and is as true as this
machine is honest: 'verify live' is for those who must know.

  parent status
  parent status -control hf.sock
  parent status -control hf.sock -json

Exit codes: 0 it signs, 1 it cannot be reached, 2 usage, 4 it runs but does not sign: it waits, or its
slashing store does not work. An enclave that waits after a restart until its clock has passed a floor
signs; the floor is shown.

flags:
`

// errIdle says that the enclave runs and does not sign.
var errIdle = errors.New("the enclave does not sign")

func status(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("status", statusHelp, stdout)
	asJSON := f.Bool("json", false, "print JSON, for machines")
	c, err := f.enclave(args, 0, 0)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		err = printJSON(stdout, s)
	} else {
		err = printStatus(stdout, s)
	}
	if err != nil {
		return err
	}
	return idleness(s)
}

// idleness is nil if the enclave signs.
func idleness(s message.Status) error {
	switch {
	case s.State != message.Serving:
		return fmt.Errorf("%w: it is %s", errIdle, printable(string(s.State)))
	case s.Slashing != nil && s.Slashing.Problem != "":
		return fmt.Errorf("%w: its slashing store does not work", errIdle)
	}
	return nil
}

func printStatus(w io.Writer, s message.Status) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("state", "%s", s.State)
	if s.Bundle != nil {
		line("bundle", "%s", bundleLine(s.Bundle))
	}
	if s.Pending != nil {
		line("pending", "%s", bundleLine(s.Pending))
	}
	if s.Problem != "" {
		line("problem", "%s", s.Problem)
	}
	if s.CredentialsUntil != nil {
		line("credentials", "until %s", s.CredentialsUntil.UTC().Format(time.RFC3339))
	}
	if l := s.Slashing; l != nil {
		printSlashing(line, l)
	}
	return t.Flush()
}

func bundleLine(b *message.Bundle) string {
	text := fmt.Sprintf("%q version %d, %d keys, configuration %s", b.Name, b.Version, b.Keys, b.Configuration)
	if b.KMSKey != "" {
		text += ", data key from " + b.KMSKey
	}
	if b.Age {
		text += ", data key with the holder"
	}
	return text
}

func printSlashing(line func(string, string, ...any), l *message.Slashing) {
	if l.Freshness == "" {
		line("slashing", "%s", l.Store)
	} else {
		line("slashing", "%s, %s freshness", l.Store, l.Freshness)
	}
	if l.Problem != "" {
		line("store's problem", "%s", l.Problem)
	}
	if l.Floor != nil {
		line("floor", "attestations of targets above epoch %d, blocks above slot %d", l.Floor.Epoch, l.Floor.Slot)
	}
}
