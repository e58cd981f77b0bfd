package pcrs

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/semver"
)

const (
	// MaxSize bounds PCRS.md: a release of two architectures takes 2 KiB.
	MaxSize = 1 << 20

	// maxVersionLength bounds a release's name.
	maxVersionLength = 64

	// MaxImageSize bounds the published size of an EIF.
	MaxImageSize = 1 << 40
)

// A SyntaxError says which line of PCRS.md is wrong.
type SyntaxError struct {
	Line int // counted from 1
	Msg  string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("PCRS.md:%d: %s", e.Line, e.Msg) }

// Parse reads PCRS.md. Anything but the canonical form is an error that names
// the line: another preamble, an unknown or missing row, rows, architectures
// or releases out of order or twice, a zero measurement, upper-case digits,
// trailing spaces, carriage returns, a file without a release, a release
// without an image, and one image published both as active and as revoked.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxSize {
		return nil, &SyntaxError{1, fmt.Sprintf("got %d bytes, want at most %d", len(data), MaxSize)}
	}
	body, err := cutPreamble(data)
	if err != nil {
		return nil, err
	}
	p := &parser{lines: strings.Split(string(body), "\n"), line: strings.Count(preamble, "\n")}
	f, err := p.file()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(f.Bytes(), data) {
		return nil, &SyntaxError{1, "not in canonical form"}
	}
	return f, nil
}

// cutPreamble checks the encoding of the whole file and its fixed opening.
func cutPreamble(data []byte) ([]byte, error) {
	for i, line := range bytes.Split(data, []byte("\n")) {
		switch {
		case !utf8.Valid(line):
			return nil, &SyntaxError{i + 1, "not valid UTF-8"}
		case bytes.ContainsRune(line, '\r'):
			return nil, &SyntaxError{i + 1, "carriage return: lines end in a line feed alone"}
		case bytes.HasSuffix(line, []byte(" ")), bytes.HasSuffix(line, []byte("\t")):
			return nil, &SyntaxError{i + 1, "space at the end of the line"}
		}
	}
	for i, want := range strings.SplitAfter(preamble, "\n") {
		rest, ok := bytes.CutPrefix(data, []byte(want))
		if !ok {
			got, _, _ := bytes.Cut(data, []byte("\n"))
			return nil, &SyntaxError{i + 1, fmt.Sprintf("got %q, want %q", clip(string(got)), strings.TrimSuffix(want, "\n"))}
		}
		data = rest
	}
	return data, nil
}

// A parser walks the lines after the preamble.
type parser struct {
	lines []string // what remains; the last element is what follows the last line feed
	line  int      // number of the line taken last
}

// errorf makes an error about the line taken last.
func (p *parser) errorf(format string, args ...any) error {
	return &SyntaxError{p.line, fmt.Sprintf(format, args...)}
}

// atEnd tells whether every line was read.
func (p *parser) atEnd() bool { return len(p.lines) == 1 && p.lines[0] == "" }

func (p *parser) peek() string { return p.lines[0] }

// next takes one line, which must end in a line feed.
func (p *parser) next(want string) (string, error) {
	p.line++
	if p.atEnd() {
		return "", p.errorf("end of file, want %s", want)
	}
	if len(p.lines) == 1 {
		return "", p.errorf("got %q without a line feed, want %s", clip(p.lines[0]), want)
	}
	line := p.lines[0]
	p.lines = p.lines[1:]
	return line, nil
}

// expect takes a line that must be exactly want.
func (p *parser) expect(want string) error {
	got, err := p.next(strconv.Quote(want))
	if err == nil && got != want {
		err = p.errorf("got %q, want %q", clip(got), want)
	}
	return err
}

// value takes a line that must have the given prefix and suffix, and returns
// what stands between.
func (p *parser) value(prefix, suffix string) (string, error) {
	want := strconv.Quote(prefix + "…" + suffix)
	got, err := p.next(want)
	if err != nil {
		return "", err
	}
	inner, ok := strings.CutPrefix(got, prefix)
	if ok {
		inner, ok = strings.CutSuffix(inner, suffix)
	}
	if !ok {
		return "", p.errorf("got %q, want %s", clip(got), want)
	}
	return inner, nil
}

func (p *parser) file() (*File, error) {
	f := &File{}
	for len(f.Releases) == 0 || !p.atEnd() {
		r, err := p.release(f.Releases)
		if err != nil {
			return nil, err
		}
		f.Releases = append(f.Releases, r)
	}
	return f, nil
}

// release reads one release, which must be older than those before it.
func (p *parser) release(before []Release) (Release, error) {
	if err := p.expect(""); err != nil {
		return Release{}, err
	}
	version, err := p.version(before)
	heading := p.line
	if err != nil {
		return Release{}, err
	}
	r := Release{Version: version}
	if err := p.expect(""); err != nil {
		return Release{}, err
	}
	status, err := p.value("Status: ", "")
	if err != nil {
		return Release{}, err
	}
	if r.Status = Status(status); r.Status != Active && r.Status != Revoked {
		return Release{}, p.errorf("got status %q, want %q or %q", clip(status), Active, Revoked)
	}
	for len(r.Images) == 0 || p.moreImages() {
		img, err := p.image(r.Images)
		if err != nil {
			return Release{}, err
		}
		r.Images = append(r.Images, img)
	}
	if other, ok := contradiction(before, r); ok {
		return Release{}, &SyntaxError{heading, fmt.Sprintf("%s is %s but publishes the same measurements as %s, which is %s", r.Version, r.Status, other.Version, other.Status)}
	}
	return r, nil
}

