//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package main

import (
	"fmt"
	"runtime"
)

// lock refuses: two watches on one folder would not know of each other.
func lock(name string) (unlock func(), err error) {
	return nil, fmt.Errorf("%s: this program cannot lock files on %s", name, runtime.GOOS)
}
