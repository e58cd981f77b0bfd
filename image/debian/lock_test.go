package debian_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/image/debian"
	"holdfast/image/debian/debiantest"
)

// lockedFile returns an entry for content that lies at a path of the main archive.
func lockedFile(name string, content []byte) debian.File {
	return debian.File{
		Name: name, Version: "1.0-1", Architecture: "amd64", Archive: debian.ArchiveMain,
		Path: "pool/main/" + name[:1] + "/" + name + "/" + name + "_1.0-1_amd64.deb",
		Size: int64(len(content)), SHA256: debiantest.SHA256(content), SHA1: strings.Repeat("a", 40),
	}
}

func twoFiles() debian.Set {
	return debian.Set{Name: "tools", Files: []debian.File{lockedFile("bc", []byte("bc")), lockedFile("make", []byte("make"))}}
}

func TestASavedSetLoadsAsItWas(t *testing.T) {
	dir := t.TempDir()
	s := twoFiles()
	s.Files[0], s.Files[1] = s.Files[1], s.Files[0] // Save sorts
	if err := s.Save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := debian.LoadSet(filepath.Join(dir, "tools.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := twoFiles()
	if got.Name != want.Name || !bytes.Equal(got.Encode(), want.Encode()) {
		t.Errorf("loaded %s\nwant %s", got.Encode(), want.Encode())
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("directory holds %v (%v), want the lock file alone", entries, err)
	}
}

func TestTheDigestIsOfTheContent(t *testing.T) {
	s, other := twoFiles(), twoFiles()
	if s.Digest() != other.Digest() || len(s.Digest()) != 64 {
		t.Errorf("digests of equal sets: %s and %s", s.Digest(), other.Digest())
	}
	other.Files[1].SHA256 = strings.Repeat("0", 64)
	if s.Digest() == other.Digest() {
		t.Error("a changed hash left the digest as it was")
	}
}

func TestAnOddSetIsNotSaved(t *testing.T) {
	dir := t.TempDir()
	if err := (debian.Set{Name: "empty"}).Save(dir); err == nil {
		t.Error("a set without files was saved")
	}
	s := twoFiles()
	s.Files[0].Path = "../x.deb"
	if err := s.Save(dir); err == nil {
		t.Error("a path out of the archive was saved")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("directory holds %v (%v), want nothing", entries, err)
	}
}

func TestOddLockFilesAreRefusedWithTheEntryNamed(t *testing.T) {
	good := string(twoFiles().Encode())
	hash := debiantest.SHA256([]byte("make"))
	edit := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("the good lock file has no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, row := range map[string]struct{ data, want string }{
		"empty file":           {"", "malformed JSON"},
		"not JSON":             {"files", "malformed JSON"},
		"no files":             {`{"files": []}`, "no files"},
		"null":                 {"null", "no files"},
		"unknown field":        {edit(`"name":"make"`, `"name":"make","licence":"x"`), `unknown field "licence"`},
		"unknown member":       {edit(`{"files"`, `{"version": 2, "files"`), `unknown field "version"`},
		"trailing bytes":       {good + "{}", "trailing bytes"},
		"trailing space":       {good + "\n", "canonical"},
		"duplicate member":     {edit(`"name":"make"`, `"name":"x","name":"make"`), "canonical"},
		"other case":           {edit(`"name":"make"`, `"Name":"make"`), "canonical"},
		"duplicate name":       {edit(`"name":"make"`, `"name":"bc"`), "entry 2 (bc): duplicate name"},
		"not sorted":           {edit(`"name":"make"`, `"name":"bash"`), "entry 2 (bash): not sorted"},
		"bad name":             {edit(`"name":"make"`, `"name":"Make it"`), "entry 2 (Make it): name"},
		"bad version":          {edit(`"version":"1.0-1"`, `"version":"one"`), `entry 1 (bc): version "one"`},
		"bad architecture":     {edit(`"amd64"`, `"i386"`), `architecture "i386"`},
		"unknown archive":      {edit(`"archive":"debian"`, `"archive":"ubuntu"`), `archive "ubuntu"`},
		"short hash":           {edit(hash, hash[1:]), "entry 2 (make): sha256"},
		"upper-case hash":      {edit(hash, strings.ToUpper(hash)), "entry 2 (make): sha256"},
		"bad SHA-1":            {edit(strings.Repeat("a", 40), strings.Repeat("g", 40)), "entry 1 (bc): sha1"},
		"no SHA-1":             {edit(strings.Repeat("a", 40), ""), "entry 1 (bc): sha1"},
		"absolute path":        {edit("pool/main/b/bc", "/pool/main/b/bc"), "entry 1 (bc): path"},
		"climbing path":        {edit("pool/main/b/bc", "pool/../../x"), "entry 1 (bc): path"},
		"path with a query":    {edit("pool/main/b/bc", "pool/main?x"), "entry 1 (bc): path"},
		"path with an escape":  {edit("pool/main/b/bc", "pool/%2e%2e/x"), "entry 1 (bc): path"},
		"path outside of pool": {edit("pool/main/b/bc", "dists/main/b/bc"), "entry 1 (bc): path"},
		"no size":              {edit(`"size":2`, `"size":0`), "entry 1 (bc): size 0"},
		"negative size":        {edit(`"size":2`, `"size":-2`), "entry 1 (bc): size -2"},
		"enormous size":        {edit(`"size":2`, `"size":2000000000`), "entry 1 (bc): size"},
		"huge file":            {strings.Repeat(" ", 5<<20), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tools.json")
			if err := os.WriteFile(path, []byte(row.data), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := debian.LoadSet(path)
			if err == nil {
				t.Fatal("loaded")
			}
			if msg := err.Error(); !strings.Contains(msg, row.want) || !strings.Contains(msg, path) || strings.Contains(msg, "\n") {
				t.Errorf("error %q, want one line that has %q and the path", msg, row.want)
			}
		})
	}
}

func TestAMissingLockFileIsNamed(t *testing.T) {
	if _, err := debian.LoadSet(filepath.Join(t.TempDir(), "none.json")); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("error %v, want one that names the file", err)
	}
}

func FuzzLoadSet(f *testing.F) {
	good := twoFiles().Encode()
	f.Add(good)
	f.Add(append(bytes.Clone(good), ' '))
	f.Add([]byte(`{"files": [{"name":"x"}]}`))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := debian.ParseSet("tools", data)
		if err == nil && !bytes.Equal(s.Encode(), data) {
			t.Errorf("accepted %q, which it would write as %q", data, s.Encode())
		}
		if err != nil && (s.Name != "" || s.Files != nil) {
			t.Errorf("an error and a set: %v", s)
		}
	})
}
