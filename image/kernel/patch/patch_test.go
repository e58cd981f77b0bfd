package patch_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/image/kernel/patch"
)

const song = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n"

const good = `Why this is done.

--- a/dir/song	2026-01-01
+++ b/dir/song	2026-01-01
@@ -1,3 +1,3 @@
 one
-two
+2
 three
@@ -8,3 +8,4 @@ heading
 eight
 nine
+nine and a half
 ten
`

// tree returns a directory that holds dir/song.
func tree(t *testing.T, content string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "dir", "song"), content)
	return root
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, root string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "dir", "song"))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestAPatchThatFitsIsApplied(t *testing.T) {
	root := tree(t, song)
	if err := patch.ApplyTree(root, []byte(good)); err != nil {
		t.Fatal(err)
	}
	want := "one\n2\nthree\nfour\nfive\nsix\nseven\neight\nnine\nnine and a half\nten\n"
	if got := read(t, root); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAPatchDoesNotApplyTwice(t *testing.T) {
	root := tree(t, song)
	if err := patch.ApplyTree(root, []byte(good)); err != nil {
		t.Fatal(err)
	}
	if err := patch.ApplyTree(root, []byte(good)); err == nil {
		t.Error("the second time was accepted")
	}
}

func TestAPatchThatDoesNotFitChangesNothing(t *testing.T) {
	for name, source := range map[string]string{
		"offset of one line":         "zero\n" + song,
		"context differs":            strings.Replace(song, "three", "3", 1),
		"later hunk's line differs":  strings.Replace(song, "nine", "9", 1),
		"white space differs":        strings.Replace(song, "two\n", "two \n", 1),
		"file too short":             "one\ntwo\nthree\n",
		"empty file":                 "",
		"last line lacks newline":    strings.TrimSuffix(song, "\n"),
		"line inserted between them": strings.Replace(song, "five\n", "five\n5.5\n", 1),
	} {
		t.Run(name, func(t *testing.T) {
			root := tree(t, source)
			if err := patch.ApplyTree(root, []byte(good)); err == nil {
				t.Fatal("accepted")
			}
			if got := read(t, root); got != source {
				t.Errorf("file became %q", got)
			}
		})
	}
}

func TestAllFilesFitOrNoneIsChanged(t *testing.T) {
	root := tree(t, song)
	both := good + "--- a/absent\n+++ b/absent\n@@ -1 +1 @@\n-a\n+b\n"
	if err := patch.ApplyTree(root, []byte(both)); err == nil {
		t.Fatal("a patch to an absent file was accepted")
	}
	if got := read(t, root); got != song {
		t.Errorf("the file that fits became %q", got)
	}
}

func TestMalformedPatchesAreRefused(t *testing.T) {
	for name, edit := range map[string][2]string{
		"no file":              {good, "prose\n"},
		"empty":                {good, ""},
		"wrong old count":      {"@@ -1,3 +1,3 @@", "@@ -1,4 +1,3 @@"},
		"wrong new count":      {"@@ -1,3 +1,3 @@", "@@ -1,3 +1,4 @@"},
		"count too small":      {"@@ -1,3 +1,3 @@", "@@ -1,2 +1,2 @@"},
		"wrong new start":      {"@@ -8,3 +8,4 @@", "@@ -8,3 +9,4 @@"},
		"line zero":            {"@@ -1,3 +1,3 @@", "@@ -0,3 +1,3 @@"},
		"huge number":          {"@@ -1,3 +1,3 @@", "@@ -1,99999999999999999999 +1,3 @@"},
		"hunks out of order":   {"@@ -8,3 +8,4 @@", "@@ -2,3 +8,4 @@"},
		"absolute path":        {"/dir/song", "//etc/passwd"},
		"path leaves the tree": {"/dir/song", "/../song"},
		"no prefix":            {"--- a/dir/song", "--- dir/song"},
		"renames":              {"+++ b/dir/song", "+++ b/dir/other"},
		"second header absent": {"+++ b/dir/song\t2026-01-01\n", ""},
		"empty line in a hunk": {" three\n", "\n"},
		"unknown mark":         {" three\n", "?three\n"},
		"changes nothing":      {"-two\n+2\n", " two\n"},
		"prose after a hunk":   {" ten\n", " ten\nprose\n"},
		"no old line":          {"@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n", "@@ -1,0 +1,1 @@\n+2\n"},
		"no final newline":     {" ten\n", " ten"},
		"no newline marker":    {" ten\n", " ten\n\\ No newline at end of file\n"},
		"same file twice":      {good, good + good[strings.Index(good, "---"):]},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.ReplaceAll(good, edit[0], edit[1])
			if bad == good {
				t.Fatal("the case edits nothing")
			}
			if err := patch.ApplyTree(tree(t, song), []byte(bad)); err == nil {
				t.Errorf("accepted:\n%s", bad)
			}
		})
	}
}

func TestAnOversizedPatchIsRefused(t *testing.T) {
	if _, err := patch.Parse(bytes.Repeat([]byte("x\n"), patch.MaxSize)); err == nil {
		t.Error("accepted")
	}
}

func TestALinkOutOfTheTreeIsNotFollowed(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "song")
	write(t, outside, song)
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "dir", "song")); err != nil {
		t.Fatal(err)
	}
	if err := patch.ApplyTree(root, []byte(good)); err == nil {
		t.Error("accepted")
	}
}

// format writes files as a patch again.
func format(files []patch.File) []byte {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "--- a/%s\n+++ b/%s\n", f.Path, f.Path)
		for _, h := range f.Hunks {
			fmt.Fprintf(&b, "@@ -%d,%d +%d,%d @@\n", h.OldStart, len(h.Old), h.NewStart, len(h.New))
			for _, l := range h.Old {
				b.WriteString("-" + l)
			}
			for _, l := range h.New {
				b.WriteString("+" + l)
			}
		}
	}
	return b.Bytes()
}

func FuzzAParsedPatchMeansWhatItSays(f *testing.F) {
	f.Add([]byte(good), []byte(song))
	f.Add([]byte("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"), []byte("a\n"))
	f.Add([]byte("--- a/x\n+++ b/x\n@@ -1,0 +1,2 @@\n+b\n+c\n"), []byte("a\n"))
	f.Fuzz(func(t *testing.T, data, source []byte) {
		files, err := patch.Parse(data)
		if err != nil {
			if files != nil {
				t.Error("files beside an error")
			}
			return
		}
		again, err := patch.Parse(format(files))
		if err != nil {
			t.Fatalf("formatted again: %v", err)
		}
		for i, file := range files {
			got, err := file.Apply(source)
			gotAgain, errAgain := again[i].Apply(source)
			if (err == nil) != (errAgain == nil) || !bytes.Equal(got, gotAgain) {
				t.Errorf("%q (%v) and, formatted again, %q (%v)", got, err, gotAgain, errAgain)
			}
		}
	})
}
