package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/image/builder"
	"holdfast/verify/pcrs"
)

var pcrsCommand = command{
	run:  runPCRS,
	name: "pcrs", args: "",
	summary: "write the measurements of this version into PCRS.md",
	help: `Builds the enclave image and makes the entry of this version (image/VERSION) in PCRS.md what was
built. Entries of other versions stay as they are. This is the only way PCRS.md changes; the commit that
moves a measurement carries the new PCRS.md and says what moved and why.

  image pcrs`,
}

func runPCRS(ctx context.Context, c *call) error {
	if err := c.parse(0, 0); err != nil {
		return err
	}
	b, err := c.builder()
	if err != nil {
		return err
	}
	old, err := readPCRS(b.Checkout)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e, err := buildTo(ctx, b, "")
	if err != nil {
		return err
	}
	printMeasurements(c.stdout, e)
	next, err := old.WithImage(e.Version, e.Image)
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(b.Checkout, "PCRS.md"), next.Bytes())
}

// readPCRS reads the checkout's PCRS.md. Where there is none, the error is fs.ErrNotExist.
func readPCRS(checkout string) (*pcrs.File, error) {
	data, err := os.ReadFile(filepath.Join(checkout, "PCRS.md"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no PCRS.md in %s (hint: make pcrs): %w", checkout, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	return pcrs.Parse(data)
}

// comparePublished compares what was built with what PCRS.md publishes for its version, and says which
// parts moved.
func comparePublished(w io.Writer, f *pcrs.File, e *builder.Enclave) error {
	want, ok := published(f, e)
	if !ok {
		fmt.Fprintf(w, "image: PCRS.md has no active entry for %s on %s (hint: make pcrs)\n", e.Version, e.Image.Architecture)
		return errMeasurements
	}
	moved := moves(want, e.Image)
	if len(moved) == 0 {
		return nil
	}
	fmt.Fprintf(w, "image: what was built is not what PCRS.md publishes as %s:\n", e.Version)
	for _, m := range moved {
		fmt.Fprintln(w, "  "+m)
	}
	fmt.Fprintln(w, "hint: if the change is meant, run `make pcrs` and commit PCRS.md with it")
	return errMeasurements
}

func published(f *pcrs.File, e *builder.Enclave) (pcrs.Image, bool) {
	for _, entry := range f.Entries() {
		if entry.Version == e.Version && entry.Status == pcrs.Active && entry.Image.Architecture == e.Image.Architecture {
			return entry.Image, true
		}
	}
	return pcrs.Image{}, false
}

// moves names what differs. PCR1 covers the kernel, its command line and init, PCR2 the application;
// PCR0 covers both and says nothing of its own. The program verify is in no image.
func moves(want, got pcrs.Image) []string {
	var moved []string
	add := func(what string, want, got fmt.Stringer) {
		if want.String() != got.String() {
			moved = append(moved, fmt.Sprintf("%s\n    published %s\n    built     %s", what, want, got))
		}
	}
	add("PCR0, the whole image", want.PCR0, got.PCR0)
	add("PCR1, the platform: kernel, command line, init", want.PCR1, got.PCR1)
	add("PCR2, the application: the signer's ramdisk", want.PCR2, got.PCR2)
	add("the file, with what is not measured: header, metadata", want.EIF, got.EIF)
	add("the program verify", want.Verify, got.Verify)
	return moved
}
