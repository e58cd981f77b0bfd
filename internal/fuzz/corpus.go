package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// maxInput is the size of the largest input that is kept.
	maxInput = 8 << 10

	// maxTried bounds how many inputs are tried, the smallest ones: each takes a process.
	maxTried = 600
)

// A corpus is that of one target: what lies in its testdata, and what was found.
type corpus struct {
	target  target
	home    string // the package's directory
	dir     string // its inputs, in testdata
	found   string // those in the go command's cache
	program string // the package's test, compiled to measure coverage
	profile string // where that writes what it reached
}

// An input is a file of the corpus.
type input struct {
	name string
	size int64
}

// grow adds found inputs to the directory, one by one, and takes those away again that reach nothing new.
func (c *corpus) grow(ctx context.Context, most int) (kept, of int, err error) {
	have, err := inputs(c.dir)
	if err != nil {
		return 0, 0, err
	}
	reached, err := c.reaches(ctx, "")
	if err != nil {
		return 0, 0, err
	}
	found, err := inputs(c.found)
	if err != nil {
		return 0, 0, err
	}
	fresh := slices.DeleteFunc(found, func(i input) bool {
		return i.size > maxInput || slices.ContainsFunc(have, func(h input) bool { return h.name == i.name })
	})
	for _, in := range fresh[:min(len(fresh), maxTried)] {
		if len(have)+kept >= most {
			break
		}
		more, err := c.try(ctx, in.name, reached)
		if err != nil {
			return kept, len(fresh), err
		}
		if more {
			kept++
		}
	}
	return kept, len(fresh), nil
}

// try puts an input into the directory, and leaves it there if it reaches what was not reached before.
func (c *corpus) try(ctx context.Context, name string, reached map[string]bool) (kept bool, err error) {
	data, err := os.ReadFile(filepath.Join(c.found, name))
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return false, err
	}
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		return false, err
	}
	defer func() {
		if !kept {
			err = errors.Join(err, os.Remove(path))
			_ = os.Remove(c.dir) // which fails unless it is empty
		}
	}()
	blocks, err := c.reaches(ctx, name)
	if err != nil {
		return false, err
	}
	return add(reached, blocks), nil
}

// reaches returns the blocks of code that one input reaches; the empty name stands for all that there are.
func (c *corpus) reaches(ctx context.Context, name string) (map[string]bool, error) {
	pattern := "^" + c.target.name + "$"
	if name != "" {
		pattern += "/^" + name + "$"
	}
	cmd := exec.CommandContext(ctx, c.program, "-test.run="+pattern, "-test.coverprofile="+c.profile)
	cmd.Dir = c.home
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("input %q: %w\n%s", name, err, out)
	}
	data, err := os.ReadFile(c.profile)
	if err != nil {
		return nil, err
	}
	return parseProfile(string(data)), nil
}

// parseProfile reads a coverage profile and returns the blocks that were reached.
func parseProfile(profile string) map[string]bool {
	reached := map[string]bool{}
	for line := range strings.Lines(profile) {
		fields := strings.Fields(line) // file:from,to statements count
		if len(fields) == 3 && fields[2] != "0" {
			reached[fields[0]] = true
		}
	}
	return reached
}

// add adds blocks to those reached, and says whether one of them is new.
func add(reached, blocks map[string]bool) bool {
	before := len(reached)
	for block := range blocks {
		reached[block] = true
	}
	return len(reached) > before
}

// inputs lists a directory that need not exist, the smallest file first.
func inputs(dir string) ([]input, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []input
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		list = append(list, input{e.Name(), info.Size()})
	}
	slices.SortFunc(list, func(a, b input) int { return cmp.Or(cmp.Compare(a.size, b.size), cmp.Compare(a.name, b.name)) })
	return list, nil
}
