package debian

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// committed is the repository's own lock directory.
const committed = "../lock"

func TestTheCommittedLocksHoldWhatTheirRequestNames(t *testing.T) {
	request, err := LoadRequest(committed)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range request.Sets {
		s, err := LoadSet(filepath.Join(committed, name+".json"))
		if err != nil {
			t.Error(err)
			continue
		}
		packages, _ := want.pins()
		for _, p := range packages {
			i := slices.IndexFunc(s.Files, func(f File) bool { return f.Name == p.name })
			if i < 0 || p.version != "" && s.Files[i].Version != p.version {
				t.Errorf("set %s lacks %s (hint: run 'image lock update')", name, p)
			}
		}
		for _, f := range s.Files {
			if slices.Contains(want.Exclude, f.Name) {
				t.Errorf("set %s holds %s, which the request excludes", name, f)
			}
		}
		if want.Alone && len(s.Files) != len(packages) {
			t.Errorf("set %s holds %d files, want its %d packages alone", name, len(s.Files), len(packages))
		}
	}
}

func TestTheCommittedKeysAreThoseThatTheirReadmeLists(t *testing.T) {
	keys, err := loadKeys(filepath.Join(committed, KeysDirectory))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(committed, KeysDirectory, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		fingerprint := strings.ToUpper(hex.EncodeToString(k.PrimaryKey.Fingerprint))
		if !strings.Contains(strings.ReplaceAll(string(readme), " ", ""), fingerprint) {
			t.Errorf("the README does not list %s", fingerprint)
		}
		if k.PrivateKey != nil {
			t.Errorf("%s is a private key", fingerprint)
		}
	}
	if listed := strings.Count(string(readme), "\n| `debian-archive-"); listed != len(keys) {
		t.Errorf("the README lists %d keys, and there are %d", listed, len(keys))
	}
}
