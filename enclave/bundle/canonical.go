package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// openConfiguration is the canonical form around the network of a file that has
// no configuration: any client may ask for ordinary duties with any key.
const openConfiguration = `{"clients":[{"any":true,"keys":"all","name":"any"}],"network":%s}`

// canonicalize returns the one encoding of a value that [Parse] accepted: RFC
// 8785, which for what a configuration holds means no white space between tokens,
// an object's fields in the order of their names, and no escape but where JSON
// demands one. What `jq -cjS .configuration` prints is the same.
func canonicalize(data []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // a float64 would round an epoch
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	return appendCanonical(nil, value)
}

func appendCanonical(out []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case string:
		return appendString(out, v), nil
	case json.Number:
		return append(out, v...), nil
	case bool:
		return fmt.Append(out, v), nil
	case []any:
		out = append(out, '[')
		for i, element := range v {
			if i > 0 {
				out = append(out, ',')
			}
			var err error
			if out, err = appendCanonical(out, element); err != nil {
				return nil, err
			}
		}
		return append(out, ']'), nil
	case map[string]any:
		out = append(out, '{')
		for i, name := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(appendString(out, name), ':')
			var err error
			if out, err = appendCanonical(out, v[name]); err != nil {
				return nil, err
			}
		}
		return append(out, '}'), nil
	}
	return nil, fmt.Errorf("got a value of type %T", value)
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
