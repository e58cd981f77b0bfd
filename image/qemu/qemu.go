// Package qemu builds the QEMU that Holdfast's emulated Nitro machine runs on.
//
// Debian's QEMU lacks the nitro-enclave machine, which needs libcbor and GnuTLS at build time. So it
// is built from Debian's locked source, in the sandbox, with that one machine and nothing beside it:
// no other machine, device, block driver, display or network back end. It runs where it was built,
// in a sandbox on the same root, which has its libraries.
//
// QEMU takes part in tests and in the demonstration only. Nothing it does is measured, and its
// attestation documents are unsigned.
package qemu

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"holdfast/image/progress"
	"holdfast/image/sandbox"
)

// Names in the directory that Build fills.
const (
	Program  = "qemu-system-x86_64"
	Firmware = "firmware" // for QEMU's -L
)

//go:embed recipe
var recipe embed.FS

// A Recipe says from what and where to QEMU is built.
type Recipe struct {
	Root      string          // unpacked "qemu" package set
	SourceTar string          // qemu_*.orig.tar.xz
	Out       string          // existing empty directory, which takes Program and Firmware
	Jobs      int             // compilers at once; at least 1. Shows in no result.
	Progress  *progress.Stage // told how many of ninja's steps are done; nil is silent
}

// Inputs is the hash of what the result depends on beside the root and the source.
func Inputs() string {
	h := sha256.New()
	err := fs.WalkDir(recipe, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := recipe.ReadFile(name)
		fmt.Fprintf(h, "%s %d\n%s", name, len(data), data)
		return err
	})
	if err != nil {
		panic(err) // the files are in the program: the walk cannot fail
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Build builds QEMU and its firmware. It works in a subdirectory of r.Out, which is gone afterwards: a
// build that fails leaves r.Out as it was. Its error carries the last lines that were printed.
func Build(ctx context.Context, r Recipe) (err error) {
	if err := r.validate(); err != nil {
		return err
	}
	scratch := filepath.Join(r.Out, "scratch")
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	build, out, steps := filepath.Join(scratch, "build"), filepath.Join(scratch, "out"), filepath.Join(scratch, "recipe")
	if err := errors.Join(os.MkdirAll(build, 0o755), os.MkdirAll(out, 0o755), writeRecipe(steps)); err != nil {
		return err
	}
	err = r.run(ctx, sandbox.Spec{
		Root: r.Root,
		Binds: []sandbox.Bind{
			{Source: r.SourceTar, Target: "/source.tar.xz"},
			{Source: steps, Target: "/recipe"},
			{Source: build, Target: "/build", Writable: true},
			{Source: out, Target: "/out", Writable: true},
		},
		Dir:  "/build",
		Args: []string{"sh", "/recipe/build.sh", strconv.Itoa(r.Jobs)},
	})
	if err != nil {
		return err
	}
	return errors.Join(
		os.Rename(filepath.Join(out, Firmware), filepath.Join(r.Out, Firmware)),
		os.Rename(filepath.Join(out, Program), filepath.Join(r.Out, Program)),
	)
}

// run runs the recipe's script and watches what it prints.
func (r Recipe) run(ctx context.Context, s sandbox.Spec) error {
	log := &buildLog{report: func(done, total int64) { r.Progress.Update(done, total, "steps") }}
	s.Stdout, s.Stderr = log, log
	err := sandbox.Run(ctx, s)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w\n%s", err, log.tail())
}

func (r Recipe) validate() error {
	if r.Jobs < 1 {
		return fmt.Errorf("jobs: got %d, want at least 1", r.Jobs)
	}
	if _, err := os.Stat(r.SourceTar); err != nil {
		return fmt.Errorf("source of QEMU: %w", err)
	}
	left, err := os.ReadDir(r.Out)
	if err != nil {
		return fmt.Errorf("output directory: %w", err)
	}
	if len(left) > 0 {
		return fmt.Errorf("output directory %s: want it empty, got %s in it", r.Out, left[0].Name())
	}
	return nil
}

// writeRecipe puts the embedded recipe where it can be bound into the sandbox.
func writeRecipe(dir string) error {
	files, err := fs.Sub(recipe, "recipe")
	if err != nil {
		return err
	}
	return os.CopyFS(dir, files)
}