// moreImages tells whether another architecture of the same release follows.
func (p *parser) moreImages() bool {
	return len(p.lines) > 1 && p.peek() == "" && strings.HasPrefix(p.lines[1], "### ")
}

func (p *parser) version(before []Release) (string, error) {
	version, err := p.value("## ", "")
	if err != nil {
		return "", err
	}
	if len(version) > maxVersionLength || !semver.IsValid(version) || semver.Canonical(version) != version {
		return "", p.errorf("got release %q, want a version such as v1.2.3", clip(version))
	}
	if len(before) == 0 {
		return version, nil
	}
	switch newer := before[len(before)-1].Version; semver.Compare(version, newer) {
	case 0:
		return "", p.errorf("release %s stands twice", version)
	case 1:
		return "", p.errorf("release %s stands after %s: newest first", version, newer)
	}
	return version, nil
}

// image reads one architecture, which must come later in the order of
// architectures than those before it.
func (p *parser) image(before []Image) (Image, error) {
	if err := p.expect(""); err != nil {
		return Image{}, err
	}
	arch, err := p.value("### ", "")
	if err != nil {
		return Image{}, err
	}
	img := Image{Architecture: Architecture(arch)}
	rank := slices.Index(architectures, img.Architecture)
	if rank < 0 {
		return Image{}, p.errorf("got architecture %q, want %q or %q", clip(arch), X8664, AArch64)
	}
	if len(before) > 0 && rank <= slices.Index(architectures, before[len(before)-1].Architecture) {
		return Image{}, p.errorf("architecture %s stands twice or out of order", arch)
	}
	for _, line := range []string{"", tableHeading, tableRule} {
		if err := p.expect(line); err != nil {
			return Image{}, err
		}
	}
	return img, p.rows(&img)
}

func (p *parser) rows(img *Image) error {
	if err := p.digestRow(rowEIF, img.EIF[:]); err != nil {
		return err
	}
	if err := p.sizeRow(&img.Size); err != nil {
		return err
	}
	for _, r := range []struct {
		name string
		pcr  *PCR
	}{{rowPCR0, &img.PCR0}, {rowPCR1, &img.PCR1}, {rowPCR2, &img.PCR2}} {
		if err := p.digestRow(r.name, r.pcr[:]); err != nil {
			return err
		}
	}
	if p.hasRow(rowPCR8) {
		if err := p.digestRow(rowPCR8, img.PCR8[:]); err != nil {
			return err
		}
	}
	if p.hasRow(rowVerify) {
		if err := p.digestRow(rowVerify, img.Verify[:]); err != nil {
			return err
		}
	}
	if p.hasRow(rowParentDisk) {
		img.Parent = &ParentImage{}
		return p.parentRows(img.Parent)
	}
	return nil
}

func (p *parser) parentRows(parent *ParentImage) error {
	if err := p.digestRow(rowParentDisk, parent.Disk[:]); err != nil {
		return err
	}
	if err := p.digestRow(rowParentPCR4, parent.PCR4[:]); err != nil {
		return err
	}
	if err := p.digestRow(rowParentPCR7, parent.PCR7[:]); err != nil {
		return err
	}
	// PCR12 stays zero unless something was added to the command line.
	return p.hexRow(rowParentPC12, parent.PCR12[:])
}

func (p *parser) hasRow(name string) bool { return strings.HasPrefix(p.peek(), "| "+name+" |") }

// digestRow reads a row whose value must not be all zero.
func (p *parser) digestRow(name string, out []byte) error {
	if err := p.hexRow(name, out); err != nil {
		return err
	}
	if bytes.Count(out, []byte{0}) == len(out) {
		return p.errorf("%s is zero: nothing was measured", name)
	}
	return nil
}

func (p *parser) hexRow(name string, out []byte) error {
	value, err := p.value("| "+name+" | `", "` |")
	if err != nil {
		return err
	}
	if err := parseHex(value, out); err != nil {
		return p.errorf("%s: %v", name, err)
	}
	return nil
}

func (p *parser) sizeRow(size *int64) error {
	value, err := p.value("| "+rowSize+" | `", "` |")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 1 || n > MaxImageSize || strconv.FormatInt(n, 10) != value {
		return p.errorf("%s: got %q, want a number of bytes from 1 to %d", rowSize, clip(value), int64(MaxImageSize))
	}
	*size = n
	return nil
}

// contradiction finds a release with another status that publishes the same
// measurements as r: one image cannot be both accepted and revoked.
func contradiction(before []Release, r Release) (Release, bool) {
	for _, other := range before {
		if other.Status == r.Status {
			continue
		}
		for _, a := range other.Images {
			for _, b := range r.Images {
				if a.measures(b.PCR0, b.PCR1, b.PCR2) {
					return other, true
				}
			}
		}
	}
	return Release{}, false
}
