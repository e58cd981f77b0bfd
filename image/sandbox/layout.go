package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// kind says what a step makes.
type kind string

const (
	kindDirectory kind = "directory"
	kindFile      kind = "file"
	kindSymlink   kind = "symlink"
	kindBind      kind = "bind"
	kindTmpfs     kind = "tmpfs"
	kindProc      kind = "proc"
)

// step is one action on the new root, which begins as an empty tmpfs. The
// caller plans the steps and process 1 carries them out one by one.
type step struct {
	Kind     kind   `json:"kind"`
	Target   string `json:"target"`           // inside
	Source   string `json:"source,omitempty"` // of a bind: on the host, without symbolic links; of a symlink: its text
	Writable bool   `json:"writable,omitempty"`
	Device   bool   `json:"device,omitempty"` // the source is a device and must work as one
}

// systemDirs are the top-level directories that hold a system's programs,
// libraries and their configuration. With Spec.Host they are the toolchain's.
var systemDirs = []string{"bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr"}

// ownDirs are the top-level directories that the sandbox itself provides,
// whatever Root or the host has there. /sys describes the host, so is absent.
var ownDirs = []string{"dev", "proc", "sys"}

var devices = []string{"full", "null", "random", "urandom", "zero"}

// origin says where a top-level entry of the new root comes from.
type origin int

const (
	fromSandbox origin = iota // made on the tmpfs
	fromRoot                  // bound read-only
	fromHost                  // bound with the host's rights
)

// planner composes the new root from Root, the host and the binds.
type planner struct {
	root   string
	host   bool
	binds  []Bind          // sorted by target
	opened map[string]bool // directories of Root rebuilt entry by entry, to make room for a target
	made   map[string]bool // directories to be made on the way to targets
	absent map[string]bool // targets to be made
	steps  []step
}

// layout plans the root for s. Only names are read; nothing is changed.
func layout(s Spec) ([]step, error) {
	root, err := realDirectory(s.Root)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	binds, err := resolveBinds(s.Binds)
	if err != nil {
		return nil, err
	}
	p := &planner{root: root, host: s.Host, binds: binds,
		opened: map[string]bool{"/": true}, made: map[string]bool{}, absent: map[string]bool{}}
	return p.plan()
}

func (p *planner) plan() ([]step, error) {
	for i := range p.binds {
		if err := p.makeRoom(i); err != nil {
			return nil, fmt.Errorf("bind target %q: %w", p.binds[i].Target, err)
		}
	}
	if err := p.mirror("/"); err != nil {
		return nil, err
	}
	p.addOwn()
	for _, dir := range slices.Sorted(maps.Keys(p.made)) {
		p.add(step{Kind: kindDirectory, Target: dir})
	}
	for _, b := range p.binds {
		if err := p.addBind(b); err != nil {
			return nil, err
		}
	}
	return p.steps, nil
}

// realDirectory returns dir as an absolute path without symbolic links.
func realDirectory(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("no directory given")
	}
	real, err := realPath(dir)
	if err != nil {
		return "", err
	}
	fi, err := os.Stat(real)
	if err == nil && !fi.IsDir() {
		err = fmt.Errorf("%s: not a directory", dir)
	}
	return real, err
}

func realPath(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// resolveBinds checks the binds and sorts them by target, so that a bind comes
// after those it lies in.
func resolveBinds(binds []Bind) ([]Bind, error) {
	sorted := slices.Clone(binds)
	slices.SortFunc(sorted, func(a, b Bind) int { return cmp.Compare(a.Target, b.Target) })
	for i, b := range sorted {
		if err := checkTarget(b.Target); err != nil {
			return nil, fmt.Errorf("bind target %q: %w", b.Target, err)
		}
		if i > 0 && b.Target == sorted[i-1].Target {
			return nil, fmt.Errorf("bind target %q: given twice", b.Target)
		}
		if b.Source == "" {
			return nil, fmt.Errorf("bind target %q: no source", b.Target)
		}
		real, err := realPath(b.Source)
		if err != nil {
			return nil, fmt.Errorf("bind source: %w", err)
		}
		sorted[i].Source = real
	}
	return sorted, nil
}

func checkTarget(target string) error {
	if !path.IsAbs(target) || path.Clean(target) != target || target == "/" {
		return errors.New("want a clean absolute path below /")
	}
	if within(target, "/proc") {
		return errors.New("/proc is the sandbox's own")
	}
	return nil
}

// within reports whether name is dir or lies below it.
func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}

func (p *planner) origin(topLevel string) origin {
	switch {
	case slices.Contains(ownDirs, topLevel):
		return fromSandbox
	case p.host && !slices.Contains(systemDirs, topLevel):
		return fromHost
	case !p.host && topLevel == "tmp":
		return fromSandbox
	}
	return fromRoot
}

