package debian

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/image/cache"
	"holdfast/image/progress"
)

// KeysDirectory is where, in the lock directory, the archive's public keys are.
const KeysDirectory = "keys"

// UpdateOptions say what to resolve, and from where.
type UpdateOptions struct {
	LockDir  string       // holds RequestFile, KeysDirectory and the lock files
	Cache    *cache.Cache // keeps what is downloaded
	Mirrors  []Mirror
	Progress *progress.Reporter
	Summary  io.Writer // gets a line for each change; nil for none

	// Only names the sets to resolve; empty means all of the request.
	Only []string
	// AllowExpired accepts a suite whose Valid-Until has passed. Its signature is checked all the
	// same, but a mirror could be holding back newer packages.
	AllowExpired bool
	// Now is the time against which keys and suites are judged; zero means the clock's.
	Now time.Time
	// Snapshot is as in Fetcher.
	Snapshot string
}

// A change is a difference between the old and the new lock of one file.
type change struct {
	set, name string
	from, to  string // versions; an empty from means added, an empty to removed
}

func (c change) String() string {
	switch {
	case c.from == "":
		return fmt.Sprintf("%s: added %s %s", c.set, c.name, c.to)
	case c.to == "":
		return fmt.Sprintf("%s: removed %s %s", c.set, c.name, c.from)
	case c.from == c.to:
		return fmt.Sprintf("%s: changed %s %s", c.set, c.name, c.to)
	}
	return fmt.Sprintf("%s: moved %s %s -> %s", c.set, c.name, c.from, c.to)
}

// Update resolves the request in LockDir from signed indices, downloads every file that is new to
// learn its SHA-1, and writes the lock files: all of them or none.
func Update(ctx context.Context, o UpdateOptions) error {
	if o.Cache == nil {
		return errors.New("update without a cache")
	}
	request, err := LoadRequest(o.LockDir)
	if err != nil {
		return err
	}
	if err := request.restrict(o.Only); err != nil {
		return err
	}
	sets, err := o.resolve(ctx, request)
	if err != nil {
		return err
	}
	old, err := loadOldSets(o.LockDir, sets)
	if err != nil {
		return err
	}
	if err := o.addSHA1(ctx, sets, old); err != nil {
		return err
	}
	if err := saveAll(o.LockDir, sets); err != nil {
		return err
	}
	return o.summarize(compareSets(old, sets))
}

