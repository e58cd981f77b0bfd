//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package holder

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lock takes a lock file until unlock, or until this process ends.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another keys command is at work there: %w", filepath.Dir(name), err)
	}
	return func() { f.Close() }, nil
}
