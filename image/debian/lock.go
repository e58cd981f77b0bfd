// Package debian takes Debian packages as build inputs: it pins them by hash, fetches them from any
// mirror, and unpacks them into a directory that a sandbox can use as its root.
//
// A lock file names every byte that comes from Debian: name, version, pool path, size and SHA-256. A
// mirror is therefore never trusted, only tried: what it serves either has the locked hash or is
// thrown away. The SHA-1 is there for one purpose, to ask the Debian snapshot archive for a file that
// the mirrors have dropped; it is never what a file is accepted by.
//
// [Fetcher] brings the files of a [Set] into the cache, [Unpack] turns packages into a directory
// without running a maintainer script, and [Update] resolves a request afresh from signed package
// indices and writes new lock files.
package debian

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// The archives that a locked file may come from.
const (
	ArchiveMain     = "debian"
	ArchiveSecurity = "debian-security"
)

// SourceArchitecture is the architecture of a file that belongs to a source package.
const SourceArchitecture = "source"

const (
	// maxSetSize bounds a lock file; two hundred packages take 60 kB.
	maxSetSize = 4 << 20
	// maxFileSize bounds a locked file; the kernel's source package, the largest, is 0.15 GB.
	maxFileSize = 1 << 30
)

// A File is one file of a Debian archive, pinned by content.
type File struct {
	Name         string `json:"name"`         // binary package, or for a source the name of the file
	Version      string `json:"version"`      // Debian version of the binary or source package
	Architecture string `json:"architecture"` // "amd64", "all" or "source"
	Archive      string `json:"archive"`      // ArchiveMain or ArchiveSecurity
	Path         string `json:"path"`         // below the archive's base, "pool/main/…"
	Size         int64  `json:"size"`         // bytes
	SHA256       string `json:"sha256"`       // what decides, 64 lower-case hex digits
	SHA1         string `json:"sha1"`         // what the snapshot archive is asked by, 40 lower-case hex digits
}

// A Set is the content of one lock file: files that are fetched and used together, sorted by name.
type Set struct {
	Name  string // the lock file's name without ".json"
	Files []File
}

// LoadSet reads a lock file. It accepts only the one encoding that Save writes; an error names the
// file and, where there is one, the entry.
func LoadSet(path string) (Set, error) {
	data, err := readBounded(path, maxSetSize)
	if err != nil {
		return Set{}, fmt.Errorf("lock %w", err)
	}
	s, err := ParseSet(strings.TrimSuffix(filepath.Base(path), ".json"), data)
	if err != nil {
		return Set{}, fmt.Errorf("lock %s: %w", path, err)
	}
	return s, nil
}

// ParseSet parses the content of the lock file of that name.
func ParseSet(name string, data []byte) (Set, error) {
	var raw struct {
		Files []File `json:"files"`
	}
	if err := decodeStrict(data, &raw); err != nil {
		return Set{}, err
	}
	s := Set{Name: name, Files: raw.Files}
	if err := s.check(); err != nil {
		return Set{}, err
	}
	if !bytes.Equal(s.Encode(), data) {
		return Set{}, errors.New("not in canonical form (hint: write lock files with 'image lock update' only)")
	}
	return s, nil
}

// Encode returns the one encoding of a set: JSON with one file a line.
func (s Set) Encode() []byte {
	var b bytes.Buffer
	b.WriteString("{\"files\": [\n")
	for i, f := range s.Files {
		line, err := json.Marshal(f)
		if err != nil {
			panic(err) // a struct of strings and an int64 always marshals
		}
		b.WriteString("  ")
		b.Write(line)
		if i < len(s.Files)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]}\n")
	return b.Bytes()
}

// Digest returns the SHA-256 of the set's encoding in hex: the same for the same inputs, and only for them.
func (s Set) Digest() string {
	sum := sha256.Sum256(s.Encode())
	return hex.EncodeToString(sum[:])
}

// Save checks, sorts and writes the set as dir/<name>.json, whole or not at all.
func (s Set) Save(dir string) error {
	s.Files = slices.SortedFunc(slices.Values(s.Files), compareFiles)
	return saveAll(dir, []Set{s})
}

func compareFiles(a, b File) int { return cmp.Compare(a.Name, b.Name) }

var (
	setNamePattern = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
	namePattern    = regexp.MustCompile(`^[a-z0-9][A-Za-z0-9+.~_-]+$`)
	pathPattern    = regexp.MustCompile(`^pool/[A-Za-z0-9+.~_/-]+$`)
	sha256Pattern  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	sha1Pattern    = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

func (s Set) check() error {
	if !setNamePattern.MatchString(s.Name) {
		return fmt.Errorf("set name %q: want lower-case letters, digits and '-'", s.Name)
	}
	if len(s.Files) == 0 {
		return errors.New("no files")
	}
	for i, f := range s.Files {
		if err := f.check(); err != nil {
			return fmt.Errorf("entry %d (%s): %w", i+1, f.Name, err)
		}
		if i > 0 && s.Files[i-1].Name == f.Name {
			return fmt.Errorf("entry %d (%s): duplicate name", i+1, f.Name)
		}
		if i > 0 && s.Files[i-1].Name > f.Name {
			return fmt.Errorf("entry %d (%s): not sorted, it follows %s", i+1, f.Name, s.Files[i-1].Name)
		}
	}
	return nil
}

func (f File) check() error {
	switch {
	case !namePattern.MatchString(f.Name):
		return fmt.Errorf("name %q is not a package or file name", f.Name)
	case !validVersion(f.Version):
		return fmt.Errorf("version %q is not a Debian version", f.Version)
	case f.Architecture != "amd64" && f.Architecture != "all" && f.Architecture != SourceArchitecture:
		return fmt.Errorf(`architecture %q: want "amd64", "all" or "source"`, f.Architecture)
	case f.Archive != ArchiveMain && f.Archive != ArchiveSecurity:
		return fmt.Errorf("archive %q: want %q or %q", f.Archive, ArchiveMain, ArchiveSecurity)
	case !fs.ValidPath(f.Path) || !pathPattern.MatchString(f.Path):
		return fmt.Errorf(`path %q: want a clean relative path below "pool/"`, f.Path)
	case f.Size <= 0 || f.Size > maxFileSize:
		return fmt.Errorf("size %d: want 1 to %d", f.Size, maxFileSize)
	case !sha256Pattern.MatchString(f.SHA256):
		return fmt.Errorf("sha256 %q is not 64 lower-case hex digits", f.SHA256)
	case !sha1Pattern.MatchString(f.SHA1):
		return fmt.Errorf("sha1 %q is not 40 lower-case hex digits", f.SHA1)
	}
	return nil
}

// String names the file as messages do.
func (f File) String() string {
	return fmt.Sprintf("%s %s (%s %s)", f.Name, f.Version, f.Archive, f.Path)
}
