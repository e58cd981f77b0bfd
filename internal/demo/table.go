package main

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"holdfast/verify/pcrs"
)

// table prints what came of the run.
func (d *demo) table(ctx context.Context, w io.Writer) error {
	image, err := os.ReadFile(d.Image())
	if err != nil {
		return err
	}
	text, err := os.ReadFile(d.Published())
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
	measured, err := d.measure(ctx)
	if err != nil {
		return err
	}
	digest := pcrs.Digest(sha512.Sum384(image))
	var out bytes.Buffer
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&out, "%-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	lines := func(name, text string) {
		for line := range strings.Lines(text) {
			row(name, "%s", strings.TrimRight(line, "\n"))
			name = ""
		}
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
	lines("sealed", d.sealed)
	row("", "freshness journal, since strict would wait for mainnet's next epoch; see make rollback-demo")
	row("boot", "%s to the heartbeat, interpreted by QEMU", d.machine.BootTime)
	out.WriteString("attestation, check by check; those of signature and chain fail, since the emulator signs nothing:\n")
	for _, c := range d.verification.Checks {
		fmt.Fprintf(&out, "  %-4s %-4s %s\n", c.Verdict, c.ID, c.What)
	}
	row("verdict", "EMULATED and UNSAFE (%s): nothing is proved to anyone", d.verification.Verdict)
	row("validator", "%s", d.holder.Key)
	row("client", "HTTPS with a certificate of its own, and none accepted but the attested one")
	row("duty", "%s, root 0x%s", d.vote, d.client.Root(d.vote))
	row("signature", "%s", d.signed)
	row("", "verified with blst")
	row("slashable", "its twin with another head was refused: %s", d.refusal)
	lines("status", d.status)
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
func (d *demo) measure(ctx context.Context) (measurements, error) {
	var result struct{ Measurements measurements }
	err := d.JSON(ctx, &result, "image", "measure", d.Image())
	return result.Measurements, err
}
