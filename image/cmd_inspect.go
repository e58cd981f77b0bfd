package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"holdfast/image/eif"
)

func readEIF(path string) ([]byte, *eif.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, eif.MaxSize+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > eif.MaxSize {
		return nil, nil, fmt.Errorf("%s has more than %d bytes", path, eif.MaxSize)
	}
	img, err := eif.Parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, img, nil
}

var measureCommand = command{
	run:  runMeasure,
	name: "measure", args: "FILE",
	summary: "print an enclave image's measurements as nitro-cli does",
	help: `Recomputes PCR0, PCR1 and PCR2 (and PCR8 of a signed image) from the bytes of an EIF, which is
parsed strictly: an image that other tools read leniently may be refused here.

  image measure build/holdfast-x86_64.eif`,
}

var inspectCommand = command{
	run:  runInspect,
	name: "inspect", args: "FILE",
	summary: "show an enclave image's sections, command line and files",
	help: `Shows the header, each section with its offset, size and SHA-384, the kernel's command line, the
metadata, and the files in each ramdisk with their modes, sizes and hashes.

  image inspect build/holdfast-x86_64.eif`,
}

var diffCommand = command{
	run:  runDiff,
	name: "diff", args: "FILE FILE",
	summary: "name the first difference between two enclave images",
	help: `Names the section, the file in the ramdisk and the byte at which two EIFs first differ. Exits with
6 where they do, and with 0 and no output where they are the same.

  image diff build/holdfast-x86_64.eif /tmp/other.eif`,
}

func runMeasure(_ context.Context, c *call) error {
	if err := c.parse(1, 1); err != nil {
		return err
	}
	_, img, err := readEIF(c.args[0])
	if err != nil {
		return err
	}
	return eif.WriteMeasurements(c.stdout, img.Measure())
}

func runInspect(_ context.Context, c *call) error {
	if err := c.parse(1, 1); err != nil {
		return err
	}
	_, img, err := readEIF(c.args[0])
	if err != nil {
		return err
	}
	return eif.WriteInspection(c.stdout, img)
}

func runDiff(_ context.Context, c *call) error {
	if err := c.parse(2, 2); err != nil {
		return err
	}
	a, _, err := readEIF(c.args[0])
	if err != nil {
		return err
	}
	b, _, err := readEIF(c.args[1])
	if err != nil {
		return err
	}
	d, err := eif.Compare(a, b)
	if err != nil || d == nil {
		return err
	}
	fmt.Fprintln(c.stdout, d)
	return errMeasurements
}
