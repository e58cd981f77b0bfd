package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"holdfast/image/kernel"
)

// A Kernel is a built kernel.
type Kernel struct {
	Image   []byte // bzImage
	Config  string // path of the .config it was built from
	Version string // of the locked source package, upstream part only
}

// Kernel builds the enclave's kernel.
func (b *Builder) Kernel(ctx context.Context) (*Kernel, error) {
	source, err := b.set("kernel")
	if err != nil {
		return nil, err
	}
	toolchain, err := b.set("toolchain")
	if err != nil {
		return nil, err
	}
	key := inputKey(source.Digest(), toolchain.Digest(), kernel.Inputs())
	dir, hit, err := b.Cache.Build(ctx, "kernel", key, func(ctx context.Context, dir string) error {
		root, err := b.Root(ctx, "toolchain")
		if err != nil {
			return err
		}
		deb, err := b.source(ctx, source)
		if err != nil {
			return err
		}
		stage := b.Progress.Stage("kernel")
		err = kernel.Build(ctx, kernel.Recipe{Root: root, SourceDeb: deb, Out: dir, Jobs: b.jobs(), Progress: stage})
		if err != nil {
			return fmt.Errorf("building the kernel: %w", err)
		}
		stage.Done(source.Files[0].Version)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if hit {
		b.Progress.Stage("kernel").Cached(source.Files[0].Version)
	}
	image, err := os.ReadFile(filepath.Join(dir, "bzImage"))
	if err != nil {
		return nil, err
	}
	return &Kernel{Image: image, Config: filepath.Join(dir, "config"), Version: upstream(source.Files[0].Version)}, nil
}

// upstream cuts the Debian revision off a package version.
func upstream(version string) string {
	for i := len(version) - 1; i >= 0; i-- {
		if version[i] == '-' {
			return version[:i]
		}
	}
	return version
}
