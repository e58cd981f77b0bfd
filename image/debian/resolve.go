package debian

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// A resolver finds the packages of one set. It is a plain closure, not a solver: the first alternative
// that can be satisfied is taken and never taken back. For a handful of suites of one release, which
// Debian keeps installable, that is enough; what would not fit together fails the last check.
type resolver struct {
	request   SetRequest
	packages  map[string][]*binary // by name, the best candidate first
	providers map[string][]*binary // by virtual name, sorted by name, the best candidate first

	chosen map[string]*binary
	queue  []*binary
}

// newResolver takes the binaries of all suites that the request names. Packages of a suite that only
// pins name are there for those pins alone.
func newResolver(request SetRequest, all []*binary) *resolver {
	r := &resolver{
		request: request, packages: map[string][]*binary{}, providers: map[string][]*binary{}, chosen: map[string]*binary{},
	}
	for _, b := range all {
		r.packages[b.Name] = append(r.packages[b.Name], b)
		for _, p := range b.provides {
			r.providers[p[0].name] = append(r.providers[p[0].name], b)
		}
	}
	for _, candidates := range r.packages {
		slices.SortStableFunc(candidates, r.better)
	}
	for _, candidates := range r.providers {
		slices.SortStableFunc(candidates, func(a, b *binary) int {
			if c := strings.Compare(a.Name, b.Name); c != 0 {
				return c
			}
			return r.better(a, b)
		})
	}
	return r
}

// better orders candidates: the higher version first, then the suite that the request names first.
func (r *resolver) better(a, b *binary) int {
	if c := CompareVersions(b.Version, a.Version); c != 0 {
		return c
	}
	return r.rank(a) - r.rank(b)
}

// rank is a suite's place in the request, beyond the end for one that only a pin names.
func (r *resolver) rank(b *binary) int {
	if i := slices.Index(r.request.Suites, b.suite); i >= 0 {
		return i
	}
	return len(r.request.Suites)
}

func (r *resolver) isGeneral(b *binary) bool { return slices.Contains(r.request.Suites, b.suite) }

// resolve returns the files of the set's packages and of what they depend on.
func (r *resolver) resolve() ([]File, error) {
	roots, _ := r.request.pins()
	for _, root := range roots {
		b, err := r.root(root)
		if err != nil {
			return nil, err
		}
		r.choose(b)
	}
	for len(r.queue) > 0 && !r.request.Alone {
		b := r.queue[0]
		r.queue = r.queue[1:]
		for _, d := range b.depends {
			if err := r.satisfy(d); err != nil {
				return nil, fmt.Errorf("%s %s (%s) depends on %w", b.Name, b.Version, b.suite, err)
			}
		}
	}
	if err := r.checkConflicts(); err != nil {
		return nil, err
	}
	var files []File
	for _, b := range r.inOrder() {
		files = append(files, b.File)
	}
	return files, nil
}

// inOrder returns the chosen packages by name.
func (r *resolver) inOrder() []*binary {
	var all []*binary
	for _, name := range slices.Sorted(maps.Keys(r.chosen)) {
		all = append(all, r.chosen[name])
	}
	return all
}

// root finds the candidate for a package that the request names.
func (r *resolver) root(p pin) (*binary, error) {
	for _, b := range r.packages[p.name] {
		if p.suite != "" && b.suite != p.suite || p.suite == "" && !r.isGeneral(b) || p.version != "" && b.Version != p.version {
			continue
		}
		if old := r.chosen[b.Name]; old != nil && old != b {
			return nil, fmt.Errorf("package %s is asked for twice, as %s and %s", b.Name, old.Version, b.Version)
		}
		return b, nil
	}
	return nil, fmt.Errorf("package %s: not in %s", p, r.where(p))
}

func (r *resolver) where(p pin) string {
	if p.suite != "" {
		return p.suite
	}
	return strings.Join(r.request.Suites, ", ")
}

func (r *resolver) choose(b *binary) {
	if r.chosen[b.Name] == nil {
		r.chosen[b.Name] = b
		r.queue = append(r.queue, b)
	}
}

// satisfy makes sure of one alternative: one that is chosen or excluded already, or else the first
// that a package or, failing that, a provider can satisfy.
func (r *resolver) satisfy(d dependency) error {
	for _, rel := range d {
		if slices.Contains(r.request.Exclude, rel.name) || r.isSatisfied(rel) {
			return nil
		}
	}
	for _, rel := range d {
		if b := r.candidate(rel); b != nil {
			r.choose(b)
			return nil
		}
	}
	return fmt.Errorf("%s, which nothing satisfies", d)
}

func (r *resolver) isSatisfied(rel relation) bool {
	if b := r.chosen[rel.name]; b != nil && rel.allows(b.Version) {
		return true
	}
	for _, b := range r.providers[rel.name] {
		if r.chosen[b.Name] == b && b.satisfies(rel) {
			return true
		}
	}
	return false
}

// candidate finds a package for a relation, which must not be one that is chosen in another version.
func (r *resolver) candidate(rel relation) *binary {
	for _, b := range slices.Concat(r.packages[rel.name], r.providers[rel.name]) {
		if r.isGeneral(b) && r.chosen[b.Name] == nil && !slices.Contains(r.request.Exclude, b.Name) && b.satisfies(rel) {
			return b
		}
	}
	return nil
}

// satisfies says whether the package, or a name that it provides, meets the relation. A name provided
// without a version meets only a relation without one (Debian Policy 7.5).
func (b *binary) satisfies(rel relation) bool {
	if b.Name == rel.name && rel.allows(b.Version) {
		return true
	}
	for _, p := range b.provides {
		if p[0].name == rel.name && (rel.op == "" || p[0].op == "=" && rel.allows(p[0].version)) {
			return true
		}
	}
	return false
}

// checkConflicts fails if two chosen packages declare that they do not go together.
func (r *resolver) checkConflicts() error {
	all := r.inOrder()
	for _, b := range all {
		for _, c := range b.conflicts {
			for _, other := range all {
				if other != b && other.satisfies(c[0]) {
					return fmt.Errorf("%s %s conflicts with %s, and %s %s is in the set", b.Name, b.Version, c, other.Name, other.Version)
				}
			}
		}
	}
	return nil
}

// resolveSources returns the files of source packages that a request names.
func resolveSources(request SetRequest, all []*source) ([]File, error) {
	_, pins := request.pins()
	var files []File
	for i, p := range pins {
		s := bestSource(request, p, all)
		if s == nil {
			return nil, fmt.Errorf("source package %s: not in the suites", p)
		}
		n := len(files)
		for _, f := range s.files {
			if ok, _ := path.Match(request.Sources[i].Files, f.Name); ok {
				files = append(files, f)
			}
		}
		if len(files) == n {
			return nil, fmt.Errorf("source package %s %s has no file that matches %q", p, s.version, request.Sources[i].Files)
		}
	}
	return files, nil
}

func bestSource(request SetRequest, p pin, all []*source) *source {
	var best *source
	for _, s := range all {
		if s.name != p.name || p.version != "" && s.version != p.version {
			continue
		}
		if p.suite != "" && s.suite != p.suite || p.suite == "" && !slices.Contains(request.Suites, s.suite) {
			continue
		}
		if best == nil || CompareVersions(s.version, best.version) > 0 {
			best = s
		}
	}
	return best
}
