package main

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/verify/pcrs"
)

// A check is one line of verify's report.
type check struct{ ID, What, Expected, Got, Verdict string }

// failures names the checks that failed.
func failures(checks []check) error {
	var errs []error
	for _, c := range checks {
		if c.Verdict == "fail" {
			errs = append(errs, fmt.Errorf("%s %s: got %s, want %s", c.ID, c.What, c.Got, c.Expected))
		}
	}
	return errors.Join(errs...)
}

// table prints what came of the run.
func (d *demo) table(w io.Writer) error {
	image, err := os.ReadFile(d.image)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(d.pcrs)
	if err != nil {
		return err
	}
	file, err := pcrs.Parse(text)
	if err != nil {
		return err
	}
	entry, ok := file.Current(pcrs.X8664)
	if !ok {
		return errors.New("PCRS.md has no active x86_64 entry")
	}
	measured, err := d.measure()
	if err != nil {
		return err
	}
	digest := pcrs.Digest(sha512.Sum384(image))
	var out bytes.Buffer
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	out.WriteByte('\n')
	row("EIF", "%d bytes, SHA-384 %s", len(image), digest)
	agree := true
	for _, p := range []struct {
		name            string
		built, released fmt.Stringer
	}{
		{"PCR0", measured.PCR0, entry.Image.PCR0}, {"PCR1", measured.PCR1, entry.Image.PCR1},
		{"PCR2", measured.PCR2, entry.Image.PCR2}, {"EIF", digest, entry.Image.EIF},
	} {
		same := p.built.String() == p.released.String()
		agree = agree && same
		row(p.name, "built      %s", p.built)
		row("", "PCRS.md    %s  %s", p.released, map[bool]string{true: "agrees", false: "DIFFERS"}[same])
	}
	row("boot", "%s to the heartbeat, interpreted by QEMU", d.bootTime)
	out.WriteString("attestation, check by check; those of signature and chain fail, since the emulator signs nothing:\n")
	for _, c := range d.checks {
		fmt.Fprintf(&out, "  %-4s %-4s %s\n", c.Verdict, c.ID, c.What)
	}
	row("verdict", "EMULATED and UNSAFE (%s): nothing is proved to anyone", d.verdict)
	row("validator", "%s", d.key)
	row("duty", "attestation, source %d, target %d, root 0x%x", vote.source, vote.target, vote.signingRoot())
	row("signature", "%s", d.signed)
	row("", "verified with blst")
	row("slashable", "its twin with another head was refused: %s", d.refusal)
	if _, err := out.WriteTo(w); err != nil {
		return err
	}
	if !agree {
		return errors.New("the image is not what PCRS.md publishes")
	}
	return nil
}

type measurements struct{ PCR0, PCR1, PCR2 pcrs.PCR }

// measure asks the image program for the measurements of the file.
func (d *demo) measure() (measurements, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var result struct{ Measurements measurements }
	cmd := d.command(ctx, "image", "measure", d.image)
	data, err := cmd.Output()
	if err != nil {
		return measurements{}, fmt.Errorf("image measure: %w", err)
	}
	return result.Measurements, json.Unmarshal(data, &result)
}