// makeRoom sees to it that the target of bind i will exist. In Root, which is
// read-only, the directories on the way are opened: rebuilt on the tmpfs entry
// by entry, so that one more fits in. Where a target would have to be made on
// the host, and would be left behind, it is refused.
func (p *planner) makeRoom(i int) error {
	target := p.binds[i].Target
	for j := i - 1; j >= 0; j-- {
		if outer := p.binds[j]; within(target, outer.Target) {
			return mustExist(outer.Source + target[len(outer.Target):])
		}
	}
	topLevel, _, _ := strings.Cut(target[1:], "/")
	switch p.origin(topLevel) {
	case fromHost:
		return mustExist(target)
	case fromRoot:
		return p.openParents(target)
	}
	p.makeTarget(target)
	return nil
}

func mustExist(name string) error {
	if _, err := os.Lstat(name); err != nil {
		return fmt.Errorf("nothing is made on the host: %w", err)
	}
	return nil
}

// openParents walks down to target in Root. If it ends before, the directories
// passed are opened and the rest is made.
func (p *planner) openParents(target string) error {
	var passed []string
	for _, name := range append(ancestors(target), target) {
		fi, err := os.Lstat(path.Join(p.root, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			for _, dir := range passed {
				p.opened[dir] = true
			}
			p.makeTarget(target)
			return nil
		case err != nil:
			return err
		case fi.Mode()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s is a symbolic link in the root; name the real path", name)
		case name != target && !fi.IsDir():
			return fmt.Errorf("%s is not a directory in the root", name)
		}
		passed = append(passed, name)
	}
	return nil
}

// makeTarget notes that target and the directories above it have to be made.
// Those that exist by then are left as they are.
func (p *planner) makeTarget(target string) {
	p.absent[target] = true
	for _, dir := range ancestors(target) {
		if !p.opened[dir] {
			p.made[dir] = true
		}
	}
}

// ancestors returns the directories above name, without /, from the top.
func ancestors(name string) []string {
	var dirs []string
	for i := 1; i < len(name); i++ {
		if name[i] == '/' {
			dirs = append(dirs, name[:i])
		}
	}
	return dirs
}

// mirror shows the entries of an opened directory: symbolic links as they are,
// everything else bound.
func (p *planner) mirror(dir string) error {
	if err := p.mirrorFrom(p.root, fromRoot, dir); err != nil {
		return err
	}
	if p.host && dir == "/" {
		return p.mirrorFrom("/", fromHost, dir)
	}
	return nil
}

func (p *planner) mirrorFrom(base string, from origin, dir string) error {
	entries, err := os.ReadDir(path.Join(base, dir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if dir == "/" && p.origin(e.Name()) != from {
			continue
		}
		if err := p.mirrorEntry(base, from, path.Join(dir, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

func (p *planner) mirrorEntry(base string, from origin, target string, e fs.DirEntry) error {
	source := path.Join(base, target)
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		text, err := os.Readlink(source)
		if err != nil {
			return err
		}
		p.add(step{Kind: kindSymlink, Target: target, Source: text})
		return nil
	case p.opened[target]:
		p.add(step{Kind: kindDirectory, Target: target})
		return p.mirror(target)
	}
	p.add(step{Kind: mountPoint(e.IsDir()), Target: target},
		step{Kind: kindBind, Target: target, Source: source, Writable: from == fromHost})
	return nil
}

func mountPoint(isDir bool) kind {
	if isDir {
		return kindDirectory
	}
	return kindFile
}

// addOwn adds what the sandbox itself provides.
func (p *planner) addOwn() {
	p.add(step{Kind: kindDirectory, Target: "/proc"}, step{Kind: kindProc, Target: "/proc"},
		step{Kind: kindDirectory, Target: "/dev"})
	for _, name := range devices {
		dev := "/dev/" + name
		p.add(step{Kind: kindFile, Target: dev},
			step{Kind: kindBind, Source: dev, Target: dev, Writable: true, Device: true})
	}
	for _, l := range [][2]string{{"fd", ""}, {"stdin", "/0"}, {"stdout", "/1"}, {"stderr", "/2"}} {
		p.add(step{Kind: kindSymlink, Target: "/dev/" + l[0], Source: "/proc/self/fd" + l[1]})
	}
	p.addTmpfs("/dev/shm")
	if p.origin("tmp") == fromSandbox {
		p.addTmpfs("/tmp")
	}
}

func (p *planner) addTmpfs(target string) {
	p.add(step{Kind: kindDirectory, Target: target}, step{Kind: kindTmpfs, Target: target})
}

func (p *planner) addBind(b Bind) error {
	fi, err := os.Stat(b.Source)
	if err != nil {
		return fmt.Errorf("bind source: %w", err)
	}
	if p.absent[b.Target] {
		p.add(step{Kind: mountPoint(fi.IsDir()), Target: b.Target})
	}
	p.add(step{Kind: kindBind, Source: b.Source, Target: b.Target, Writable: b.Writable,
		Device: fi.Mode()&fs.ModeDevice != 0})
	return nil
}

func (p *planner) add(s ...step) { p.steps = append(p.steps, s...) }
