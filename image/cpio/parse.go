package cpio

import (
	"bytes"
	"fmt"
)

// FormatError says where an archive leaves the canonical form.
type FormatError struct {
	Offset int64  // bytes from the archive's start
	Field  string // what is there
	Got    string
	Want   string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("cpio archive at byte %d: %s is %s, want %s", e.Offset, e.Field, e.Got, e.Want)
}

// Parse returns the tree of a canonical archive, in order. Data shares memory with the archive, and sizes that the
// archive claims allocate nothing. Any other archive, however valid as newc, is an error: a [*FormatError] where
// one place is to blame.
func Parse(archive []byte) ([]Entry, error) {
	p := parser{archive: archive}
	var tree []Entry
	for {
		entry, end, err := p.entry(len(tree) + 1)
		if err != nil {
			return nil, err
		}
		if end {
			break
		}
		tree = append(tree, entry)
	}
	if err := p.end(); err != nil {
		return nil, err
	}
	if err := validate(tree); err != nil {
		return nil, err
	}
	return tree, nil
}

// parser walks an archive.
type parser struct {
	archive []byte
	at      int
}

func (p *parser) fail(offset int, field, got, want string) error {
	return &FormatError{Offset: int64(offset), Field: field, Got: got, Want: want}
}

// take returns the next n bytes.
func (p *parser) take(n uint64, what string) ([]byte, error) {
	if left := len(p.archive) - p.at; n > uint64(left) {
		return nil, p.fail(p.at, what, fmt.Sprintf("%d bytes", left), fmt.Sprintf("%d bytes", n))
	}
	taken := p.archive[p.at : p.at+int(n) : p.at+int(n)]
	p.at += int(n)
	return taken, nil
}

// zeros steps over padding to a multiple of to.
func (p *parser) zeros(to int, what string) error {
	start := p.at
	pad, err := p.take(uint64(padding(p.at, to)), what)
	if err != nil {
		return err
	}
	for i, b := range pad {
		if b != 0 {
			return p.fail(start+i, what, fmt.Sprintf("%#02x", b), "zero")
		}
	}
	return nil
}

// entry reads one entry; end reports that it was the trailer.
func (p *parser) entry(number int) (e Entry, end bool, err error) {
	start := p.at
	got, err := p.header()
	if err != nil {
		return Entry{}, false, err
	}
	if e.Path, err = p.name(start, got[nameSize]); err != nil {
		return Entry{}, false, err
	}
	if e.Path == trailer {
		return Entry{}, true, p.compare(start, got, trailerHeader())
	}
	if e.Kind, e.Mode = kindOf(got[mode]); e.Kind == 0 {
		return Entry{}, false, p.fail(fieldOffset(start, mode), "mode", fmt.Sprintf("%#o", got[mode]), "a directory, a file or a link")
	}
	if e.Data, err = p.take(uint64(got[fileSize]), "content of "+e.Path); err != nil {
		return Entry{}, false, err
	}
	if err := p.zeros(alignment, "padding"); err != nil {
		return Entry{}, false, err
	}
	return e, false, p.compare(start, got, headerOf(e, number))
}

// header reads the fixed part of an entry.
func (p *parser) header() (h header, err error) {
	start := p.at
	raw, err := p.take(uint64(headerSize), "header")
	if err != nil {
		return h, err
	}
	if !bytes.HasPrefix(raw, []byte(magic)) {
		return h, p.fail(start, "magic", fmt.Sprintf("%q", raw[:len(magic)]), magic)
	}
	for f := range fieldCount {
		digits := raw[len(magic)+int(f)*fieldSize:][:fieldSize]
		for _, digit := range digits {
			value, ok := hexValue(digit)
			if !ok {
				return h, p.fail(fieldOffset(start, f), fieldNames[f], fmt.Sprintf("%q", digits), "8 digits 0-9 A-F")
			}
			h[f] = h[f]<<4 | uint32(value)
		}
	}
	return h, nil
}

func hexValue(digit byte) (byte, bool) {
	switch {
	case '0' <= digit && digit <= '9':
		return digit - '0', true
	case 'A' <= digit && digit <= 'F':
		return digit - 'A' + 10, true
	}
	return 0, false
}

// name reads an entry's name of size bytes with its NUL, and its padding.
func (p *parser) name(start int, size uint32) (string, error) {
	if size < 2 || size > maxPath+1 {
		return "", p.fail(fieldOffset(start, nameSize), "namesize", fmt.Sprint(size), fmt.Sprintf("2 to %d", maxPath+1))
	}
	at := p.at
	raw, err := p.take(uint64(size), "name")
	if err != nil {
		return "", err
	}
	if nul := bytes.IndexByte(raw, 0); nul != len(raw)-1 {
		return "", p.fail(at, "name", fmt.Sprintf("%.64q", raw), "one nul, at its end")
	}
	return string(raw[:len(raw)-1]), p.zeros(alignment, "padding")
}

// compare holds a header to the only values it may have.
func (p *parser) compare(start int, got, want header) error {
	for f := range fieldCount {
		if got[f] != want[f] {
			return p.fail(fieldOffset(start, f), fieldNames[f], fmt.Sprintf("%#x", got[f]), fmt.Sprintf("%#x", want[f]))
		}
	}
	return nil
}

// end checks that nothing but the last block's padding follows the trailer.
func (p *parser) end() error {
	if err := p.zeros(blockSize, "end padding"); err != nil {
		return err
	}
	if left := len(p.archive) - p.at; left != 0 {
		return p.fail(p.at, "end", fmt.Sprintf("%d more bytes", left), "nothing")
	}
	return nil
}

func fieldOffset(start int, f field) int { return start + len(magic) + int(f)*fieldSize }
