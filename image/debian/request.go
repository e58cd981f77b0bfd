package debian

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// RequestFile is the name of the file that says what the lock files are resolved from.
const RequestFile = "request.json"

// maxRequestSize bounds the request file.
const maxRequestSize = 1 << 20

// A Request says what each set must hold.
type Request struct {
	Sets map[string]SetRequest `json:"sets"`
}

// A SetRequest says what one set must hold.
type SetRequest struct {
	// Suites are where packages come from: the highest version wins, the suite named first on a tie.
	Suites []string `json:"suites"`
	// Packages are the roots whose dependencies are followed: "name", "name=version" to insist on a
	// version, or "name/suite" to take this one package from another suite.
	Packages []string `json:"packages,omitempty"`
	// Exclude names packages to leave out although something depends on them.
	Exclude []string `json:"exclude,omitempty"`
	// Sources are files of source packages.
	Sources []SourceRequest `json:"sources,omitempty"`
	// Alone says that only the packages named are wanted, and not what they depend on.
	Alone bool `json:"alone,omitempty"`
}

// A SourceRequest names files of one source package.
type SourceRequest struct {
	Package string `json:"package"` // as in SetRequest.Packages
	Files   string `json:"files"`   // pattern of path.Match on file names
}

// A pin is a package as a request names it.
type pin struct {
	name, suite, version string
}

func parsePin(s string) (pin, error) {
	var p pin
	if name, version, ok := strings.Cut(s, "="); ok {
		p = pin{name: name, version: version}
	} else {
		p.name, p.suite, ok = strings.Cut(s, "/")
		if ok && p.suite == "" {
			return pin{}, fmt.Errorf("package %q: no suite after the slash", s)
		}
	}
	if !namePattern.MatchString(p.name) || (strings.Contains(s, "=") && !validVersion(p.version)) {
		return pin{}, fmt.Errorf("package %q: want name, name=version or name/suite", s)
	}
	return p, nil
}

func (p pin) String() string {
	switch {
	case p.version != "":
		return p.name + "=" + p.version
	case p.suite != "":
		return p.name + "/" + p.suite
	}
	return p.name
}

// LoadRequest reads the request file of a lock directory.
func LoadRequest(dir string) (Request, error) {
	name := filepath.Join(dir, RequestFile)
	data, err := readBounded(name, maxRequestSize)
	if err != nil {
		return Request{}, fmt.Errorf("request %w", err)
	}
	var r Request
	if err := decodeStrict(data, &r); err != nil {
		return Request{}, fmt.Errorf("request %s: %w", name, err)
	}
	if len(r.Sets) == 0 {
		return Request{}, fmt.Errorf("request %s: no sets", name)
	}
	for set, s := range r.Sets {
		if err := s.check(set); err != nil {
			return Request{}, fmt.Errorf("request %s: set %q: %w", name, set, err)
		}
	}
	return r, nil
}

func (s SetRequest) check(name string) error {
	if !setNamePattern.MatchString(name) || name+".json" == RequestFile {
		return errors.New("not a set name")
	}
	if len(s.Suites) == 0 || len(s.Packages)+len(s.Sources) == 0 {
		return errors.New("want suites, and packages or sources")
	}
	for _, p := range s.Packages {
		if _, err := parsePin(p); err != nil {
			return err
		}
	}
	for _, src := range s.Sources {
		if _, err := parsePin(src.Package); err != nil {
			return err
		}
		if _, err := path.Match(src.Files, ""); err != nil {
			return fmt.Errorf("files %q: %w", src.Files, err)
		}
	}
	return nil
}

// pins returns the parsed packages and the source packages of a set that has been checked.
func (s SetRequest) pins() (packages, sources []pin) {
	for _, p := range s.Packages {
		parsed, _ := parsePin(p)
		packages = append(packages, parsed)
	}
	for _, src := range s.Sources {
		parsed, _ := parsePin(src.Package)
		sources = append(sources, parsed)
	}
	return packages, sources
}

// suites lists the suites whose binary and source indices a set needs.
func (s SetRequest) suites() (binary, source []string) {
	packages, sources := s.pins()
	if len(packages) > 0 {
		binary = append(slices.Clone(s.Suites), pinnedSuites(packages)...)
	}
	if len(sources) > 0 {
		source = append(slices.Clone(s.Suites), pinnedSuites(sources)...)
	}
	return binary, source
}

func pinnedSuites(pins []pin) []string {
	var suites []string
	for _, p := range pins {
		if p.suite != "" {
			suites = append(suites, p.suite)
		}
	}
	return suites
}
