package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// compilerDirs are the variables in which the go command hands its directories
// to the compiler it calls.
var compilerDirs = []string{"GOROOT", "GOPATH", "GOMODCACHE", "GOCACHE", "GOTMPDIR", "TMPDIR"}

// exitSandbox is the exit status for a command that could not be run, as env(1)
// and its like have it.
const exitSandbox = 125

// CompilerMain is gcc from the toolchain at root, for the go command: with
// CC="image cc", cgo compiles and links by the locked compiler and C library
// instead of the host's. It runs gcc with args on the process's own standard
// files and returns the exit status.
//
// The compiler sees the host's tree with its system directories replaced by the
// toolchain's. The directories of the go command's environment and the working
// directory stay where they are, even if they lie in a system directory, as
// /usr/local/go does.
func CompilerMain(args []string, root string) int {
	dir, err := os.Getwd()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitSandbox
	}
	s := compilerSpec(args, root, dir, os.Getenv)
	s.Stdin, s.Stdout, s.Stderr = os.Stdin, os.Stdout, os.Stderr
	return exitStatus(Run(context.Background(), s), os.Stderr)
}

func compilerSpec(args []string, root, dir string, getenv func(string) string) Spec {
	return Spec{
		Root:  root,
		Host:  true,
		Binds: compilerBinds(dir, getenv),
		Dir:   dir,
		// The compiler's own temporary files; /tmp is the host's here, where
		// those of a killed compiler would stay.
		Env:  []string{"TMPDIR=/dev/shm"},
		Args: append([]string{"gcc"}, args...),
	}
}

// compilerBinds binds back those directories that the toolchain's system
// directories would hide, under their given and their real names.
func compilerBinds(dir string, getenv func(string) string) []Bind {
	dirs := []string{dir}
	for _, name := range compilerDirs {
		dirs = append(dirs, filepath.SplitList(getenv(name))...)
	}
	var binds []Bind
	for _, d := range dirs {
		real, err := filepath.EvalSymlinks(d)
		if err != nil || !path.IsAbs(d) {
			continue // not there, so nothing of it is asked for
		}
		for _, target := range []string{path.Clean(d), real} {
			if inSystemDir(target) {
				binds = append(binds, Bind{Source: real, Target: target, Writable: true})
			}
		}
	}
	return outermost(binds)
}

func inSystemDir(name string) bool {
	topLevel, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	return slices.Contains(systemDirs, topLevel)
}

// outermost drops the binds that lie in another and show the same.
func outermost(binds []Bind) []Bind {
	slices.SortStableFunc(binds, func(a, b Bind) int { return cmp.Compare(a.Target, b.Target) })
	var kept []Bind
	for _, b := range binds {
		if !slices.ContainsFunc(kept, func(o Bind) bool { return within(b.Target, o.Target) }) {
			kept = append(kept, b)
		}
	}
	return kept
}

func exitStatus(err error, stderr io.Writer) int {
	var exit *ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.Status()
	}
	fmt.Fprintln(stderr, err)
	return exitSandbox
}
