// Package cache keeps what the builds fetch and make outside the checkout, named by hash.
//
// It has two halves. Objects are files named by the SHA-256 of their content; they are checked when
// they are added and again when they are looked up, so that a rotten disk cannot reach a build.
// Builds are directories named by the hash of the inputs they were made from. Each is made once,
// under a lock that other processes wait for, in a temporary directory that is renamed when it is
// whole: a build that was interrupted leaves nothing that a later one would take for a result.
//
// The directory is $HOLDFAST_CACHE, or "holdfast" in the user's cache directory. All of it may be
// deleted at any time that no build is running.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// A Cache is one cache directory. Its methods may be called from several goroutines and processes.
type Cache struct {
	dir string

	// OnWait, if set, is called once before Lock or Build waits for another process or goroutine
	// that holds the lock of that name.
	OnWait func(name string)
}

// Open makes and returns the cache in dir; an empty dir means $HOLDFAST_CACHE, or "holdfast" in the
// user's cache directory.
func Open(dir string) (*Cache, error) {
	if dir == "" {
		dir = os.Getenv("HOLDFAST_CACHE")
	}
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no cache directory: %v (hint: set HOLDFAST_CACHE)", err)
		}
		dir = filepath.Join(base, "holdfast")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cache directory %q: %w", dir, err)
	}
	for _, sub := range []string{"objects", "build", "tmp", "locks"} {
		if err := os.MkdirAll(filepath.Join(abs, sub), 0o755); err != nil {
			return nil, fmt.Errorf("cache directory: %w (hint: set HOLDFAST_CACHE to a directory you may write)", err)
		}
	}
	return &Cache{dir: abs}, nil
}

// Dir returns the absolute path of the cache directory.
func (c *Cache) Dir() string { return c.dir }

// Object returns where the object with that SHA-256 (64 lower-case hex digits) lies, or would lie.
func (c *Cache) Object(sha256hex string) string {
	return filepath.Join(c.dir, "objects", sha256hex)
}

var hexDigest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Lookup returns the path of an object after hashing it again. An object that has rotted is removed
// and reported as absent, so that it is fetched afresh.
func (c *Cache) Lookup(sha256hex string) (path string, ok bool, err error) {
	if !hexDigest.MatchString(sha256hex) {
		return "", false, fmt.Errorf("object name %q is not 64 lower-case hex digits", sha256hex)
	}
	path = c.Object(sha256hex)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", false, fmt.Errorf("reading cached object %s: %w", sha256hex, err)
	}
	if hex.EncodeToString(h.Sum(nil)) != sha256hex {
		return "", false, os.Remove(path)
	}
	return path, true, nil
}

// A HashError says that content did not have the hash it was wanted for.
type HashError struct{ Got, Want string }

func (e *HashError) Error() string {
	return fmt.Sprintf("sha256 is %s, want %s", e.Got, e.Want)
}

// AddObject stores what write writes as the object with that SHA-256 and returns its path. Content
// with another hash gives a *HashError; on any error nothing remains.
func (c *Cache) AddObject(sha256hex string, write func(io.Writer) error) (string, error) {
	if !hexDigest.MatchString(sha256hex) {
		return "", fmt.Errorf("object name %q is not 64 lower-case hex digits", sha256hex)
	}
	tmp, err := os.CreateTemp(filepath.Join(c.dir, "tmp"), "object-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	h := sha256.New()
	if err := write(io.MultiWriter(tmp, h)); err != nil {
		return "", err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != sha256hex {
		return "", &HashError{Got: got, Want: sha256hex}
	}
	path := c.Object(sha256hex)
	return path, publish(tmp, path)
}

// publish makes a finished temporary file durable under its final name.
func publish(tmp *os.File, path string) error {
	if err := tmp.Chmod(0o644); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

var buildName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// Build returns the directory that was made from the inputs that key names (a hex hash of all of
// them), calling make to fill it where it does not exist yet; hit says that it did. While another
// process makes the same directory, Build waits for it, or for ctx.
func (c *Cache) Build(ctx context.Context, kind, key string, make func(ctx context.Context, dir string) error) (path string, hit bool, err error) {
	name := kind + "-" + key
	if !buildName.MatchString(name) {
		return "", false, fmt.Errorf("build name %q: want lower-case letters, digits, '.' and '-'", name)
	}
	path = filepath.Join(c.dir, "build", name)
	if isDir(path) {
		return path, true, nil
	}
	unlock, err := c.Lock(ctx, name)
	if err != nil {
		return "", false, err
	}
	defer unlock()
	if isDir(path) {
		return path, true, nil
	}
	return path, false, c.fill(ctx, name, path, make)
}

// fill makes a build in a temporary directory and renames it when it is whole.
func (c *Cache) fill(ctx context.Context, name, path string, make func(ctx context.Context, dir string) error) error {
	tmp := filepath.Join(c.dir, "tmp", name)
	if err := removeAll(tmp); err != nil {
		return fmt.Errorf("removing what an interrupted build left: %w", err)
	}
	if err := os.Mkdir(tmp, 0o755); err != nil {
		return err
	}
	err := make(ctx, tmp)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, removeAll(tmp))
	}
	return syncDir(filepath.Dir(path))
}

func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// removeAll is os.RemoveAll for trees that hold read-only directories, as Go's module cache does.
func removeAll(path string) error {
	if os.RemoveAll(path) == nil {
		return nil
	}
	walk := func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			return os.Chmod(p, 0o755)
		}
		return nil
	}
	if err := filepath.WalkDir(path, walk); err != nil {
		return err
	}
	return os.RemoveAll(path)
}
