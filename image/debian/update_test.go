package debian_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/image/cache"
	"holdfast/image/debian"
	"holdfast/image/debian/debiantest"
)

// now is when the tests' suites are published and read.
var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// An updateTest is a lock directory and a signed archive whose suites answer its request.
type updateTest struct {
	*testing.T
	key      *debiantest.Key
	archive  *debiantest.Archive
	security *debiantest.Archive
	dir      string
	options  debian.UpdateOptions
	summary  bytes.Buffer
}

const testRequest = `{"sets": {
	"tools": {"suites": ["bookworm", "bookworm-security"], "packages": ["make", "meson/bookworm-backports"], "exclude": ["debconf"]},
	"source": {"suites": ["bookworm"], "sources": [{"package": "qemu", "files": "*.orig.tar.xz"}]}
}}`

func deb(name string) []byte {
	return debiantest.Deb(debiantest.File("./usr/bin/"+name, name, 0o755))
}

func newUpdateTest(t *testing.T) *updateTest {
	u := &updateTest{T: t, key: debiantest.NewKey(now.AddDate(-1, 0, 0)), archive: &debiantest.Archive{}, security: &debiantest.Archive{}, dir: t.TempDir()}
	c, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	u.options = debian.UpdateOptions{
		LockDir: u.dir, Cache: c, Now: now, Summary: &u.summary, Snapshot: serve(t, http.NotFoundHandler()),
		Mirrors: []debian.Mirror{
			{Archive: debian.ArchiveMain, URL: serve(t, u.archive)}, {Archive: debian.ArchiveSecurity, URL: serve(t, u.security)},
		},
	}
	u.write(debian.RequestFile, []byte(testRequest))
	u.write(filepath.Join(debian.KeysDirectory, "test.asc"), u.key.Armored())
	u.archive.Publish("bookworm", u.main(), u.key, now)
	u.archive.Publish("bookworm-backports", debiantest.Suite{ValidUntil: now.Add(time.Hour), Packages: []debiantest.Package{
		{Name: "meson", Version: "1.7.0-1~bpo12+1", Architecture: "all", Depends: "make", Deb: deb("meson17")},
	}}, u.key, now)
	u.security.Publish("bookworm-security", debiantest.Suite{ValidUntil: now.Add(time.Hour), Packages: []debiantest.Package{
		{Name: "libc6", Version: "2.36-9+deb12u2", Architecture: "amd64", Deb: deb("libc6u2")},
	}}, u.key, now)
	return u
}

func (u *updateTest) main() debiantest.Suite {
	return debiantest.Suite{
		Packages: []debiantest.Package{
			{Name: "make", Version: "4.3-4.1", Architecture: "amd64", Depends: "libc6 (>= 2.27), debconf (>= 0.5)", Deb: deb("make")},
			{Name: "libc6", Version: "2.36-9", Architecture: "amd64", Deb: deb("libc6")},
			{Name: "meson", Version: "1.0.1-5", Architecture: "all", Deb: deb("meson10")},
		},
		Sources: []debiantest.Source{{Name: "qemu", Version: "1:10.0.2+ds-1", Files: map[string]string{
			"qemu_10.0.2+ds.orig.tar.xz": "source", "qemu_10.0.2+ds-1.dsc": "dsc",
		}}},
	}
}

func (u *updateTest) write(name string, data []byte) {
	u.Helper()
	path := filepath.Join(u.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		u.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		u.Fatal(err)
	}
}

func (u *updateTest) update() error { return debian.Update(u.Context(), u.options) }

func (u *updateTest) mustUpdate() {
	u.Helper()
	u.summary.Reset()
	if err := u.update(); err != nil {
		u.Fatal(err)
	}
}

// wantFailure checks that the update fails for that reason and leaves the directory as it is.
func (u *updateTest) wantFailure(want ...string) {
	u.Helper()
	before := u.contents()
	err := u.update()
	if err == nil {
		u.Fatal("updated")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			u.Errorf("error lacks %q: %v", w, err)
		}
	}
	if after := u.contents(); after != before {
		u.Errorf("the lock directory was\n%s\nand is\n%s", before, after)
	}
}

