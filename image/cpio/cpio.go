// Package cpio writes and reads ramdisks: newc archives in one canonical form.
//
// The kernel unpacks newc archives (Documentation/driver-api/early-userspace/buffer-format.rst), and the EIF
// measures their bytes. The format leaves a lot open (order, inode numbers, owners, times, padding), and whatever
// is left open moves a PCR. So here one tree has one archive: entries sorted by path, numbered in that order, owned
// by root, dated at the epoch, all parents present, hexadecimal in upper case, padded with zeros to 512 bytes.
// [Parse] accepts that form only, so Marshal(Parse(archive)) is the archive again, byte for byte.
//
// The padding to 512 keeps the next archive's header aligned when ramdisks are laid end to end in memory, which
// is how the kernel gets them.
package cpio

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
)

// Kind is what an entry is. The zero Kind is invalid.
type Kind uint8

// The kinds a ramdisk may hold. Device nodes are not among them: devtmpfs supplies those.
const (
	Directory Kind = iota + 1
	File
	Symlink
)

// String returns the word used in manifests.
func (k Kind) String() string {
	switch k {
	case Directory:
		return "dir"
	case File:
		return "file"
	case Symlink:
		return "link"
	}
	return "invalid"
}

const (
	// maxPath is PATH_MAX with its NUL: the kernel silently skips an entry whose name is longer.
	maxPath = 4096 - 1
	// maxMode holds every bit that a directory's or a file's mode may have. Set-id bits and write access for
	// anyone but root have no use in a read-only image.
	maxMode fs.FileMode = 0o755
	// symlinkMode is what Linux gives every symbolic link.
	symlinkMode fs.FileMode = 0o777
	// trailer is the name that ends an archive.
	trailer = "TRAILER!!!"
)

// Entry is one path of the tree.
type Entry struct {
	Path string      // relative, slash-separated, clean, printable ASCII without spaces
	Kind Kind        // Directory, File or Symlink
	Mode fs.FileMode // a subset of 0755; exactly 0777 for a Symlink
	Data []byte      // a File's content or a Symlink's target; empty for a Directory
}

// byPath is the canonical order. It puts every directory before what it contains.
func byPath(a, b Entry) int { return cmp.Compare(a.Path, b.Path) }

// validate says whether sorted entries form a tree that has a canonical archive.
func validate(sorted []Entry) error {
	directories := map[string]bool{".": true}
	for i, e := range sorted {
		if err := e.validate(); err != nil {
			return err
		}
		if i > 0 && sorted[i-1].Path >= e.Path {
			return fmt.Errorf("entry %s: after %s, want strictly ascending paths", e.Path, sorted[i-1].Path)
		}
		if parent := path.Dir(e.Path); !directories[parent] {
			return fmt.Errorf("entry %s: no directory %s before it", e.Path, parent)
		}
		if e.Kind == Directory {
			directories[e.Path] = true
		}
	}
	return nil
}

// validate judges an entry by itself.
func (e Entry) validate() error {
	if err := validatePath(e.Path); err != nil {
		return err
	}
	switch e.Kind {
	case Directory:
		if len(e.Data) != 0 {
			return fmt.Errorf("entry %s: directory with %d bytes of data, want none", e.Path, len(e.Data))
		}
	case File:
		if uint64(len(e.Data)) > math.MaxUint32 {
			return fmt.Errorf("entry %s: file of %d bytes, want at most %d", e.Path, len(e.Data), uint32(math.MaxUint32))
		}
	case Symlink:
		if !graphic(string(e.Data)) || len(e.Data) > maxPath {
			return fmt.Errorf("entry %s: link to %.64q, want 1 to %d printable characters", e.Path, e.Data, maxPath)
		}
		if e.Mode != symlinkMode {
			return fmt.Errorf("entry %s: mode %#o, want %#o for a link", e.Path, uint32(e.Mode), uint32(symlinkMode))
		}
		return nil
	default:
		return fmt.Errorf("entry %s: kind %d, want a directory, a file or a link", e.Path, e.Kind)
	}
	if e.Mode&^maxMode != 0 {
		return fmt.Errorf("entry %s: mode %#o, want no bit beyond %#o", e.Path, uint32(e.Mode), uint32(maxMode))
	}
	return nil
}

// validatePath accepts names that every reader, terminal and manifest shows alike.
func validatePath(name string) error {
	switch {
	case len(name) > maxPath:
		return fmt.Errorf("path of %d bytes, want at most %d", len(name), maxPath)
	case !fs.ValidPath(name) || name == ".":
		return fmt.Errorf("path %.64q: want a clean relative path without . or .. elements", name)
	case !graphic(name):
		return fmt.Errorf("path %.64q: want printable ascii without spaces", name)
	case name == trailer:
		return fmt.Errorf("path %s: the name ends an archive", name)
	}
	return nil
}

// graphic reports whether s is one or more visible ASCII characters.
func graphic(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}

// withParents returns entries sorted, with each missing parent added as a directory of mode 0755.
func withParents(entries []Entry) []Entry {
	tree := slices.Clone(entries)
	present := make(map[string]bool, len(tree))
	for _, e := range tree {
		present[e.Path] = true
	}
	for _, e := range entries {
		for dir := path.Dir(e.Path); dir != "." && dir != "/" && !present[dir]; dir = path.Dir(dir) {
			present[dir] = true
			tree = append(tree, Entry{Path: dir, Kind: Directory, Mode: 0o755})
		}
	}
	slices.SortFunc(tree, byPath)
	return tree
}

// Equal reports whether two entries are the same in every respect.
func (e Entry) Equal(other Entry) bool {
	return e.Path == other.Path && e.Kind == other.Kind && e.Mode == other.Mode && bytes.Equal(e.Data, other.Data)
}
