package document

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"holdfast/verify/report"
)

// MaxInputSize bounds a document in any of the encodings of [Decode].
const MaxInputSize = 2*MaxSize + 2

// Decode returns a document's binary form (A2). The input is binary, base64
// (standard or URL alphabet, padded or not) or hexadecimal; its first byte
// tells which. A text form may end in one line feed.
func Decode(input []byte, r *report.Report) ([]byte, error) {
	raw, encoding, err := decode(input)
	if err != nil {
		e := &Error{report.A2, "binary, base64 or hexadecimal", err.Error()}
		r.Fail(e.Rule, e.Expected, e.Got)
		return nil, e
	}
	r.Pass(report.A2, "binary, base64 or hexadecimal", encoding)
	return raw, nil
}

func decode(input []byte) (raw []byte, encoding string, err error) {
	if len(input) == 0 || len(input) > MaxInputSize {
		return nil, "", fmt.Errorf("%d bytes of input", len(input))
	}
	text := bytes.TrimSuffix(input, []byte("\n"))
	switch first := input[0]; first {
	case 0x84, majorTag<<5 | 18:
		return input, "binary", nil
	case 'h', '0': // 0x84…, 0xd2…
		return decodeBase64(text)
	case '8', 'd': // 84…, d2…
		raw, err := hex.DecodeString(string(text))
		return raw, "hexadecimal", err
	default:
		return nil, "", fmt.Errorf("first byte %#02x", first)
	}
}

func decodeBase64(text []byte) (raw []byte, name string, err error) {
	// The decoder would skip line feeds.
	if bytes.ContainsAny(text, "\r\n") {
		return nil, "", fmt.Errorf("base64 in several lines")
	}
	encoding, name := base64.StdEncoding, "base64"
	if bytes.ContainsAny(text, "-_") {
		encoding, name = base64.URLEncoding, "base64url"
	}
	if !bytes.HasSuffix(text, []byte("=")) && len(text)%4 != 0 {
		encoding, name = encoding.WithPadding(base64.NoPadding), name+" without padding"
	}
	raw, err = encoding.Strict().DecodeString(string(text))
	return raw, name, err
}
