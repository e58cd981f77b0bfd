package debian

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/xi2/xz"
)

const (
	// maxInRelease bounds an InRelease file, which has no locked size; Debian's take 150 kB.
	maxInRelease = 8 << 20
	// maxIndex bounds an index, compressed; Debian's largest take 10 MB.
	maxIndex = 256 << 20
	// maxIndexText bounds an index, uncompressed.
	maxIndexText = 2 << 30
)

// A binary is one version of a binary package as an index lists it.
type binary struct {
	File
	suite     string
	depends   []dependency // Pre-Depends and Depends
	conflicts []dependency // Conflicts and Breaks
	provides  []dependency // each with one alternative
}

// A source is one version of a source package, with its files.
type source struct {
	name, version string
	suite         string
	files         []File
}

// An indexer fetches and verifies the indices of suites.
type indexer struct {
	fetcher      *Fetcher
	client       *http.Client
	keys         openpgp.EntityList
	now          time.Time
	allowExpired bool
}

// A suiteIndex is a suite whose signature has been checked.
type suiteIndex struct {
	*indexer
	name    string
	archive string
	release *release
}

// archiveOf says which archive holds a suite.
func archiveOf(suite string) string {
	if strings.HasSuffix(suite, "-security") {
		return ArchiveSecurity
	}
	return ArchiveMain
}

// open fetches and verifies a suite's InRelease from the first mirror that has a good one.
func (x *indexer) open(ctx context.Context, suite string) (*suiteIndex, error) {
	s := &suiteIndex{indexer: x, name: suite, archive: archiveOf(suite)}
	err := x.fromMirrors(ctx, s.archive, "dists/"+suite+"/InRelease", func(u string) error {
		var b bytes.Buffer
		if err := x.fetchBounded(ctx, u, &b); err != nil {
			return err
		}
		r, err := openRelease(b.Bytes(), suite, x.keys, x.now)
		if err != nil {
			return err
		}
		s.release = r
		if x.allowExpired {
			return nil
		}
		return r.checkFresh(x.now)
	})
	return s, err
}

// fetchBounded fetches a file whose size is not known before.
func (x *indexer) fetchBounded(ctx context.Context, u string, b *bytes.Buffer) error {
	body, err := x.fetcher.open(ctx, x.client, u)
	if err != nil {
		return err
	}
	defer body.Close()
	if _, err := io.Copy(b, io.LimitReader(body, maxInRelease+1)); err != nil {
		return err
	}
	if b.Len() > maxInRelease {
		return fmt.Errorf("longer than %d bytes", maxInRelease)
	}
	return nil
}

// fromMirrors calls use with a path on one mirror after another until it succeeds.
func (x *indexer) fromMirrors(ctx context.Context, archive, path string, use func(u string) error) error {
	var attempts strings.Builder
	for _, m := range x.fetcher.Mirrors {
		if m.Archive != archive {
			continue
		}
		u := m.URL + "/" + path
		err := use(u)
		if err == nil || ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(&attempts, "\n  %s: %v", redact(u), err)
	}
	if attempts.Len() == 0 {
		return fmt.Errorf("%s: no mirror of %s is known (hint: set %s or %s)", path, archive, MirrorVariable, SecurityMirrorVariable)
	}
	return fmt.Errorf("%s: no mirror has a good one%s", path, attempts.String())
}

// text fetches an index that the release lists, checks its hash and returns it uncompressed. It is
// asked for by hash first: a mirror in the middle of an update still serves the old one that way.
func (s *suiteIndex) text(ctx context.Context, path string) (io.Reader, error) {
	f, ok := s.release.files[path]
	if !ok {
		return nil, fmt.Errorf("suite %s does not list %s", s.name, path)
	}
	if f.size > maxIndex {
		return nil, fmt.Errorf("suite %s: %s of %d bytes, want at most %d", s.name, path, f.size, maxIndex)
	}
	dir := "dists/" + s.name + "/"
	byHash := dir + path[:strings.LastIndexByte(path, '/')+1] + "by-hash/SHA256/" + f.sha256
	var b bytes.Buffer
	use := func(u string) error {
		b.Reset()
		_, err := s.fetcher.download(ctx, s.client, u, f.size, f.sha256, &b)
		return err
	}
	if err := s.fromMirrors(ctx, s.archive, byHash, use); err != nil {
		if err := s.fromMirrors(ctx, s.archive, dir+path, use); err != nil {
			return nil, err
		}
	}
	plain, err := xz.NewReader(&b, maxDictionary)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return newBoundedReader(plain, maxIndexText), nil
}

// binaries reads the suite's amd64 packages, which include those of architecture all.
func (s *suiteIndex) binaries(ctx context.Context, keep func(*binary)) error {
	return s.paragraphs(ctx, "main/binary-amd64/Packages.xz", func(p paragraph) error {
		b, err := parseBinary(p)
		if err != nil {
			return fmt.Errorf("package %q: %w", p["package"], err)
		}
		b.Archive, b.suite = s.archive, s.name
		keep(b)
		return nil
	})
}

// sources reads the suite's source packages.
func (s *suiteIndex) sources(ctx context.Context, keep func(*source)) error {
	return s.paragraphs(ctx, "main/source/Sources.xz", func(p paragraph) error {
		src, err := parseSource(p, s.archive)
		if err != nil {
			return fmt.Errorf("source %q: %w", p["package"], err)
		}
		src.suite = s.name
		keep(src)
		return nil
	})
}

func (s *suiteIndex) paragraphs(ctx context.Context, path string, each func(paragraph) error) error {
	text, err := s.text(ctx, path)
	if err != nil {
		return err
	}
	c := newControlReader(text)
	for {
		p, err := c.next()
		if err == io.EOF {
			return ctx.Err()
		}
		if err == nil {
			err = each(p)
		}
		if err != nil {
			return fmt.Errorf("suite %s: %s: %w", s.name, path, err)
		}
	}
}

func parseBinary(p paragraph) (*binary, error) {
	b := &binary{File: File{
		Name:         p["package"],
		Version:      p["version"],
		Architecture: p["architecture"],
		Path:         p["filename"],
		SHA256:       p["sha256"],
	}}
	var err error
	if b.Size, err = strconv.ParseInt(p["size"], 10, 64); err != nil {
		return nil, fmt.Errorf("size %q", p["size"])
	}
	if b.depends, err = parseDependencies(p["pre-depends"] + "," + p["depends"]); err != nil {
		return nil, err
	}
	if b.conflicts, err = parseDependencies(p["conflicts"] + "," + p["breaks"]); err != nil {
		return nil, err
	}
	b.provides, err = parseDependencies(p["provides"])
	return b, err
}

func parseSource(p paragraph, archive string) (*source, error) {
	sums, err := parseChecksums(p["checksums-sha256"], sha256Pattern.MatchString)
	if err != nil {
		return nil, err
	}
	s := &source{name: p["package"], version: p["version"]}
	for _, c := range sums {
		s.files = append(s.files, File{
			Name: c.name, Version: s.version, Architecture: SourceArchitecture, Archive: archive,
			Path: p["directory"] + "/" + c.name, Size: c.size, SHA256: c.hash,
		})
	}
	return s, nil
}
