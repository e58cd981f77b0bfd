// Package maven takes Java artifacts as test inputs: it pins them by hash and fetches them with Maven
// itself, which knows its own repositories and the user's settings.
//
// A lock file names every artifact: group, artifact, version, file name, size and SHA-256. Nothing that
// Maven brings is used unless it has the locked size and hash, and nothing else that it brings is kept;
// so neither Maven, its plugins nor a repository is trusted. An artifact that the cache has needs no
// Maven at all.
package maven

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
)

const (
	maxLockSize     = 1 << 20  // bytes of a lock file; sixty artifacts take 14 kB
	maxArtifactSize = 64 << 20 // bytes of one artifact
)

// An Artifact is one file of a Maven repository, pinned by content.
type Artifact struct {
	Group    string `json:"group"`
	Artifact string `json:"artifact"`
	Version  string `json:"version"`
	File     string `json:"file"`   // artifact-version.type
	Size     int64  `json:"size"`   // bytes
	SHA256   string `json:"sha256"` // what decides, 64 lower-case hex digits
}

// A Lock is the content of one lock file: artifacts that are used together, sorted by file name. It is
// the whole list: dependencies are not followed.
type Lock struct {
	Artifacts []Artifact `json:"artifacts"`
}

// LoadLock reads a lock file, of which there is one encoding.
func LoadLock(path string) (Lock, error) {
	st, err := os.Stat(path)
	if err != nil {
		return Lock{}, err
	}
	if st.Size() > maxLockSize {
		return Lock{}, fmt.Errorf("lock %s: %d bytes, want at most %d", path, st.Size(), maxLockSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Lock{}, err
	}
	l, err := ParseLock(data)
	if err != nil {
		return Lock{}, fmt.Errorf("lock %s: %w", path, err)
	}
	return l, nil
}

// ParseLock parses the content of a lock file.
func ParseLock(data []byte) (Lock, error) {
	var l Lock
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Lock{}, fmt.Errorf("malformed JSON: %w", err)
	}
	if err := l.check(); err != nil {
		return Lock{}, err
	}
	if !bytes.Equal(l.Encode(), data) {
		return Lock{}, errors.New("not in canonical form: want one artifact a line, sorted by file")
	}
	return l, nil
}

// Encode returns the one encoding of a lock.
func (l Lock) Encode() []byte {
	var lines [][]byte
	for _, a := range l.Artifacts {
		line, err := json.Marshal(a)
		if err != nil {
			panic(err) // strings and an int64 always marshal
		}
		lines = append(lines, append([]byte("  "), line...))
	}
	return append(append([]byte("{\"artifacts\": [\n"), bytes.Join(lines, []byte(",\n"))...), "\n]}\n"...)
}

// Digest returns the SHA-256 of the lock's encoding in hex.
func (l Lock) Digest() string {
	sum := sha256.Sum256(l.Encode())
	return hex.EncodeToString(sum[:])
}

var (
	coordinate = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	digest     = regexp.MustCompile(`^[0-9a-f]{64}$`)
	fileType   = regexp.MustCompile(`^(jar|so)$`)
)

func (l Lock) check() error {
	if len(l.Artifacts) == 0 {
		return errors.New("no artifacts")
	}
	for i, a := range l.Artifacts {
		if err := a.check(); err != nil {
			return fmt.Errorf("entry %d (%s): %w", i+1, a.File, err)
		}
		if i > 0 && l.Artifacts[i-1].File >= a.File {
			return fmt.Errorf("entry %d (%s): not sorted, it follows %s", i+1, a.File, l.Artifacts[i-1].File)
		}
	}
	return nil
}

func (a Artifact) check() error {
	for _, s := range []string{a.Group, a.Artifact, a.Version} {
		if !coordinate.MatchString(s) {
			return fmt.Errorf("%q is not a Maven coordinate", s)
		}
	}
	switch {
	case !fileType.MatchString(a.kind()):
		return fmt.Errorf("file %q: want %s-%s.jar or .so", a.File, a.Artifact, a.Version)
	case a.Size <= 0 || a.Size > maxArtifactSize:
		return fmt.Errorf("size %d: want 1 to %d", a.Size, maxArtifactSize)
	case !digest.MatchString(a.SHA256):
		return fmt.Errorf("sha256 %q is not 64 lower-case hex digits", a.SHA256)
	}
	return nil
}

// kind is Maven's type of the artifact, which is its file's ending.
func (a Artifact) kind() string {
	kind, _ := strings.CutPrefix(a.File, a.Artifact+"-"+a.Version+".")
	return kind
}
