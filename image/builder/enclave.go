package builder

import (
	"bytes"
	"context"
	"crypto/sha512"
	"fmt"

	"holdfast/image/cpio"
	"holdfast/image/eif"
	"holdfast/image/kernel"
	"holdfast/verify/pcrs"
)

// An Enclave is a built enclave image.
type Enclave struct {
	Version string     // the version this checkout builds
	EIF     []byte     // the image file
	Verify  []byte     // the program verify of the same source, for Linux on the image's architecture
	Image   pcrs.Image // what PCRS.md says of both
}

// Enclave builds the enclave image: the kernel, the platform's ramdisk with init in it, which PCR1
// measures together with the kernel, and the application's ramdisk, which PCR2 measures. It builds the
// program verify with it, so that who checks the image can check the checker.
func (b *Builder) Enclave(ctx context.Context) (*Enclave, error) {
	version, err := b.Version()
	if err != nil {
		return nil, err
	}
	k, err := b.Kernel(ctx)
	if err != nil {
		return nil, err
	}
	built, err := b.programs(ctx, program{pkg: "enclave/init"}, program{pkg: "enclave", cgo: true}, program{pkg: "verify"})
	if err != nil {
		return nil, err
	}
	img, err := describe(version, k, built[0], built[1])
	if err != nil {
		return nil, err
	}
	e, err := assemble(version, img)
	if err != nil {
		return nil, err
	}
	e.Verify, e.Image.Verify = built[2], sha512.Sum384(built[2])
	return e, nil
}

// describe puts the parts of an image together.
func describe(version string, k *Kernel, init, app []byte) (*eif.Image, error) {
	platform, err := cpio.Marshal(platformTree(init))
	if err != nil {
		return nil, fmt.Errorf("platform ramdisk: %w", err)
	}
	application, err := cpio.Marshal(applicationTree(app))
	if err != nil {
		return nil, fmt.Errorf("application ramdisk: %w", err)
	}
	return &eif.Image{
		Architecture: eif.X86_64,
		Kernel:       k.Image,
		CommandLine:  kernel.CommandLine,
		Metadata:     metadata("holdfast", version, k.Version),
		Ramdisks:     [][]byte{platform, application},
	}, nil
}

// metadata is what an image says of itself. It is not measured, and holds nothing that moves.
func metadata(name, version, kernelVersion string) eif.Metadata {
	return eif.Metadata{
		ImageName:    name,
		ImageVersion: version,
		BuildMetadata: eif.BuildMetadata{
			BuildTime:        eif.ReproducibleBuildTime,
			BuildTool:        "holdfast image",
			BuildToolVersion: version,
			OperatingSystem:  "Linux",
			KernelVersion:    kernelVersion,
		},
	}
}

// platformTree is ramdisk 0: init, and the mount points that it needs before it can make any.
func platformTree(init []byte) []cpio.Entry {
	tree := []cpio.Entry{{Path: "init", Kind: cpio.File, Mode: 0o755, Data: init}}
	for _, dir := range []string{"dev", "proc", "run", "sys", "tmp"} {
		tree = append(tree, cpio.Entry{Path: dir, Kind: cpio.Directory, Mode: 0o755})
	}
	return tree
}

// applicationTree is ramdisk 1: the signer.
func applicationTree(app []byte) []cpio.Entry {
	return []cpio.Entry{
		{Path: "app", Kind: cpio.Directory, Mode: 0o755},
		{Path: "app/enclave", Kind: cpio.File, Mode: 0o755, Data: app},
	}
}

// assemble writes and measures an image.
func assemble(version string, img *eif.Image) (*Enclave, error) {
	var file bytes.Buffer
	if _, err := img.WriteTo(&file); err != nil {
		return nil, fmt.Errorf("writing the EIF: %w", err)
	}
	m := img.Measure()
	return &Enclave{
		Version: version,
		EIF:     file.Bytes(),
		Image: pcrs.Image{
			Architecture: pcrs.X8664,
			EIF:          pcrs.Digest(sha512.Sum384(file.Bytes())),
			Size:         int64(file.Len()),
			PCR0:         m.PCR0,
			PCR1:         m.PCR1,
			PCR2:         m.PCR2,
		},
	}, nil
}
