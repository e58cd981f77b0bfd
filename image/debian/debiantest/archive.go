// Package debiantest makes Debian packages and signed package archives in memory, for tests of code
// that reads them: the archive is an http.Handler, and its key is made afresh in each test.
package debiantest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// A Key signs archives.
type Key struct{ entity *openpgp.Entity }

// NewKey makes an Ed25519 key that was valid from the given time on.
func NewKey(from time.Time) *Key {
	e, err := openpgp.NewEntity("Test archive", "", "archive@example.org", &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA,
		Time:      func() time.Time { return from },
	})
	check(err)
	return &Key{e}
}

// Armored returns the public key as an .asc file holds it.
func (k *Key) Armored() []byte {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	check(err)
	check(k.entity.Serialize(w))
	check(w.Close())
	return b.Bytes()
}

// Sign returns text clear-signed at a time.
func (k *Key) Sign(text []byte, at time.Time) []byte {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, &packet.Config{Time: func() time.Time { return at }})
	check(err)
	must(w.Write(text))
	check(w.Close())
	b.WriteByte('\n')
	return b.Bytes()
}

// A Package is a binary package of an archive. Empty fields are left out of the index.
type Package struct {
	Name, Version, Architecture                      string
	Depends, PreDepends, Provides, Conflicts, Breaks string
	Deb                                              []byte
}

// A Suite is one suite of an archive.
type Suite struct {
	Codename   string // empty means the name under which it is published
	ValidUntil time.Time
	Packages   []Package
	Sources    []Source
}

// A Source is a source package.
type Source struct {
	Name, Version string
	Files         map[string]string // content by name
}

// An Archive serves files by path. Tests may change what Publish has put there.
type Archive struct {
	mu       sync.Mutex
	files    map[string][]byte
	requests []string
}

// Publish adds a suite's files, indices and signed release.
func (a *Archive) Publish(name string, s Suite, key *Key, at time.Time) {
	var packages, sources bytes.Buffer
	for _, p := range s.Packages {
		path := "pool/main/" + p.Name[:1] + "/" + p.Name + "/" + p.FileName()
		a.Put(path, p.Deb)
		p.writeIndex(&packages, path)
	}
	for _, src := range s.Sources {
		dir := "pool/main/" + src.Name[:1] + "/" + src.Name
		src.writeIndex(&sources, dir)
		for file, content := range src.Files {
			a.Put(dir+"/"+file, []byte(content))
		}
	}
	if s.Codename == "" {
		s.Codename = name
	}
	indices := map[string][]byte{
		"main/binary-amd64/Packages.xz": XZ(packages.Bytes()),
		"main/source/Sources.xz":        XZ(sources.Bytes()),
	}
	for path, data := range indices {
		a.Put("dists/"+name+"/"+path, data)
	}
	a.Put("dists/"+name+"/InRelease", key.Sign(s.release(indices, at), at))
}

func (s Suite) release(indices map[string][]byte, at time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "Origin: Test\nSuite: %s\nCodename: %s\nDate: %s\n", s.Codename, s.Codename, at.UTC().Format(time.RFC1123))
	if !s.ValidUntil.IsZero() {
		fmt.Fprintf(&b, "Valid-Until: %s\n", s.ValidUntil.UTC().Format(time.RFC1123))
	}
	b.WriteString("SHA256:\n")
	for _, path := range slices.Sorted(maps.Keys(indices)) {
		fmt.Fprintf(&b, " %s %d %s\n", SHA256(indices[path]), len(indices[path]), path)
	}
	return b.Bytes()
}

// FileName is the package's name in the pool, where epochs are left out.
func (p Package) FileName() string {
	version := p.Version
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	return p.Name + "_" + version + "_" + p.Architecture + ".deb"
}

func (p Package) writeIndex(b *bytes.Buffer, path string) {
	for _, f := range [][2]string{
		{"Package", p.Name}, {"Version", p.Version}, {"Architecture", p.Architecture},
		{"Depends", p.Depends}, {"Pre-Depends", p.PreDepends}, {"Provides", p.Provides},
		{"Conflicts", p.Conflicts}, {"Breaks", p.Breaks},
		{"Filename", path}, {"Size", fmt.Sprint(len(p.Deb))}, {"SHA256", SHA256(p.Deb)},
	} {
		if f[1] != "" {
			fmt.Fprintf(b, "%s: %s\n", f[0], f[1])
		}
	}
	b.WriteByte('\n')
}

func (s Source) writeIndex(b *bytes.Buffer, dir string) {
	fmt.Fprintf(b, "Package: %s\nVersion: %s\nDirectory: %s\nChecksums-Sha256:\n", s.Name, s.Version, dir)
	for _, name := range slices.Sorted(maps.Keys(s.Files)) {
		fmt.Fprintf(b, " %s %d %s\n", SHA256([]byte(s.Files[name])), len(s.Files[name]), name)
	}
	b.WriteByte('\n')
}

// SHA256 returns the hex SHA-256 of data.
func SHA256(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Put makes the archive serve data at a path below its base.
func (a *Archive) Put(path string, data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.files == nil {
		a.files = map[string][]byte{}
	}
	a.files[path] = data
}

// Get returns what the archive serves at a path.
func (a *Archive) Get(path string) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.files[path]
}

// Requests returns the paths that have been asked for, in order.
func (a *Archive) Requests() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// ServeHTTP serves the archive's files.
func (a *Archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	a.mu.Lock()
	a.requests = append(a.requests, path)
	data, ok := a.files[path]
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	w.Write(data)
}
