package envelope

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and arrays stand in each other. A configuration
// needs five levels.
const maxDepth = 32

// checkCanonical reports whether data is what [Canonicalize] returns. It builds
// nothing, since an enclave reads what its parent likes to send.
func checkCanonical(data []byte) error {
	s := &scanner{data: data}
	if !utf8.Valid(data) || !s.value(0) || s.at != len(data) {
		return fmt.Errorf("want canonical JSON (RFC 8785) at byte %d", s.at)
	}
	return nil
}

// A scanner walks canonical JSON. Its methods report whether they found what they
// look for, and otherwise leave at near what is wrong.
type scanner struct {
	data []byte
	at   int
}

func (s *scanner) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

// take passes over text if that comes next.
func (s *scanner) take(text string) bool {
	if !bytes.HasPrefix(s.data[s.at:], []byte(text)) {
		return false
	}
	s.at += len(text)
	return true
}

func (s *scanner) value(depth int) bool {
	switch c := s.peek(); {
	case depth > maxDepth:
		return false
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.list("[", "]", func() bool { return s.value(depth + 1) })
	case c == '"':
		return s.text()
	case c >= '0' && c <= '9':
		return s.number()
	}
	return s.take("true") || s.take("false")
}

// list walks elements with commas between them.
func (s *scanner) list(open, end string, element func() bool) bool {
	if !s.take(open) {
		return false
	}
	if s.take(end) {
		return true
	}
	for element() {
		if s.take(end) {
			return true
		}
		if !s.take(",") {
			return false
		}
	}
	return false
}

// object walks fields whose names are ascending and distinct.
func (s *scanner) object(depth int) bool {
	var last []byte // with its quotes, so nil comes before every name
	return s.list("{", "}", func() bool {
		start := s.at
		if !s.text() {
			return false
		}
		name := s.data[start:s.at]
		if !isFieldName(string(name[1:len(name)-1])) || compareNames(last, name) >= 0 || !s.take(":") {
			return false
		}
		last = name
		return s.value(depth + 1)
	})
}

// compareNames compares quoted names, as if without their quotes.
func compareNames(a, b []byte) int {
	return bytes.Compare(bytes.TrimSuffix(a, []byte{'"'}), bytes.TrimSuffix(b, []byte{'"'}))
}

// isFieldName reports whether a name is one that nobody escapes or sorts otherwise:
// printable ASCII without quote and backslash.
func isFieldName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func (s *scanner) number() bool {
	start := s.at
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.at++
	}
	digits := string(s.data[start:s.at])
	n, err := strconv.ParseUint(digits, 10, 64)
	return err == nil && strconv.FormatUint(n, 10) == digits
}

// text walks a string in which only what must be escaped is.
func (s *scanner) text() bool {
	if !s.take(`"`) {
		return false
	}
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			s.at++
			return true
		case c == '\\':
			if !s.escape() {
				return false
			}
		case c < ' ':
			return false
		default:
			s.at++
		}
	}
	return false
}

// escape walks one escape: the one that [appendString] writes for its character.
func (s *scanner) escape() bool {
	for _, short := range []string{`\"`, `\\`, `\b`, `\f`, `\n`, `\r`, `\t`} {
		if s.take(short) {
			return true
		}
	}
	const size = len(`\u001f`)
	if len(s.data)-s.at < size {
		return false
	}
	literal := string(s.data[s.at : s.at+size])
	c, err := strconv.ParseUint(literal[2:], 16, 16)
	if err != nil || c >= ' ' || string(appendString(nil, string(rune(c)))) != `"`+literal+`"` {
		return false
	}
	s.at += size
	return true
}
