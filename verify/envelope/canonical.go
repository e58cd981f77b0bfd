package envelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Canonicalize returns the one encoding of a JSON value: RFC 8785, which for what a
// configuration holds means no white space between tokens, an object's fields in the
// order of their names, and no escape but where JSON demands one. What `jq -cjS`
// prints is the same.
//
// A configuration holds objects whose names are printable ASCII without quote and
// backslash, arrays, strings of valid Unicode, booleans and unsigned integers of 64
// bits, at most 32 levels deep; anything else is an error. Of a name that comes twice
// the last value counts, so the caller reads strictly first.
func Canonicalize(data []byte) ([]byte, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("want valid Unicode")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a float64 would round an epoch
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("want JSON: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("want nothing after the JSON value")
	}
	out, err := appendCanonical(make([]byte, 0, len(data)), value)
	if err == nil {
		err = checkCanonical(out)
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func appendCanonical(out []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return appendString(out, v), nil
	case json.Number:
		return appendNumber(out, string(v))
	case bool:
		return strconv.AppendBool(out, v), nil
	case []any:
		return appendArray(out, v)
	case map[string]any:
		return appendObject(out, v)
	}
	return nil, errors.New("want no null")
}

func appendNumber(out []byte, digits string) ([]byte, error) {
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		return nil, errors.New("want no number but unsigned integers of 64 bits")
	}
	return strconv.AppendUint(out, n, 10), nil
}

func appendArray(out []byte, elements []any) (_ []byte, err error) {
	out = append(out, '[')
	for i, element := range elements {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = appendCanonical(out, element); err != nil {
			return nil, err
		}
	}
	return append(out, ']'), nil
}

func appendObject(out []byte, fields map[string]any) (_ []byte, err error) {
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(fields)) {
		if !isFieldName(name) {
			return nil, errors.New("want names of printable ASCII")
		}
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, name), ':')
		if out, err = appendCanonical(out, fields[name]); err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// appendString writes a string as RFC 8785 section 3.2.2.2 says.
func appendString(out []byte, s string) []byte {
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\b':
			out = append(out, `\b`...)
		case '\f':
			out = append(out, `\f`...)
		case '\n':
			out = append(out, `\n`...)
		case '\r':
			out = append(out, `\r`...)
		case '\t':
			out = append(out, `\t`...)
		default:
			if c < ' ' {
				out = fmt.Appendf(out, `\u%04x`, c)
			} else {
				out = append(out, c)
			}
		}
	}
	return append(out, '"')
}
