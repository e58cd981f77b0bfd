package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestTheListNamesEachTargetWithItsPackage(t *testing.T) {
	got := parseList("FuzzA\nFuzzB\nok  \texample/one\t0.01s\nok  \texample/none\t0.01s\n?   \texample/two\t[no test files]\nFuzzA\nok  \texample/three\t(cached)\n")
	if want := []target{{"example/one", "FuzzA"}, {"example/one", "FuzzB"}, {"example/three", "FuzzA"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAProfileTellsWhatWasReached(t *testing.T) {
	got := parseProfile("mode: set\na.go:1.2,3.4 2 1\na.go:5.6,7.8 1 0\nb.go:1.1,2.2 1 1\n")
	if want := []string{"a.go:1.2,3.4", "b.go:1.1,2.2"}; !slices.Equal(slices.Sorted(maps.Keys(got)), want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// stand is a program in place of a compiled test. Each input reaches the blocks that its lines name, and the
// seeds in code reach "seed".
const stand = `#!/bin/sh
profile=${2#-test.coverprofile=}
echo "mode: set" >"$profile"
case "$1" in
*/*) name=${1##*/^}; while read -r block; do echo "$block 1 1" >>"$profile"; done <"testdata/fuzz/FuzzA/${name%$}" ;;
*) echo "seed 1 1" >>"$profile"; cat testdata/fuzz/FuzzA/* 2>/dev/null | while read -r block; do echo "$block 1 1" >>"$profile"; done ;;
esac
`

func put(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func newCorpus(t *testing.T, found map[string]string) *corpus {
	t.Helper()
	temp := t.TempDir()
	c := &corpus{
		target: target{"example", "FuzzA"}, home: temp, dir: filepath.Join(temp, "testdata", "fuzz", "FuzzA"),
		found: filepath.Join(temp, "found"), program: filepath.Join(temp, "test"), profile: filepath.Join(temp, "profile"),
	}
	put(t, c.program, stand, 0o755)
	for name, content := range found {
		put(t, filepath.Join(c.found, name), content, 0o644)
	}
	return c
}

func names(t *testing.T, dir string) string {
	t.Helper()
	list, err := inputs(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, in := range list {
		got = append(got, in.name)
	}
	return strings.Join(got, " ")
}

func TestOnlyInputsThatReachSomethingNewAreKept(t *testing.T) {
	c := newCorpus(t, map[string]string{
		"again": "seed\n", "first": "one\n", "second": "one\ntwo\n", "same": "seed\none\ntwo\n", "large": strings.Repeat("big\n", maxInput),
	})
	kept, of, err := c.grow(t.Context(), 10)
	if err != nil || kept != 2 || of != 4 {
		t.Fatalf("got %d of %d, %v; want 2 of 4", kept, of, err)
	}
	if got := names(t, c.dir); got != "first second" {
		t.Errorf("got %q", got)
	}
	if kept, of, err := c.grow(t.Context(), 10); err != nil || kept != 0 || of != 2 {
		t.Errorf("once more: got %d of %d, %v", kept, of, err)
	}
}

func TestNoMoreInputsAreKeptThanWereAskedFor(t *testing.T) {
	c := newCorpus(t, map[string]string{"a": "one\n", "b": "two\n", "c": "three\n"})
	if kept, _, err := c.grow(t.Context(), 2); err != nil || kept != 2 {
		t.Errorf("got %d, %v", kept, err)
	}
}

func TestNothingIsLeftWhereNothingIsKept(t *testing.T) {
	c := newCorpus(t, map[string]string{"a": "seed\n"})
	if kept, of, err := c.grow(t.Context(), 2); err != nil || kept != 0 || of != 1 {
		t.Errorf("got %d of %d, %v", kept, of, err)
	}
	if _, err := os.Stat(c.dir); err == nil {
		t.Error("an empty directory is left")
	}
}

func TestAnInputThatFailsIsAnErrorAndIsTakenAway(t *testing.T) {
	c := newCorpus(t, map[string]string{"a": "one\n"})
	put(t, c.program, strings.Replace(stand, "*/*)", "*/*) exit 1;", 1), 0o755)
	if _, _, err := c.grow(t.Context(), 2); err == nil || !strings.Contains(err.Error(), `input "a"`) {
		t.Errorf("got %v", err)
	}
	if got := names(t, c.dir); got != "" {
		t.Errorf("%q is left", got)
	}
}

func TestWrongUsageRunsNothing(t *testing.T) {
	if err := run(context.Background(), []string{"-time", "soon"}, new(strings.Builder), new(strings.Builder)); err == nil {
		t.Error("accepted")
	}
}
