package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/image/cpio"
	"holdfast/image/eif"
	"holdfast/image/kernel"
	"holdfast/image/qemu"
)

// An Emulator is what the emulated Nitro machine runs from.
type Emulator struct {
	Root string // sandbox root with the emulator's libraries and vhost-device-vsock
	QEMU string // directory of the QEMU built from source, and its firmware
}

// Emulator builds QEMU with its nitro-enclave machine, which Debian's own build lacks.
func (b *Builder) Emulator(ctx context.Context) (*Emulator, error) {
	packages, err := b.set("qemu")
	if err != nil {
		return nil, err
	}
	source, err := b.set("qemu-source")
	if err != nil {
		return nil, err
	}
	root, err := b.Root(ctx, "qemu")
	if err != nil {
		return nil, err
	}
	key := inputKey(packages.Digest(), source.Digest(), qemu.Inputs())
	dir, hit, err := b.Cache.Build(ctx, "qemu", key, func(ctx context.Context, dir string) error {
		tar, err := b.source(ctx, source)
		if err != nil {
			return err
		}
		stage := b.Progress.Stage("qemu")
		err = qemu.Build(ctx, qemu.Recipe{Root: root, SourceTar: tar, Out: dir, Jobs: b.jobs(), Progress: stage})
		if err != nil {
			return fmt.Errorf("building QEMU: %w", err)
		}
		stage.Done(source.Files[0].Version)
		return nil
	})
	if hit {
		b.Progress.Stage("qemu").Cached(source.Files[0].Version)
	}
	return &Emulator{Root: root, QEMU: dir}, err
}

// FloodTest builds an image whose only program floods its vsock device, for the test that the
// kernel's patch removes the deadlock. It returns the path of the EIF.
func (b *Builder) FloodTest(ctx context.Context) (string, error) {
	k, err := b.Kernel(ctx)
	if err != nil {
		return "", err
	}
	built, err := b.programs(ctx, program{pkg: "image/kernel/floodtest/guest"})
	if err != nil {
		return "", err
	}
	disk, err := cpio.Marshal(platformTree(built[0]))
	if err != nil {
		return "", err
	}
	e, err := assemble("v0.0.0", &eif.Image{
		Architecture: eif.X86_64,
		Kernel:       k.Image,
		CommandLine:  kernel.CommandLine,
		Metadata:     metadata("holdfast-flood", "v0.0.0", k.Version),
		Ramdisks:     [][]byte{disk},
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.Checkout, "build", "flood-x86_64.eif")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, e.EIF, 0o644)
}
