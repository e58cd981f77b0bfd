package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A release is the signed list of a suite's indices.
type release struct {
	validUntil time.Time // zero where the suite makes no promise, as stable releases do not
	files      map[string]indexFile
}

// An indexFile is one entry of a Release file: an index by its hash.
type indexFile struct {
	size   int64
	sha256 string
}

// loadKeys reads the armored public keys that may sign a suite.
func loadKeys(dir string) (openpgp.EntityList, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.asc"))
	if err != nil {
		return nil, err
	}
	var keys openpgp.EntityList
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		found, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no archive keys (*.asc) in %s: %w", dir, fs.ErrNotExist)
	}
	return keys, nil
}

// openRelease verifies an InRelease file and reads it. The signature must be by one of the keys, and
// the file must be that of the suite asked for: a mirror may serve one suite under another's name.
func openRelease(data []byte, suite string, keys openpgp.EntityList, now time.Time) (*release, error) {
	block, rest := clearsign.Decode(data)
	if block == nil {
		return nil, errors.New("not a clear-signed file")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("trailing bytes after the signature")
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	if _, err := block.VerifySignature(keys, config); err != nil {
		return nil, fmt.Errorf("signature: %w", err)
	}
	p, err := newControlReader(bytes.NewReader(block.Plaintext)).next()
	if err != nil {
		return nil, err
	}
	if p["codename"] != suite && p["suite"] != suite {
		return nil, fmt.Errorf("is of suite %q (%q), want %q", p["suite"], p["codename"], suite)
	}
	return parseRelease(p)
}

func parseRelease(p paragraph) (*release, error) {
	r := &release{files: map[string]indexFile{}}
	if s := p["valid-until"]; s != "" {
		t, err := time.Parse(time.RFC1123, s)
		if err != nil {
			return nil, fmt.Errorf("Valid-Until: %v", err)
		}
		r.validUntil = t
	}
	sums, err := parseChecksums(p["sha256"], sha256Pattern.MatchString)
	if err != nil {
		return nil, fmt.Errorf("SHA256: %w", err)
	}
	for _, c := range sums {
		r.files[c.name] = indexFile{size: c.size, sha256: c.hash}
	}
	if len(r.files) == 0 {
		return nil, errors.New("lists no files by SHA256")
	}
	return r, nil
}

// A checksum is a line "hash size name" of a Release file or a source package.
type checksum struct {
	hash string
	size int64
	name string
}

func parseChecksums(field string, valid func(string) bool) ([]checksum, error) {
	var out []checksum
	for line := range strings.Lines(field) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 || !valid(f[0]) {
			return nil, fmt.Errorf("malformed line %q", strings.TrimSpace(line))
		}
		size, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil || size < 0 {
			return nil, fmt.Errorf("malformed size in line %q", strings.TrimSpace(line))
		}
		out = append(out, checksum{hash: f[0], size: size, name: f[2]})
	}
	return out, nil
}

// checkFresh fails for a release that its signer no longer stands for.
func (r *release) checkFresh(now time.Time) error {
	if r.validUntil.IsZero() || now.Before(r.validUntil) {
		return nil
	}
	return fmt.Errorf("expired at %s (hint: allow it only if the mirror is known to stand still)", r.validUntil.Format(time.RFC3339))
}
