package builder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"holdfast/image/debian"
)

// set loads the lock of one package set.
func (b *Builder) set(name string) (debian.Set, error) {
	return debian.LoadSet(filepath.Join(b.Checkout, "image", "lock", name+".json"))
}

// fetch returns the files of a set, from the cache or from the mirrors.
func (b *Builder) fetch(ctx context.Context, set debian.Set) ([]string, error) {
	stage := b.Progress.Stage("fetch")
	f := debian.Fetcher{Cache: b.Cache, Mirrors: b.Mirrors}
	paths, err := f.Fetch(ctx, set, stage)
	if err != nil {
		return nil, fmt.Errorf("fetching set %s: %w", set.Name, err)
	}
	stage.Done(fmt.Sprintf("%s: %d files", set.Name, len(paths)))
	return paths, nil
}

// Root returns the directory in which the packages of a set are unpacked, ready to be the root of a
// sandbox.
func (b *Builder) Root(ctx context.Context, name string) (string, error) {
	set, err := b.set(name)
	if err != nil {
		return "", err
	}
	path, hit, err := b.Cache.Build(ctx, "root-"+name, inputKey(set.Digest(), debian.UnpackVersion), func(ctx context.Context, dir string) error {
		debs, err := b.fetch(ctx, set)
		if err != nil {
			return err
		}
		stage := b.Progress.Stage("unpack")
		if err := debian.Unpack(ctx, debs, dir); err != nil {
			return fmt.Errorf("unpacking set %s: %w", name, err)
		}
		stage.Done(fmt.Sprintf("%s: %d packages", name, len(debs)))
		return nil
	})
	if hit {
		b.Progress.Stage("packages").Cached(name)
	}
	return path, err
}

// source fetches a set of exactly one file and returns its path.
func (b *Builder) source(ctx context.Context, set debian.Set) (string, error) {
	paths, err := b.fetch(ctx, set)
	if err != nil {
		return "", err
	}
	if len(paths) != 1 {
		return "", fmt.Errorf("set %s has %d files, want 1", set.Name, len(paths))
	}
	return paths[0], nil
}

// lockedSets are the package sets in image/lock.
var lockedSets = []string{"toolchain", "kernel", "qemu", "qemu-source", "chromium", "java"}

// CheckLocks reads every lock file and returns what is wrong with any.
func (b *Builder) CheckLocks() error {
	var errs []error
	for _, name := range lockedSets {
		_, err := b.set(name)
		errs = append(errs, err)
	}
	_, goErr := b.goLock()
	_, dynamoErr := b.dynamoDBLock()
	return errors.Join(append(errs, goErr, dynamoErr)...)
}

// FetchSets fetches the files of the named sets, or of all where none is named, and the Go toolchain,
// the Java artifacts and the Go modules.
func (b *Builder) FetchSets(ctx context.Context, names []string) error {
	all := len(names) == 0
	if all {
		names = lockedSets
	}
	for _, name := range names {
		if !slices.Contains(lockedSets, name) {
			return fmt.Errorf("no set %q: want one of %v", name, lockedSets)
		}
		set, err := b.set(name)
		if err != nil {
			return err
		}
		if _, err := b.fetch(ctx, set); err != nil {
			return err
		}
	}
	if !all {
		return nil
	}
	if _, err := b.Go(ctx); err != nil {
		return err
	}
	if _, err := b.DynamoDBLocal(ctx); err != nil {
		return err
	}
	_, err := b.Modules(ctx)
	return err
}
