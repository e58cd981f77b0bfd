// Package builder makes Holdfast's images and what their tests need from the pinned inputs in
// image/lock and the checkout, and from nothing else.
//
// Every compiler runs in the sandbox on unpacked, locked packages, at fixed paths; every result that
// is costly is kept in the cache under the hash of all of its inputs. What comes out is the same on
// every machine, byte for byte.
package builder

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"holdfast/image/cache"
	"holdfast/image/debian"
	"holdfast/image/progress"
)

// A Builder builds from one checkout into one cache.
type Builder struct {
	Checkout string             // root of the checkout: the directory of go.mod
	Cache    *cache.Cache       // where inputs and results are kept
	Mirrors  []debian.Mirror    // tried in order for each package that the cache lacks
	Progress *progress.Reporter // nil is silent
	Jobs     int                // compilers at once; zero means one per processor. Shows in no result.
}

// Find returns the root of the checkout that dir lies in.
func Find(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for d := abs; ; d = filepath.Dir(d) {
		mod, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module holdfast\n") {
			return d, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s is in no Holdfast checkout (hint: run in one, or name one with -C)", abs)
		}
	}
}

// Version returns the version that this checkout builds, from image/VERSION.
func (b *Builder) Version() (string, error) {
	data, err := os.ReadFile(filepath.Join(b.Checkout, "image", "VERSION"))
	if err != nil {
		return "", err
	}
	v := strings.TrimSuffix(string(data), "\n")
	if v == "" || strings.ContainsAny(v, " \t\r\n") {
		return "", fmt.Errorf("image/VERSION holds %q, want one word and a newline", data)
	}
	return v, nil
}

func (b *Builder) jobs() int {
	if b.Jobs > 0 {
		return b.Jobs
	}
	return runtime.NumCPU()
}

// inputKey hashes the names of a result's inputs: their own hashes, versions and flags, each in one
// string. The count and the lengths are hashed too, so that no two lists give the same bytes.
func inputKey(inputs ...string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(inputs))
	for _, in := range inputs {
		fmt.Fprintf(h, "%d %s\n", len(in), in)
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
