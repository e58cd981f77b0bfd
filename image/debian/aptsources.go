package debian

import (
	"bufio"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxAptLine bounds a line of an apt source; a URL and a list of suites and components fit.
const maxAptLine = 64 << 10

// An aptEntry is one repository of apt's configuration (sources.list(5)).
type aptEntry struct {
	URI        string
	Suites     []string
	Components []string
}

// debianSuite matches the suites of Debian's own archives. Third parties name theirs otherwise
// ("stable" alone is common, which is why components are looked at as well).
var debianSuite = regexp.MustCompile(`^(oldoldstable|oldstable|stable|testing|unstable|sid|experimental|rc-buggy|` +
	`buster|bullseye|bookworm|trixie|forky|duke)(-updates|-proposed-updates|-backports|-backports-sloppy|-security|/updates)?$`)

var debianComponents = []string{"main", "contrib", "non-free", "non-free-firmware"}

// mirror says which of Debian's archives the entry is a mirror of, if it looks like one at all. A
// wrong guess costs a request: what is fetched is judged by its hash.
func (e aptEntry) mirror() (Mirror, bool) {
	u, ok := baseURL(e.URI)
	if !ok || len(e.Suites) == 0 || !slices.Contains(e.Components, "main") {
		return Mirror{}, false
	}
	for _, c := range e.Components {
		if !slices.Contains(debianComponents, strings.TrimPrefix(c, "updates/")) {
			return Mirror{}, false
		}
	}
	security := path.Base(u) == ArchiveSecurity
	for _, s := range e.Suites {
		if !debianSuite.MatchString(s) {
			return Mirror{}, false
		}
		security = security || strings.HasSuffix(s, "-security") || strings.HasSuffix(s, "/updates")
	}
	if security {
		return Mirror{Archive: ArchiveSecurity, URL: u}, true
	}
	return Mirror{Archive: ArchiveMain, URL: u}, true
}

// parseOneLineSources reads the one-line style, "deb [options] uri suite component…". Lines that apt
// would refuse are left out: it is not this program's place to complain about them.
func parseOneLineSources(r io.Reader) ([]aptEntry, error) {
	var entries []aptEntry
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAptLine)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		kind, rest := cutField(line)
		if kind != "deb" && kind != "deb-src" {
			continue
		}
		if strings.HasPrefix(rest, "[") {
			_, rest, _ = strings.Cut(rest, "]")
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			entries = append(entries, aptEntry{URI: f[0], Suites: f[1:2], Components: f[2:]})
		}
	}
	return entries, lines.Err()
}

// cutField splits off the first word.
func cutField(s string) (field, rest string) {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return s[:i], strings.TrimSpace(s[i:])
	}
	return s, ""
}

// parseDeb822Sources reads the deb822 style. A stanza that is disabled is left out.
func parseDeb822Sources(r io.Reader) ([]aptEntry, error) {
	var entries []aptEntry
	d := newControlReader(r)
	for {
		p, err := d.next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
		if slices.Contains(aptFalse, strings.ToLower(p["enabled"])) {
			continue
		}
		for _, uri := range strings.Fields(p["uris"]) {
			entries = append(entries, splitSuites(uri, strings.Fields(p["suites"]), strings.Fields(p["components"]))...)
		}
	}
}

// aptFalse lists what apt takes for "no".
var aptFalse = []string{"no", "false", "without", "off", "disable", "0"}

// splitSuites makes one entry a suite, so that one stanza may name both archives.
func splitSuites(uri string, suites, components []string) []aptEntry {
	var entries []aptEntry
	for _, s := range suites {
		entries = append(entries, aptEntry{URI: uri, Suites: []string{s}, Components: components})
	}
	return entries
}
