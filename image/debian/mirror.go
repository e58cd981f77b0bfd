package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
)

// SnapshotArchive is Debian's archive of everything it ever published, asked by SHA-1 when no mirror
// has a file any more.
const SnapshotArchive = "https://snapshot.debian.org"

// The environment variables that name mirrors, as space-separated lists of base URLs; each replaces
// what the machine's apt sources say for that archive.
const (
	MirrorVariable         = "HOLDFAST_DEBIAN_MIRROR"
	SecurityMirrorVariable = "HOLDFAST_DEBIAN_SECURITY_MIRROR"
)

// A Mirror is one place that serves one of Debian's archives.
type Mirror struct {
	Archive string // ArchiveMain or ArchiveSecurity
	URL     string // base, below which "pool" and "dists" lie; no slash at the end
}

// A MirrorConfig says where mirrors are looked for.
type MirrorConfig struct {
	Main     string // space-separated base URLs of the main archive, in place of what Apt says
	Security string // the same for the security archive
	Apt      fs.FS  // the machine's apt configuration, usually /etc/apt; nil for none
}

// Mirrors returns the mirrors of this machine: those given, else those of the environment, else
// those of its apt sources. An empty list is not an error, since the snapshot archive remains.
func Mirrors(main, security string) ([]Mirror, error) {
	if main == "" {
		main = os.Getenv(MirrorVariable)
	}
	if security == "" {
		security = os.Getenv(SecurityMirrorVariable)
	}
	return MirrorConfig{Main: main, Security: security, Apt: os.DirFS("/etc/apt")}.Mirrors()
}

// Mirrors lists the mirrors in the order in which they are to be tried. An archive that was not given
// is looked for beside the other one as well, where mirrors usually keep it.
func (c MirrorConfig) Mirrors() ([]Mirror, error) {
	main, err := parseMirrors(ArchiveMain, c.Main)
	if err != nil {
		return nil, err
	}
	security, err := parseMirrors(ArchiveSecurity, c.Security)
	if err != nil {
		return nil, err
	}
	var apt []Mirror
	if c.Main == "" || c.Security == "" {
		if apt, err = aptMirrors(c.Apt); err != nil {
			return nil, err
		}
	}
	for _, m := range apt {
		switch {
		case m.Archive == ArchiveMain && c.Main == "":
			main = append(main, m)
		case m.Archive == ArchiveSecurity && c.Security == "":
			security = append(security, m)
		}
	}
	guesses := slices.DeleteFunc(siblings(slices.Concat(main, security)), func(m Mirror) bool {
		return m.Archive == ArchiveMain && c.Main != "" || m.Archive == ArchiveSecurity && c.Security != ""
	})
	return unique(slices.Concat(main, security, guesses)), nil
}

func parseMirrors(archive, list string) ([]Mirror, error) {
	var mirrors []Mirror
	for _, s := range strings.Fields(list) {
		u, ok := baseURL(s)
		if !ok {
			return nil, fmt.Errorf("mirror %q: want a URL such as http://host/%s", s, archive)
		}
		mirrors = append(mirrors, Mirror{Archive: archive, URL: u})
	}
	return mirrors, nil
}

// baseURL accepts what this package can fetch from, plain http and https.
func baseURL(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	return strings.TrimRight(s, "/"), true
}

// siblings guesses where the other archive of each mirror lies: …/debian-security beside …/debian.
func siblings(mirrors []Mirror) []Mirror {
	var guesses []Mirror
	for _, m := range mirrors {
		dir, base := path.Split(m.URL)
		switch {
		case m.Archive == ArchiveMain && base == ArchiveMain:
			guesses = append(guesses, Mirror{Archive: ArchiveSecurity, URL: dir + ArchiveSecurity})
		case m.Archive == ArchiveSecurity && base == ArchiveSecurity:
			guesses = append(guesses, Mirror{Archive: ArchiveMain, URL: dir + ArchiveMain})
		}
	}
	return guesses
}

func unique(mirrors []Mirror) []Mirror {
	var out []Mirror
	for _, m := range mirrors {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// aptMirrors reads sources.list, sources.list.d/*.list and sources.list.d/*.sources. A machine
// without apt has none of them.
func aptMirrors(apt fs.FS) ([]Mirror, error) {
	if apt == nil {
		return nil, nil
	}
	var names []string
	for _, pattern := range []string{"sources.list", "sources.list.d/*.list", "sources.list.d/*.sources"} {
		found, err := fs.Glob(apt, pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	var entries []aptEntry
	for _, name := range names {
		found, err := readAptSource(apt, name)
		if err != nil {
			return nil, fmt.Errorf("apt source %s: %w", name, err)
		}
		entries = append(entries, found...)
	}
	return rank(entries), nil
}

// readAptSource reads one file. One that this user may not read is left out: apt would not have
// used it for this user either.
func readAptSource(apt fs.FS, name string) ([]aptEntry, error) {
	f, err := apt.Open(name)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if path.Ext(name) == ".sources" {
		return parseDeb822Sources(f)
	}
	return parseOneLineSources(f)
}

// rank turns entries into mirrors: first those whose path says that they are Debian's.
func rank(entries []aptEntry) []Mirror {
	var named, others []Mirror
	for _, e := range entries {
		m, ok := e.mirror()
		if !ok {
			continue
		}
		if base := path.Base(m.URL); base == ArchiveMain || base == ArchiveSecurity {
			named = append(named, m)
		} else {
			others = append(others, m)
		}
	}
	return unique(append(named, others...))
}
