package bundle

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

var errDocument = errors.New("want a string of valid Unicode")

// document reads a string with escapes, of at most limit bytes, into memory of its
// own.
func (r *reader) document(limit int) ([]byte, error) {
	literal, err := r.literal()
	if err != nil {
		return nil, err
	}
	text := make([]byte, 0, len(literal)) // escapes only get shorter
	for len(literal) > 0 {
		size := bytes.IndexByte(literal, '\\')
		if size < 0 {
			size = len(literal)
		}
		text = append(text, literal[:size]...)
		if literal = literal[size:]; len(literal) == 0 {
			break
		}
		c, size := unescape(literal)
		if size == 0 {
			clear(text)
			return nil, errDocument
		}
		text = utf8.AppendRune(text, c)
		literal = literal[size:]
	}
	switch {
	case len(text) > limit:
		err = fmt.Errorf("got %d bytes, want at most %d", len(text), limit)
	case !utf8.Valid(text):
		err = errDocument
	default:
		return text, nil
	}
	clear(text)
	return nil, err
}

// literal returns what stands between a string's quotes.
func (r *reader) literal() ([]byte, error) {
	if err := r.want('"'); err != nil {
		return nil, err
	}
	for i := r.at; i < len(r.data); i++ {
		switch c := r.data[i]; {
		case c == '"':
			literal := r.data[r.at:i]
			r.at = i + 1
			return literal, nil
		case c == '\\':
			i++
		case c < ' ':
			return nil, errDocument
		}
	}
	return nil, errDocument
}

// short holds the escapes of one letter (RFC 8259 section 7).
var short = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// unescape reads one escape and returns its character and size, or size 0.
func unescape(escape []byte) (rune, int) {
	if len(escape) < 2 {
		return 0, 0
	}
	if escape[1] != 'u' {
		if c, ok := short[escape[1]]; ok {
			return c, 2
		}
		return 0, 0
	}
	c, ok := unit(escape)
	switch {
	case !ok:
		return 0, 0
	case !utf16.IsSurrogate(c):
		return c, 6
	}
	low, ok := unit(escape[6:])
	if c = utf16.DecodeRune(c, low); !ok || c == utf8.RuneError {
		return 0, 0
	}
	return c, 12
}

// unit reads \u and four hexadecimal digits.
func unit(escape []byte) (rune, bool) {
	var value [2]byte
	if len(escape) < 6 || escape[0] != '\\' || escape[1] != 'u' {
		return 0, false
	}
	if _, err := hex.Decode(value[:], escape[2:6]); err != nil {
		return 0, false
	}
	return rune(value[0])<<8 | rune(value[1]), true
}
