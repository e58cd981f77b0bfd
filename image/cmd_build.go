package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/image/builder"
)

var buildCommand = command{
	run:  runBuild,
	name: "build", args: "",
	summary: "build the enclave image; fail where PCRS.md disagrees",
	help: `Builds the enclave image from the locked inputs and the checkout into build/holdfast-x86_64.eif, then
compares its measurements with the entry of this version in PCRS.md. Where they differ it says which
parts moved and exits with 6; the image stays, so that it can be inspected.

  image build
  image build -o /tmp/other.eif      compare as well, but write elsewhere
  image build -unpublished           build a version that PCRS.md does not have yet
  image build -verify /tmp/verify    keep the program verify too, whose hash PCRS.md has`,
}

func runBuild(ctx context.Context, c *call) error {
	out := c.flags.String("o", "", "write the image to this `file`; default build/holdfast-x86_64.eif in the checkout")
	verify := c.flags.String("verify", "", "write the program verify to this `file`")
	unpublished := c.flags.Bool("unpublished", false, "do not compare with PCRS.md")
	if err := c.parse(0, 0); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	e, err := buildTo(ctx, b, *out)
	if err != nil {
		return err
	}
	if *verify != "" {
		if err := writeProgram(*verify, e.Verify); err != nil {
			return err
		}
	}
	printMeasurements(c.stdout, e)
	if *unpublished {
		return nil
	}
	published, err := readPCRS(b.Checkout)
	if err != nil {
		return err
	}
	return comparePublished(c.stderr, published, e)
}

// buildTo builds the enclave image and writes it to path, or to its usual place.
func buildTo(ctx context.Context, b *builder.Builder, path string) (*builder.Enclave, error) {
	if path == "" {
		path = filepath.Join(b.Checkout, "build", "holdfast-x86_64.eif")
	}
	defer b.Progress.Close()
	e, err := b.Enclave(ctx)
	if err != nil {
		return nil, err
	}
	return e, writeFile(path, e.EIF)
}

// writeFile replaces path with data, wholly or not at all.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

func writeProgram(path string, data []byte) error {
	if err := writeFile(path, data); err != nil {
		return err
	}
	return os.Chmod(path, 0o755)
}

func printMeasurements(w io.Writer, e *builder.Enclave) {
	fmt.Fprintf(w, "version %s\nEIF     %s (%d bytes)\n", e.Version, e.Image.EIF, e.Image.Size)
	fmt.Fprintf(w, "PCR0    %s\nPCR1    %s\nPCR2    %s\n", e.Image.PCR0, e.Image.PCR1, e.Image.PCR2)
	fmt.Fprintf(w, "verify  %s\n", e.Image.Verify)
}
