// Package patch applies unified diffs to a source tree, strictly.
//
// A patch to a pinned source either fits exactly or is wrong: the usual tools search for a place where
// a hunk might go (an offset) and ignore context that differs (fuzz), which on a changed source can put
// a hunk where nobody reviewed it. Here every hunk must stand at the line that its header names, with
// all of its context, and files are changed only when all hunks of all files fit. Only changes to
// existing text files are supported: no creation, deletion, renaming or change of mode.
package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A File is what a patch does to one file.
type File struct {
	Path  string // slash-separated, below the root of the tree
	Hunks []Hunk // in ascending order, not overlapping
}

// A Hunk replaces the lines Old, which start at line OldStart of the old file, by the lines New, which
// then start at NewStart of the new one. Lines count from 1 and end with their newline. Both include
// the context.
type Hunk struct {
	OldStart, NewStart int
	Old, New           []string
}

// MaxSize bounds a patch, in bytes. Ours are a few kilobytes.
const MaxSize = 1 << 20

// Parse reads a patch: prose, then for each file a pair of "--- a/path" and "+++ b/path" and its hunks.
// A line of prose must not start with "--- ".
func Parse(data []byte) ([]File, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("patch has %d bytes, want at most %d", len(data), MaxSize)
	}
	p := &parser{lines: strings.SplitAfter(string(data), "\n")}
	p.skipProse()
	var files []File
	for !p.done() {
		f, err := p.file()
		if err != nil {
			return nil, fmt.Errorf("patch line %d: %w", p.next+1, err)
		}
		if slices.ContainsFunc(files, func(g File) bool { return g.Path == f.Path }) {
			return nil, fmt.Errorf("patch changes %s twice", f.Path)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, errors.New("patch changes no file")
	}
	return files, nil
}

type parser struct {
	lines []string
	next  int
}

func (p *parser) done() bool {
	return p.next == len(p.lines) || p.next == len(p.lines)-1 && p.lines[p.next] == ""
}

func (p *parser) skipProse() {
	for !p.done() && !strings.HasPrefix(p.lines[p.next], "--- ") {
		p.next++
	}
}

func (p *parser) take() string {
	line := p.lines[p.next]
	p.next++
	return line
}

func (p *parser) file() (File, error) {
	old, err := p.name("--- a/")
	if err != nil {
		return File{}, err
	}
	renamed, err := p.name("+++ b/")
	if err != nil {
		return File{}, err
	}
	if old != renamed {
		return File{}, fmt.Errorf("patch renames %q to %q", old, renamed)
	}
	f := File{Path: old}
	for !p.done() && strings.HasPrefix(p.lines[p.next], "@@") {
		h, err := p.hunk()
		if err != nil {
			return File{}, err
		}
		f.Hunks = append(f.Hunks, h)
	}
	if len(f.Hunks) == 0 {
		return File{}, fmt.Errorf("no hunk for %s", f.Path)
	}
	return f, nil
}

func (p *parser) name(prefix string) (string, error) {
	if p.done() {
		return "", fmt.Errorf("patch ends where %q should stand", prefix)
	}
	name, ok := strings.CutPrefix(strings.TrimSuffix(p.take(), "\n"), prefix)
	name, _, _ = strings.Cut(name, "\t") // diff puts the time after a tab
	if !ok || !fs.ValidPath(name) || name == "." {
		return "", fmt.Errorf("want %s and a path", prefix)
	}
	return name, nil
}

// "@@ -start,count +start,count @@ heading"; a count of 1 may be left out.
var hunkHeader = regexp.MustCompile(`^@@ -([1-9][0-9]{0,6})(?:,([0-9]{1,6}))? \+([1-9][0-9]{0,6})(?:,([0-9]{1,6}))? @@`)

func (p *parser) hunk() (Hunk, error) {
	m := hunkHeader.FindStringSubmatch(p.take())
	if m == nil {
		return Hunk{}, errors.New("malformed hunk header")
	}
	h := Hunk{OldStart: number(m[1]), NewStart: number(m[3])}
	olds, news := number(m[2]), number(m[4])
	for len(h.Old) < olds || len(h.New) < news {
		if p.done() {
			return Hunk{}, fmt.Errorf("hunk has %d old and %d new lines, header says %d and %d", len(h.Old), len(h.New), olds, news)
		}
		if err := h.add(p.take()); err != nil {
			return Hunk{}, err
		}
	}
	if len(h.Old) != olds || len(h.New) != news {
		return Hunk{}, fmt.Errorf("hunk has %d old and %d new lines, header says %d and %d", len(h.Old), len(h.New), olds, news)
	}
	if len(h.Old) == 0 {
		return Hunk{}, errors.New("hunk has no old line, so nothing shows that it fits")
	}
	if slices.Equal(h.Old, h.New) {
		return Hunk{}, errors.New("hunk changes nothing")
	}
	return h, nil
}

func (h *Hunk) add(line string) error {
	if !strings.HasSuffix(line, "\n") {
		return errors.New("last line has no newline")
	}
	text := line[1:]
	switch line[0] {
	case ' ':
		h.Old, h.New = append(h.Old, text), append(h.New, text)
	case '-':
		h.Old = append(h.Old, text)
	case '+':
		h.New = append(h.New, text)
	default:
		return fmt.Errorf("line starts with %q, want a space, - or +", line[0])
	}
	return nil
}

// number reads what the header's expression has found to be a short row of digits; none means 1.
func number(digits string) int {
	if digits == "" {
		return 1
	}
	n, err := strconv.Atoi(digits)
	if err != nil {
		panic(err)
	}
	return n
}

// Apply returns the file's new content, given its old one. Every hunk must fit at its very line.
func (f File) Apply(old []byte) ([]byte, error) {
	lines := strings.SplitAfter(string(old), "\n")
	var out bytes.Buffer
	at, written := 0, 0 // lines of the old file consumed, lines of the new one written
	for i, h := range f.Hunks {
		start := h.OldStart - 1
		if start < at || start+len(h.Old) > len(lines) {
			return nil, fmt.Errorf("%s: hunk %d is for lines %d to %d, which overlap another hunk or are not there", f.Path, i+1, h.OldStart, start+len(h.Old))
		}
		write(&out, lines[at:start])
		if written += start - at; written != h.NewStart-1 {
			return nil, fmt.Errorf("%s: hunk %d would start at line %d of the new file, its header says %d", f.Path, i+1, written+1, h.NewStart)
		}
		for j, want := range h.Old {
			if got := lines[start+j]; got != want {
				return nil, fmt.Errorf("%s:%d: hunk %d does not fit: line is %q, want %q", f.Path, start+j+1, i+1, got, want)
			}
		}
		write(&out, h.New)
		at, written = start+len(h.Old), written+len(h.New)
	}
	write(&out, lines[at:])
	return out.Bytes(), nil
}

func write(out *bytes.Buffer, lines []string) {
	for _, l := range lines {
		out.WriteString(l)
	}
}

// ApplyTree applies a patch to the tree in dir. Nothing is changed unless all of the patch fits.
func ApplyTree(dir string, data []byte) error {
	files, err := Parse(data)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	changed := make([][]byte, len(files))
	for i, f := range files {
		old, err := root.ReadFile(path.Clean(f.Path))
		if err != nil {
			return err
		}
		if changed[i], err = f.Apply(old); err != nil {
			return err
		}
	}
	for i, f := range files {
		if err := root.WriteFile(f.Path, changed[i], 0o644); err != nil {
			return err
		}
	}
	return nil
}