func (o UpdateOptions) summarize(changes []change) error {
	if o.Summary == nil {
		return nil
	}
	for _, c := range changes {
		if _, err := fmt.Fprintln(o.Summary, c); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(o.Summary, "%d changes\n", len(changes))
	return err
}

// restrict drops the sets that are not named; no names keep all.
func (r Request) restrict(only []string) error {
	for _, name := range only {
		if _, ok := r.Sets[name]; !ok {
			return fmt.Errorf("set %q is not in the request, which has %v", name, slices.Sorted(maps.Keys(r.Sets)))
		}
	}
	if len(only) > 0 {
		maps.DeleteFunc(r.Sets, func(name string, _ SetRequest) bool { return !slices.Contains(only, name) })
	}
	return nil
}

// resolve finds the files of every set, sorted by name, still without SHA-1.
func (o UpdateOptions) resolve(ctx context.Context, request Request) ([]Set, error) {
	stage := o.Progress.Stage("resolve")
	all, err := o.readIndices(ctx, request, stage)
	if err != nil {
		return nil, err
	}
	var sets []Set
	for _, name := range slices.Sorted(maps.Keys(request.Sets)) {
		s, err := all.resolve(request.Sets[name])
		if err != nil {
			return nil, fmt.Errorf("set %s: %w", name, err)
		}
		sets = append(sets, Set{Name: name, Files: s})
	}
	stage.Done(fmt.Sprintf("%d sets", len(sets)))
	return sets, nil
}

// resolve finds the files of one set.
func (all *index) resolve(request SetRequest) ([]File, error) {
	binarySuites, sourceSuites := request.suites()
	var binaries []*binary
	for _, suite := range compactSuites(binarySuites) {
		binaries = append(binaries, all.binaries[suite]...)
	}
	files, err := newResolver(request, binaries).resolve()
	if err != nil {
		return nil, err
	}
	var sources []*source
	for _, suite := range compactSuites(sourceSuites) {
		sources = append(sources, all.sources[suite]...)
	}
	more, err := resolveSources(request, sources)
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(slices.Values(append(files, more...)), compareFiles), nil
}

func compactSuites(suites []string) []string {
	suites = slices.Sorted(slices.Values(suites))
	return slices.Compact(suites)
}

// An index holds the packages of all suites that a request needs, by suite.
type index struct {
	binaries map[string][]*binary
	sources  map[string][]*source
}

// readIndices reads every index that the request needs, once.
func (o UpdateOptions) readIndices(ctx context.Context, request Request, stage *progress.Stage) (*index, error) {
	x, err := o.indexer()
	if err != nil {
		return nil, err
	}
	defer x.client.CloseIdleConnections()
	var binaries, sources []string
	for _, s := range request.Sets {
		b, src := s.suites()
		binaries, sources = append(binaries, b...), append(sources, src...)
	}
	all := &index{binaries: map[string][]*binary{}, sources: map[string][]*source{}}
	suites := compactSuites(slices.Concat(binaries, sources))
	for i, suite := range suites {
		stage.Update(int64(i), int64(len(suites)), "suites")
		if err := all.read(ctx, x, suite, slices.Contains(binaries, suite), slices.Contains(sources, suite)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// read adds one suite.
func (all *index) read(ctx context.Context, x *indexer, suite string, wantBinaries, wantSources bool) error {
	s, err := x.open(ctx, suite)
	if err != nil {
		return err
	}
	if wantBinaries {
		err = s.binaries(ctx, func(b *binary) { all.binaries[suite] = append(all.binaries[suite], b) })
	}
	if wantSources && err == nil {
		err = s.sources(ctx, func(src *source) { all.sources[suite] = append(all.sources[suite], src) })
	}
	return err
}

func (o UpdateOptions) indexer() (*indexer, error) {
	keys, err := loadKeys(filepath.Join(o.LockDir, KeysDirectory))
	if err != nil {
		return nil, err
	}
	now := o.Now
	if now.IsZero() {
		now = time.Now()
	}
	f := o.fetcher()
	return &indexer{fetcher: f, client: f.client(), keys: keys, now: now, allowExpired: o.AllowExpired}, nil
}

func (o UpdateOptions) fetcher() *Fetcher {
	return &Fetcher{Cache: o.Cache, Mirrors: o.Mirrors, Snapshot: o.Snapshot}
}

// loadOldSets reads the lock files that are about to be replaced, where they exist.
func loadOldSets(dir string, sets []Set) (map[string]Set, error) {
	old := map[string]Set{}
	for _, s := range sets {
		loaded, err := LoadSet(filepath.Join(dir, s.Name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w (hint: remove it to resolve from nothing)", err)
		}
		old[s.Name] = loaded
	}
	return old, nil
}

// addSHA1 fills in the SHA-1 that indices no longer carry: from the old lock where the SHA-256 is the
// same, otherwise from the file itself.
func (o UpdateOptions) addSHA1(ctx context.Context, sets []Set, old map[string]Set) error {
	known := map[string]string{}
	for _, s := range old {
		for _, f := range s.Files {
			known[f.SHA256] = f.SHA1
		}
	}
	missing := Set{Name: "missing"}
	for _, s := range sets {
		for _, f := range s.Files {
			if known[f.SHA256] == "" && !slices.Contains(missing.Files, f) {
				missing.Files = append(missing.Files, f)
			}
		}
	}
	if err := o.hashFiles(ctx, missing, known); err != nil {
		return err
	}
	for _, s := range sets {
		for i := range s.Files {
			s.Files[i].SHA1 = known[s.Files[i].SHA256]
		}
	}
	return nil
}

// hashFiles fetches files and puts their SHA-1 in known, by their SHA-256.
func (o UpdateOptions) hashFiles(ctx context.Context, missing Set, known map[string]string) error {
	stage := o.Progress.Stage("fetch")
	paths, err := o.fetcher().Fetch(ctx, missing, stage)
	if err != nil {
		return err
	}
	for i, path := range paths {
		if known[missing.Files[i].SHA256], err = sha1File(path); err != nil {
			return err
		}
	}
	stage.Done(fmt.Sprintf("%d new files", len(paths)))
	return nil
}

func sha1File(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha1.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// saveAll writes all lock files beside the old ones before it renames the first: what can fail, such
// as a full disk, fails while nothing has changed.
func saveAll(dir string, sets []Set) (err error) {
	temporary := make([]string, len(sets))
	defer func() {
		for _, tmp := range temporary {
			if err != nil && tmp != "" {
				os.Remove(tmp)
			}
		}
	}()
	for i, s := range sets {
		if err := s.check(); err != nil {
			return fmt.Errorf("set %s: %w", s.Name, err)
		}
		if temporary[i], err = writeBeside(filepath.Join(dir, s.Name+".json"), s.Encode()); err != nil {
			return err
		}
	}
	for i, s := range sets {
		if err := os.Rename(temporary[i], filepath.Join(dir, s.Name+".json")); err != nil {
			return err
		}
	}
	return nil
}

// compareSets lists what is different, in the order of sets and names.
func compareSets(old map[string]Set, sets []Set) []change {
	var changes []change
	for _, s := range sets {
		before, after := byName(old[s.Name]), byName(s)
		for _, name := range slices.Sorted(maps.Keys(union(before, after))) {
			if a, b := before[name], after[name]; a != b {
				changes = append(changes, change{set: s.Name, name: name, from: a.Version, to: b.Version})
			}
		}
	}
	return changes
}

func byName(s Set) map[string]File {
	m := map[string]File{}
	for _, f := range s.Files {
		m[f.Name] = f
	}
	return m
}

func union(a, b map[string]File) map[string]File {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
