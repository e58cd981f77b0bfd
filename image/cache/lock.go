package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a waiting process asks again for a lock that another one holds. flock(2) has
// no way to wait for a context as well, and builds take seconds at least.
const lockPoll = 100 * time.Millisecond

// Lock takes the lock of that name, waiting for the process or goroutine that holds it, or for ctx.
// The kernel drops the lock of a process that dies.
func (c *Cache) Lock(ctx context.Context, name string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(c.dir, "locks", name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for waited := false; ; waited = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
		if !waited && c.OnWait != nil {
			c.OnWait(name)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another process that makes %s: %w", name, ctx.Err())
		case <-time.After(lockPoll):
		}
	}
}
