package eif

import (
	"errors"
	"fmt"
)

// cborType is a CBOR major type (RFC 8949 section 3.1).
type cborType byte

const (
	cborUint  cborType = 0
	cborBytes cborType = 2
	cborText  cborType = 3
	cborArray cborType = 4
	cborMap   cborType = 5
)

func (t cborType) String() string {
	switch t {
	case cborUint:
		return "integer"
	case cborBytes:
		return "byte string"
	case cborText:
		return "text"
	case cborArray:
		return "array"
	case cborMap:
		return "map"
	}
	return fmt.Sprintf("type %d", byte(t))
}

// cborReader reads the few shapes of a signature section: definite lengths, shortest heads. The first error stays,
// and everything read after it is empty.
type cborReader struct {
	data []byte
	at   int
	err  error
}

func (r *cborReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("at byte %d: "+format, append([]any{r.at}, args...)...)
	}
}

// head reads an item's head, which must be of type want, and returns its argument.
func (r *cborReader) head(want cborType, what string) uint64 {
	if r.err != nil {
		return 0
	}
	got, argument, size := decodeHead(r.data[r.at:])
	switch {
	case size == 0:
		r.fail("%s: want the shortest head of an item", what)
	case got != want:
		r.fail("%s: %s, want %s", what, got, want)
	default:
		r.at += size
		return argument
	}
	return 0
}

// decodeHead returns the head at the start of data; size 0 when there is none or it is not the shortest.
func decodeHead(data []byte) (t cborType, argument uint64, size int) {
	if len(data) == 0 {
		return 0, 0, 0
	}
	t, short := cborType(data[0]>>5), uint64(data[0]&31)
	if short < 24 {
		return t, short, 1
	}
	width := 1 << (short - 24)
	if short > 27 || len(data) < 1+width {
		return 0, 0, 0
	}
	for _, b := range data[1 : 1+width] {
		argument = argument<<8 | uint64(b)
	}
	if argument < 24 || width > 1 && argument>>(4*width) == 0 {
		return 0, 0, 0
	}
	return t, argument, 1 + width
}

// expect reads a head that must have the given argument.
func (r *cborReader) expect(t cborType, argument uint64, what string) {
	at := r.at
	if got := r.head(t, what); r.err == nil && got != argument {
		r.at = at
		r.fail("%s: %s of %d, want %d", what, t, got, argument)
	}
}

// text reads a text that must be want.
func (r *cborReader) text(want string) {
	if got := r.string(cborText, want); r.err == nil && string(got) != want {
		r.fail("key %q, want %q", got, want)
	}
}

// bytes reads a byte string.
func (r *cborReader) bytes(what string) []byte { return r.string(cborBytes, what) }

func (r *cborReader) string(t cborType, what string) []byte {
	n := r.head(t, what)
	if left := len(r.data) - r.at; n > uint64(left) {
		r.fail("%s: %d bytes, want at most the %d left", what, n, left)
	}
	if r.err != nil {
		return nil
	}
	start := r.at
	r.at += int(n)
	return r.data[start:r.at]
}

// integers reads bytes written as an array of integers.
func (r *cborReader) integers(what string) []byte {
	n := r.head(cborArray, what)
	if left := len(r.data) - r.at; n > uint64(left) {
		r.fail("%s: %d items, want at most the %d bytes left", what, n, left)
	}
	if r.err != nil {
		return nil
	}
	out := make([]byte, n)
	for i := range out {
		value := r.head(cborUint, what)
		if value > 255 {
			r.fail("%s: item %d is %d, want a byte", what, i, value)
		}
		out[i] = byte(value)
	}
	return out
}

// finish returns the first error, or one for what was left unread.
func (r *cborReader) finish() error {
	if r.err != nil {
		return r.err
	}
	if r.at != len(r.data) {
		return errors.New("data after its end")
	}
	return nil
}

// appendHead appends the shortest head of an argument below 256: what is signed has 129 bytes.
func appendHead(b []byte, t cborType, argument int) []byte {
	first := byte(t) << 5
	if argument < 24 {
		return append(b, first|byte(argument))
	}
	return append(b, first|24, byte(argument))
}

func appendText(b []byte, text string) []byte {
	return append(appendHead(b, cborText, len(text)), text...)
}

func appendBytes(b, data []byte) []byte {
	return append(appendHead(b, cborBytes, len(data)), data...)
}

func appendIntegers(b, data []byte) []byte {
	b = appendHead(b, cborArray, len(data))
	for _, value := range data {
		b = appendHead(b, cborUint, int(value))
	}
	return b
}
