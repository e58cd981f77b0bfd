package cache_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/image/cache"
)

func open(t *testing.T) *cache.Cache {
	t.Helper()
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func writing(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

// leftovers lists what lies in the cache's temporary directory.
func leftovers(t *testing.T, c *cache.Cache) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(c.Dir(), "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAnObjectIsFoundByItsHash(t *testing.T) {
	c := open(t)
	if _, ok, err := c.Lookup(digest("a")); ok || err != nil {
		t.Fatalf("an empty cache has an object: %v, %v", ok, err)
	}
	path, err := c.AddObject(digest("a"), writing("a"))
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := c.Lookup(digest("a"))
	if err != nil || !ok || got != path {
		t.Fatalf("Lookup = %q, %v, %v; want %q", got, ok, err, path)
	}
}

func TestContentWithAnotherHashIsRefusedAndLeavesNothing(t *testing.T) {
	c := open(t)
	_, err := c.AddObject(digest("a"), writing("b"))
	var mismatch *cache.HashError
	if !errors.As(err, &mismatch) || mismatch.Got != digest("b") || mismatch.Want != digest("a") {
		t.Fatalf("got %v, want a HashError with both hashes", err)
	}
	if n := leftovers(t, c); len(n) != 0 {
		t.Fatalf("temporary files remain: %v", n)
	}
	if _, ok, _ := c.Lookup(digest("a")); ok {
		t.Fatal("the refused object is in the cache")
	}
}

func TestAFailedWriteLeavesNothing(t *testing.T) {
	c := open(t)
	boom := errors.New("connection lost")
	if _, err := c.AddObject(digest("a"), func(w io.Writer) error { w.Write([]byte("a")); return boom }); !errors.Is(err, boom) {
		t.Fatalf("got %v, want %v", err, boom)
	}
	if n := leftovers(t, c); len(n) != 0 {
		t.Fatalf("temporary files remain: %v", n)
	}
}

func TestARottenObjectIsRemovedAndReportedAbsent(t *testing.T) {
	c := open(t)
	path, err := c.AddObject(digest("sound"), writing("sound"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("rotten"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := c.Lookup(digest("sound")); ok || err != nil {
		t.Fatalf("Lookup = %v, %v; want absent", ok, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the rotten file is still there: %v", err)
	}
}

func TestNamesThatAreNotHashesAreRefused(t *testing.T) {
	c := open(t)
	for _, name := range []string{"", "../../etc/passwd", strings.Repeat("A", 64), digest("a") + "0"} {
		if _, err := c.AddObject(name, writing("a")); err == nil {
			t.Errorf("AddObject took %q", name)
		}
		if _, _, err := c.Lookup(name); err == nil {
			t.Errorf("Lookup took %q", name)
		}
	}
	if _, _, err := c.Build(context.Background(), "../kernel", "k", nil); err == nil {
		t.Error("Build took a name with a path in it")
	}
}

func TestABuildIsMadeOnceHoweverManyAsk(t *testing.T) {
	c := open(t)
	var made atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, _, err := c.Build(context.Background(), "kernel", "k1", func(_ context.Context, dir string) error {
				made.Add(1)
				time.Sleep(50 * time.Millisecond)
				return os.WriteFile(filepath.Join(dir, "bzImage"), nil, 0o644)
			})
			if err != nil {
				t.Error(err)
			} else if _, err := os.Stat(filepath.Join(path, "bzImage")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if made.Load() != 1 {
		t.Fatalf("made %d times, want once", made.Load())
	}
	if _, hit, err := c.Build(context.Background(), "kernel", "k1", nil); !hit || err != nil {
		t.Fatalf("second call: hit %v, %v", hit, err)
	}
}

func TestAFailedBuildLeavesNothingAndIsTriedAgain(t *testing.T) {
	c := open(t)
	fail := func(_ context.Context, dir string) error {
		os.WriteFile(filepath.Join(dir, "half"), nil, 0o644)
		os.Mkdir(filepath.Join(dir, "sealed"), 0o755)
		os.WriteFile(filepath.Join(dir, "sealed", "file"), nil, 0o444)
		os.Chmod(filepath.Join(dir, "sealed"), 0o555)
		return errors.New("compiler error")
	}
	if _, _, err := c.Build(context.Background(), "kernel", "k1", fail); err == nil {
		t.Fatal("a failed build gave no error")
	}
	if n := leftovers(t, c); len(n) != 0 {
		t.Fatalf("temporary files remain: %v", n)
	}
	succeed := func(_ context.Context, dir string) error {
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("the directory is not empty: %v", entries)
		}
		return nil
	}
	if _, hit, err := c.Build(context.Background(), "kernel", "k1", succeed); hit || err != nil {
		t.Fatalf("retry: hit %v, %v", hit, err)
	}
}

func TestWaitingForAnotherBuildEndsWithTheContext(t *testing.T) {
	c := open(t)
	unlock, err := c.Lock(context.Background(), "kernel-k1")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	var waits []string
	c.OnWait = func(name string) { waits = append(waits, name) }
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, _, err = c.Build(ctx, "kernel", "k1", nil)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the context's error", err)
	}
	if len(waits) != 1 || waits[0] != "kernel-k1" {
		t.Fatalf("the wait was said %v, want once for kernel-k1", waits)
	}
}

func TestTheCacheDirectoryComesFromTheEnvironment(t *testing.T) {
	want := filepath.Join(t.TempDir(), "here")
	t.Setenv("HOLDFAST_CACHE", want)
	c, err := cache.Open("")
	if err != nil || c.Dir() != want {
		t.Fatalf("Open = %v, %v; want %s", c, err, want)
	}
}