func (u *updateTest) contents() string {
	u.Helper()
	var b strings.Builder
	err := fs.WalkDir(os.DirFS(u.dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(filepath.Join(u.dir, name))
		b.WriteString(name + "\n" + string(data))
		return err
	})
	if err != nil {
		u.Fatal(err)
	}
	return b.String()
}

func (u *updateTest) load(set string) debian.Set {
	u.Helper()
	s, err := debian.LoadSet(filepath.Join(u.dir, set+".json"))
	if err != nil {
		u.Fatal(err)
	}
	return s
}

func TestUpdateLocksWhatTheRequestNeeds(t *testing.T) {
	u := newUpdateTest(t)
	u.mustUpdate()
	var got []string
	for _, f := range append(u.load("source").Files, u.load("tools").Files...) {
		got = append(got, f.String())
	}
	want := []string{
		"qemu_10.0.2+ds.orig.tar.xz 1:10.0.2+ds-1 (debian pool/main/q/qemu/qemu_10.0.2+ds.orig.tar.xz)",
		"libc6 2.36-9+deb12u2 (debian-security pool/main/l/libc6/libc6_2.36-9+deb12u2_amd64.deb)",
		"make 4.3-4.1 (debian pool/main/m/make/make_4.3-4.1_amd64.deb)",
		"meson 1.7.0-1~bpo12+1 (debian pool/main/m/meson/meson_1.7.0-1~bpo12+1_all.deb)",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("locked\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	made := u.load("tools").Files[1]
	sum := sha1.Sum(deb("make"))
	if made.SHA256 != debiantest.SHA256(deb("make")) || made.SHA1 != hex.EncodeToString(sum[:]) || made.Size != int64(len(deb("make"))) {
		t.Errorf("make is locked as %+v", made)
	}
}

func TestUpdateSaysWhatChanged(t *testing.T) {
	u := newUpdateTest(t)
	u.mustUpdate()
	first := u.contents()
	if want := "source: added qemu_10.0.2+ds.orig.tar.xz 1:10.0.2+ds-1\ntools: added libc6 2.36-9+deb12u2\ntools: added make 4.3-4.1\n" +
		"tools: added meson 1.7.0-1~bpo12+1\n4 changes\n"; u.summary.String() != want {
		t.Errorf("summary\n%s\nwant\n%s", &u.summary, want)
	}
	u.mustUpdate()
	if u.summary.String() != "0 changes\n" || u.contents() != first {
		t.Errorf("the second update said %q", &u.summary)
	}
	suite := u.main()
	suite.Packages = append(suite.Packages, debiantest.Package{Name: "libnew", Version: "1", Architecture: "amd64", Deb: deb("libnew")})
	suite.Packages[0] = debiantest.Package{Name: "make", Version: "4.4-1", Architecture: "amd64", Depends: "libnew", Deb: deb("make44")}
	suite.Packages[1].Version = "2.37-1"
	u.archive.Publish("bookworm", suite, u.key, now)
	u.mustUpdate()
	if want := "tools: removed libc6 2.36-9+deb12u2\ntools: added libnew 1\ntools: moved make 4.3-4.1 -> 4.4-1\n3 changes\n"; u.summary.String() != want {
		t.Errorf("summary\n%s\nwant\n%s", &u.summary, want)
	}
}

func TestARebuiltPackageOfTheSameVersionIsAChange(t *testing.T) {
	u := newUpdateTest(t)
	u.mustUpdate()
	suite := u.main()
	suite.Packages[0].Deb = deb("other")
	u.archive.Publish("bookworm", suite, u.key, now)
	u.mustUpdate()
	if want := "tools: changed make 4.3-4.1\n1 changes\n"; u.summary.String() != want {
		t.Errorf("summary %q, want %q", &u.summary, want)
	}
}

func TestUpdatingOneSetLeavesTheOthers(t *testing.T) {
	u := newUpdateTest(t)
	u.options.Only = []string{"source"}
	u.mustUpdate()
	u.load("source")
	if _, err := os.Stat(filepath.Join(u.dir, "tools.json")); err == nil {
		t.Error("the other set was written")
	}
	u.options.Only = []string{"nothing"}
	u.wantFailure(`set "nothing" is not in the request, which has [source tools]`)
}

func TestAnExpiredSuiteIsRefusedUnlessAllowed(t *testing.T) {
	u := newUpdateTest(t)
	u.options.Now = now.Add(2 * time.Hour)
	u.wantFailure("bookworm-backports/InRelease", "expired at 2026-11-21T13:00:00Z")
	u.options.AllowExpired = true
	u.mustUpdate()
}

func TestOnlySignedIndicesAreBelieved(t *testing.T) {
	release := "dists/bookworm/InRelease"
	path := "dists/bookworm/main/binary-amd64/Packages.xz"
	for name, row := range map[string]struct {
		spoil func(u *updateTest)
		want  string
	}{
		"another key": {func(u *updateTest) {
			u.archive.Publish("bookworm", u.main(), debiantest.NewKey(now.AddDate(-1, 0, 0)), now)
		}, "signature: "},
		"a key of the future": {func(u *updateTest) { u.options.Now = now.AddDate(-2, 0, 0) }, "signature: "},
		"a changed release": {func(u *updateTest) {
			u.archive.Put(release, bytes.Replace(u.archive.Get(release), []byte("Origin: Test"), []byte("Origin: Best"), 1))
		}, "signature: "},
		"no signature":        {func(u *updateTest) { u.archive.Put(release, []byte("Codename: bookworm\n")) }, "not a clear-signed file"},
		"bytes after it":      {func(u *updateTest) { u.archive.Put(release, append(u.archive.Get(release), "SHA256:\n"...)) }, "trailing bytes"},
		"an enormous release": {func(u *updateTest) { u.archive.Put(release, make([]byte, 9<<20)) }, "longer than"},
		"another suite's":     {func(u *updateTest) { u.archive.Put(release, u.archive.Get("dists/bookworm-backports/InRelease")) }, `is of suite "bookworm-backports"`},
		"no hashes":           {func(u *updateTest) { u.archive.Put(release, u.key.Sign([]byte("Codename: bookworm\n"), now)) }, "lists no files"},
		"malformed hashes": {func(u *updateTest) {
			u.archive.Put(release, u.key.Sign([]byte("Codename: bookworm\nSHA256:\n abc 1 x\n"), now))
		}, "malformed line"},
		"a malformed expiry": {func(u *updateTest) {
			u.archive.Put(release, u.key.Sign([]byte("Codename: bookworm\nValid-Until: soon\n"), now))
		}, "Valid-Until"},
		"a changed index":       {func(u *updateTest) { u.archive.Put(path, flip(u.archive.Get(path))) }, "sha256 is"},
		"a cut index":           {func(u *updateTest) { u.archive.Put(path, u.archive.Get(path)[:100]) }, "got 100 of"},
		"a missing index":       {func(u *updateTest) { u.archive.Put(path, nil) }, "got 0 of"},
		"an index not listed":   {func(u *updateTest) { u.archive.Put(release, u.unrelated()) }, "does not list main/binary-amd64/Packages.xz"},
		"a missing release":     {func(u *updateTest) { u.options.Mirrors[0].URL += "/elsewhere" }, "HTTP 404"},
		"no mirror":             {func(u *updateTest) { u.options.Mirrors = u.options.Mirrors[1:] }, "no mirror of debian is known"},
		"no keys":               {func(u *updateTest) { os.Remove(filepath.Join(u.dir, "keys", "test.asc")) }, "no archive keys"},
		"a broken key":          {func(u *updateTest) { u.write("keys/bad.asc", []byte("x")) }, "bad.asc"},
		"no request":            {func(u *updateTest) { os.Remove(filepath.Join(u.dir, debian.RequestFile)) }, debian.RequestFile},
		"no cache":              {func(u *updateTest) { u.options.Cache = nil }, "without a cache"},
		"a broken lock file":    {func(u *updateTest) { u.write("tools.json", []byte("{}")) }, "hint: remove it"},
		"a package of the pool": {func(u *updateTest) { u.archive.Put("pool/main/m/make/make_4.3-4.1_amd64.deb", deb("evil")) }, "no source has it"},
		"an odd package": {func(u *updateTest) {
			suite := u.main()
			suite.Packages[0].Depends = "libc6 (> 1)"
			u.archive.Publish("bookworm", suite, u.key, now)
		}, `package "make": malformed relation`},
		"a package of no architecture of ours": {func(u *updateTest) {
			suite := u.main()
			suite.Packages[0].Architecture = "i386"
			u.archive.Publish("bookworm", suite, u.key, now)
		}, `architecture "i386"`},
		"nothing that satisfies": {func(u *updateTest) {
			suite := u.main()
			suite.Packages[0].Depends = "absent"
			u.archive.Publish("bookworm", suite, u.key, now)
		}, "set tools: make 4.3-4.1 (bookworm) depends on absent, which nothing satisfies"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpdateTest(t)
			row.spoil(u)
			u.wantFailure(row.want)
		})
	}
}

func flip(data []byte) []byte {
	data = bytes.Clone(data)
	data[len(data)/2] ^= 1
	return data
}

// unrelated returns a well-signed release that lists something else.
func (u *updateTest) unrelated() []byte {
	return u.key.Sign([]byte("Codename: bookworm\nSHA256:\n "+strings.Repeat("0", 64)+" 1 main/x\n"), now)
}

func TestASecondMirrorMendsWhatTheFirstLacks(t *testing.T) {
	u := newUpdateTest(t)
	stale := &debiantest.Archive{}
	stale.Put("dists/bookworm/InRelease", u.archive.Get("dists/bookworm/InRelease"))
	u.options.Mirrors = append([]debian.Mirror{{Archive: debian.ArchiveMain, URL: serve(t, stale)}}, u.options.Mirrors...)
	u.mustUpdate()
}

func TestAnIndexIsAskedForByItsHashFirst(t *testing.T) {
	u := newUpdateTest(t)
	path := "dists/bookworm/main/binary-amd64/Packages.xz"
	index := u.archive.Get(path)
	u.archive.Put("dists/bookworm/main/binary-amd64/by-hash/SHA256/"+debiantest.SHA256(index), index)
	u.archive.Put(path, []byte("of the next update"))
	u.mustUpdate()
}

func TestOddRequestsAreRefused(t *testing.T) {
	set := func(s string) string { return `{"sets": {"tools": ` + s + `}}` }
	for name, row := range map[string]struct{ text, want string }{
		"not JSON":           {"x", "malformed JSON"},
		"no sets":            {`{"sets": {}}`, "no sets"},
		"unknown field":      {`{"sets": {}, "x": 1}`, `unknown field "x"`},
		"trailing bytes":     {set(`{}`) + "x", "trailing"},
		"a name with a path": {`{"sets": {"../x": {"suites": ["a"], "packages": ["bc"]}}}`, "not a set name"},
		"its own name":       {`{"sets": {"request": {"suites": ["a"], "packages": ["bc"]}}}`, "not a set name"},
		"no suites":          {set(`{"packages": ["bc"]}`), "want suites"},
		"no packages":        {set(`{"suites": ["bookworm"]}`), "want suites"},
		"an odd package":     {set(`{"suites": ["bookworm"], "packages": ["b c"]}`), `"b c"`},
		"an odd version":     {set(`{"suites": ["bookworm"], "packages": ["bc=x y"]}`), `"bc=x y"`},
		"no version":         {set(`{"suites": ["bookworm"], "packages": ["bc="]}`), `"bc="`},
		"no suite":           {set(`{"suites": ["bookworm"], "packages": ["bc/"]}`), `"bc/"`},
		"an odd source":      {set(`{"suites": ["bookworm"], "sources": [{"package": "", "files": "*"}]}`), `package ""`},
		"an odd pattern":     {set(`{"suites": ["bookworm"], "sources": [{"package": "qemu", "files": "["}]}`), "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, debian.RequestFile)
			if err := os.WriteFile(path, []byte(row.text), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := debian.LoadRequest(dir); err == nil || !strings.Contains(err.Error(), row.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one with %q and the path", err, row.want)
			}
		})
	}
}
