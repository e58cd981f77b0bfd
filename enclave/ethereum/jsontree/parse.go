// Package jsontree reads JSON from strangers into a small tree, within bounds.
//
// encoding/json is lenient where a signer must not be: it takes the last of two
// equal keys, replaces invalid text silently and nests ten thousand deep. Here a
// repeated field, invalid UTF-8, too deep nesting and too many values are errors.
// Fields that nobody asks for are ignored, as Web3Signer ignores them, and names are
// compared without case and underscores (signing_root, signingRoot), so an object
// that has one field in two spellings is refused, since it could mean two things.
package jsontree

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The bounds on a document. A full Altair block, the largest message that a
// client sends value by value, nests ten deep and has some 15,000 values; no
// consensus container has more than 20 fields.
const (
	maxDepth  = 32
	maxValues = 1 << 16
	maxFields = 64
)

type kind uint8

const (
	absent kind = iota
	null
	boolean
	number
	text
	list
	object
)

var kindNames = [...]string{"nothing", "null", "a boolean", "a number", "a string", "a list", "an object"}

func (k kind) String() string { return kindNames[k] }

// value is one node. Exactly one of its parts is used, by kind.
type value struct {
	kind   kind
	text   string // of a string, decoded; of a number, its literal
	items  []value
	fields []field
}

type field struct {
	name  string
	value value
}

// Parse reads one JSON document (RFC 8259) whose top is an object.
func Parse(data []byte) (Object, error) {
	if !utf8.Valid(data) {
		return Object{}, errors.New("body is not UTF-8")
	}
	p := &parser{data: string(data)}
	top, err := p.document()
	if err != nil {
		return Object{}, err
	}
	if top.kind != object {
		return Object{}, fmt.Errorf("body is %v, want an object", top.kind)
	}
	return Object{value: &top, failure: new(error)}, nil
}

type parser struct {
	data   string
	at     int
	depth  int
	values int
}

func (p *parser) document() (value, error) {
	v, err := p.value()
	if err != nil {
		return value{}, err
	}
	p.space()
	if p.at != len(p.data) {
		return value{}, p.errorf("data after the document")
	}
	return v, nil
}

func (p *parser) errorf(format string, args ...any) error {
	return fmt.Errorf("JSON at byte %d: %s", p.at, fmt.Sprintf(format, args...))
}

// unexpected says what stands where something else was wanted.
func (p *parser) unexpected(want string) error {
	if p.at >= len(p.data) {
		return p.errorf("ends early, want %s", want)
	}
	r, _ := utf8.DecodeRuneInString(p.data[p.at:])
	return p.errorf("got %q, want %s", r, want)
}

func (p *parser) space() {
	for p.at < len(p.data) && strings.IndexByte(" \t\r\n", p.data[p.at]) >= 0 {
		p.at++
	}
}

// take consumes c if it comes next.
func (p *parser) take(c byte) bool {
	if p.at < len(p.data) && p.data[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *parser) value() (value, error) {
	if p.values++; p.values > maxValues {
		return value{}, p.errorf("more than %d values", maxValues)
	}
	p.space()
	if p.at >= len(p.data) {
		return value{}, p.unexpected("a value")
	}
	switch c := p.data[p.at]; {
	case c == '{':
		return p.nested((*parser).object)
	case c == '[':
		return p.nested((*parser).list)
	case c == '"':
		s, err := p.string()
		return value{kind: text, text: s}, err
	case c == '-' || isDigit(c):
		return p.number()
	}
	return p.word()
}

func (p *parser) nested(read func(*parser) (value, error)) (value, error) {
	if p.depth++; p.depth > maxDepth {
		return value{}, p.errorf("nested more than %d deep", maxDepth)
	}
	p.at++
	v, err := read(p)
	p.depth--
	return v, err
}

func (p *parser) object() (value, error) {
	v := value{kind: object}
	for {
		p.space()
		if len(v.fields) == 0 && p.take('}') {
			return v, nil
		}
		f, err := p.field(&v)
		if err != nil {
			return value{}, err
		}
		v.fields = append(v.fields, f)
		p.space()
		if p.take('}') {
			return v, nil
		}
		if !p.take(',') {
			return value{}, p.unexpected("',' or '}'")
		}
	}
}

func (p *parser) field(of *value) (field, error) {
	if len(of.fields) == maxFields {
		return field{}, p.errorf("object has more than %d fields", maxFields)
	}
	if p.at >= len(p.data) || p.data[p.at] != '"' {
		return field{}, p.unexpected("a field name")
	}
	name, err := p.string()
	if err != nil {
		return field{}, err
	}
	for _, other := range of.fields {
		if sameName(other.name, name) {
			return field{}, p.errorf("field %s comes twice", quote(name))
		}
	}
	p.space()
	if !p.take(':') {
		return field{}, p.unexpected("':'")
	}
	v, err := p.value()
	return field{name, v}, err
}

func (p *parser) list() (value, error) {
	v := value{kind: list}
	for {
		p.space()
		if len(v.items) == 0 && p.take(']') {
			return v, nil
		}
		item, err := p.value()
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
		p.space()
		if p.take(']') {
			return v, nil
		}
		if !p.take(',') {
			return value{}, p.unexpected("',' or ']'")
		}
	}
}

// string reads a string literal. The text shares the body's memory, except in
// the rare case that it has escapes.
func (p *parser) string() (string, error) {
	start := p.at
	escaped := false
	for p.at++; p.at < len(p.data); p.at++ {
		switch c := p.data[p.at]; {
		case c == '"':
			p.at++
			if escaped {
				return p.unescape(p.data[start:p.at])
			}
			return p.data[start+1 : p.at-1], nil
		case c == '\\':
			escaped = true
			p.at++
		case c < ' ':
			return "", p.errorf("control character in a string")
		}
	}
	return "", p.errorf("string does not end")
}

func (p *parser) unescape(literal string) (string, error) {
	var s string
	if err := json.Unmarshal([]byte(literal), &s); err != nil {
		return "", p.errorf("bad escape in a string")
	}
	return s, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// number reads a number literal, and leaves what it means to whoever asks for it.
func (p *parser) number() (value, error) {
	start := p.at
	for p.at < len(p.data) && (isDigit(p.data[p.at]) || strings.IndexByte("+-.eE", p.data[p.at]) >= 0) {
		p.at++
	}
	literal := p.data[start:p.at]
	if !json.Valid([]byte(literal)) {
		return value{}, p.errorf("bad number %s", quote(literal))
	}
	return value{kind: number, text: literal}, nil
}

func (p *parser) word() (value, error) {
	for _, w := range []struct {
		text string
		kind kind
	}{{"null", null}, {"true", boolean}, {"false", boolean}} {
		if strings.HasPrefix(p.data[p.at:], w.text) {
			p.at += len(w.text)
			return value{kind: w.kind, text: w.text}, nil
		}
	}
	return value{}, p.unexpected("a value")
}

// sameName reports whether two field names differ in nothing but case and
// underscores: signing_root, signingRoot.
func sameName(a, b string) bool {
	i, j := 0, 0
	for {
		for i < len(a) && a[i] == '_' {
			i++
		}
		for j < len(b) && b[j] == '_' {
			j++
		}
		if i == len(a) || j == len(b) {
			return i == len(a) && j == len(b)
		}
		if lower(a[i]) != lower(b[j]) {
			return false
		}
		i++
		j++
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// quote renders input for an error message, cut to a readable length.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
