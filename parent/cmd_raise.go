package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/parent/source"
	"holdfast/verify/envelope"
)

const raiseHelp = `usage: parent slashing raise [flags]

Raises watermarks: from then on no block at or below the slot is signed, and no attestation whose source is
below the epoch or whose target is not above it. It is for the loss of a history: choose what is certainly
above everything that was ever signed, such as the chain's epoch and slot of now.

Watermarks are never lowered. One that is higher already stays, which is said; one that was raised too far
keeps its key from signing until the chain is there, and there is no way back.

Without -key and -bundle it raises every key that the enclave's store knows, which after the loss of a history
is none: then name them, or the bundle that has them.

  parent slashing raise -control hf.sock -epoch 300000 -slot 9600000
  parent slashing raise -control hf.sock -epoch 300000 -slot 9600000 -bundle bundle.hf
  parent slashing raise -control hf.sock -slot 9600000 -key 0x93247f2209abcacf57b75a51dafae777f9dd38bc7053d1af526f220a7489a6d3a2753e5f3e8b1cfe39b56f43611df74a

flags:
`

var validatorKey = regexp.MustCompile(`^0x[0-9a-f]{96}$`)

// raiseFlags reads what to raise.
func raiseFlags(f *flags, args []string) (message.Raise, error) {
	var raise message.Raise
	f.Func("epoch", "raise the source and target of attestations to this `epoch`", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 64)
		raise.Source, raise.Target = &n, &n
		return err
	})
	f.Func("slot", "raise blocks to this `slot`", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 64)
		raise.Slot = &n
		return err
	})
	f.Func("key", "raise this `public key` only; may be repeated", func(s string) error {
		if !validatorKey.MatchString(s) {
			return errors.New("want 0x and 96 lower-case hexadecimal digits")
		}
		raise.PublicKeys = append(raise.PublicKeys, s)
		return nil
	})
	bundle := f.String("bundle", "", "raise every key of the bundle in this `file`")
	if err := f.parse(args, 0, 0); err != nil {
		return message.Raise{}, err
	}
	if *bundle != "" {
		keys, err := keysOf(*bundle)
		if err != nil {
			return message.Raise{}, err
		}
		raise.PublicKeys = append(raise.PublicKeys, keys...)
	}
	if raise.Slot == nil && raise.Target == nil {
		return message.Raise{}, usagef("want -epoch, -slot or both (hint: parent slashing raise -h)")
	}
	return raise, nil
}

// keysOf reads the public keys in a bundle's clear part.
func keysOf(path string) ([]string, error) {
	s, err := source.Open(context.Background(), "file:"+path, source.Options{})
	if err != nil {
		return nil, err
	}
	data, _, err := s.Get(context.Background())
	if err != nil {
		return nil, err
	}
	e, err := envelope.Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	keys := make([]string, len(e.PublicKeys))
	for i, key := range e.PublicKeys {
		keys[i] = fmt.Sprintf("%#x", key)
	}
	return keys, nil
}

// raiseBatch is how many keys are raised by one call: as many as fit into [message.MaxSize].
const raiseBatch = 8192

// raiseAll raises in batches. What was raised before a failure stays.
func raiseAll(ctx context.Context, c *client.Client, raise message.Raise) (after []message.Watermark, err error) {
	if len(raise.PublicKeys) == 0 {
		return c.Raise(ctx, raise)
	}
	for batch := range slices.Chunk(raise.PublicKeys, raiseBatch) {
		part := raise
		part.PublicKeys = batch
		if after, err = c.Raise(ctx, part); err != nil {
			return nil, err
		}
	}
	return after, nil
}

func slashingRaise(ctx context.Context, args []string, stdout, _ io.Writer) error {
	f := newFlags("slashing raise", raiseHelp, stdout)
	socket := f.control()
	raise, err := raiseFlags(f, args)
	if err != nil {
		return err
	}
	c, err := reach(*socket)
	if err != nil {
		return err
	}
	defer c.Close()
	before, err := c.Watermarks(ctx)
	if err != nil {
		return err
	}
	after, err := raiseAll(ctx, c, raise)
	if err != nil {
		return err
	}
	return printRaise(stdout, raise, before, after)
}

// printRaise compares. An enclave that has not done as it was asked is an error.
func printRaise(w io.Writer, raise message.Raise, before, after []message.Watermark) error {
	was := map[string]message.Watermark{}
	for _, m := range before {
		was[m.PublicKey] = m
	}
	var b strings.Builder
	raised, seen, asked := 0, map[string]bool{}, map[string]bool{}
	for _, key := range raise.PublicKeys {
		asked[key] = true
	}
	for _, m := range after {
		if len(asked) > 0 && !asked[m.PublicKey] {
			continue
		}
		seen[m.PublicKey] = true
		if !reaches(m.Slot, raise.Slot) || !reaches(m.Source, raise.Source) || !reaches(m.Target, raise.Target) {
			return fmt.Errorf("the enclave has not raised %s", printable(m.PublicKey))
		}
		changes := compare(was[m.PublicKey], m)
		if changes == "" {
			changes = "stays: it is there already, and is never lowered"
		} else {
			raised++
		}
		fmt.Fprintf(&b, "%s  %s\n", printable(m.PublicKey), changes)
	}
	for _, key := range raise.PublicKeys {
		if !seen[key] {
			return fmt.Errorf("the enclave has not raised %s", key)
		}
	}
	fmt.Fprintf(&b, "raised %d of %d keys\n", raised, len(seen))
	_, err := io.WriteString(w, b.String())
	return err
}

// reaches reports whether a watermark is where it should be at least.
func reaches(mark, least *uint64) bool { return least == nil || mark != nil && *mark >= *least }

// compare names what differs.
func compare(before, after message.Watermark) string {
	var changes []string
	for _, c := range []struct {
		name          string
		before, after *uint64
	}{
		{"slot", before.Slot, after.Slot}, {"source", before.Source, after.Source}, {"target", before.Target, after.Target},
	} {
		if from, to := number(c.before), number(c.after); from != to {
			changes = append(changes, fmt.Sprintf("%s %s to %s", c.name, from, to))
		}
	}
	return strings.Join(changes, ", ")
}
