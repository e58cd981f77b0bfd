package bundle

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"holdfast/enclave/ethereum/bls"
)

// A reader walks JSON (RFC 8259) as far as a configuration uses it: objects, arrays,
// strings, unsigned integers and booleans. Strings have no escapes but where a
// file holds another, as PEM, which needs line breaks. The reader hands out slices
// of data where it can, and copies nothing that it does not hand out. encoding/json
// would copy every string, take fields in any case, and pass over a field that
// comes twice.
type reader struct {
	data []byte
	at   int
}

// A field is one that an object may have.
type field struct {
	name     string
	required bool
	read     func() error
}

var errString = errors.New("want a string of printable ASCII without escapes")

// skip passes over white space and returns the next byte, or 0 at the end.
func (r *reader) skip() byte {
	for ; r.at < len(r.data); r.at++ {
		switch c := r.data[r.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// take passes over one byte if it is the next.
func (r *reader) take(c byte) bool {
	if c == r.skip() && r.at < len(r.data) {
		r.at++
		return true
	}
	return false
}

func (r *reader) want(c byte) error {
	if !r.take(c) {
		return fmt.Errorf("want %q at byte %d", c, r.at)
	}
	return nil
}

// end demands that nothing follows.
func (r *reader) end() error {
	r.skip()
	if left := len(r.data) - r.at; left != 0 {
		return fmt.Errorf("got %d bytes after the end", left)
	}
	return nil
}

// object reads an object of these fields, each at most once, in any order.
func (r *reader) object(fields []field) error {
	seen := make([]bool, len(fields))
	err := r.list('{', '}', func() error {
		name, err := r.text()
		if err != nil {
			return err
		}
		i := indexOf(fields, name)
		if i < 0 {
			return fmt.Errorf("unknown field%s at byte %d", quotable(name), r.at)
		}
		if seen[i] {
			return fmt.Errorf("field %q comes twice", fields[i].name)
		}
		seen[i] = true
		if err := r.want(':'); err != nil {
			return err
		}
		if err := fields[i].read(); err != nil {
			return fmt.Errorf("%s: %w", fields[i].name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, f := range fields {
		if f.required && !seen[i] {
			return fmt.Errorf("field %q is missing", f.name)
		}
	}
	return nil
}

func indexOf(fields []field, name []byte) int {
	for i, f := range fields {
		if f.name == string(name) {
			return i
		}
	}
	return -1
}

// quotable returns a name for a message if it looks like one. What stands where
// a name should may be anything, of any length.
func quotable(name []byte) string {
	if len(name) == 0 || len(name) > maxNameSize || bytes.ContainsFunc(name, func(c rune) bool { return (c < 'a' || c > 'z') && c != '_' }) {
		return ""
	}
	return fmt.Sprintf(" %q", name)
}

// array reads an array of at most limit elements.
func (r *reader) array(limit int, read func() error) error {
	n := 0
	return r.list('[', ']', func() error {
		if n++; n > limit {
			return fmt.Errorf("got more than %d", limit)
		}
		if err := read(); err != nil {
			return fmt.Errorf("number %d: %w", n, err)
		}
		return nil
	})
}

// list reads elements with commas between them.
func (r *reader) list(open, end byte, read func() error) error {
	if err := r.want(open); err != nil {
		return err
	}
	if r.take(end) {
		return nil
	}
	for {
		if err := read(); err != nil {
			return err
		}
		if r.take(end) {
			return nil
		}
		if err := r.want(','); err != nil {
			return err
		}
	}
}

// text reads a string and returns its bytes, a slice of data.
func (r *reader) text() ([]byte, error) {
	if err := r.want('"'); err != nil {
		return nil, err
	}
	size := bytes.IndexByte(r.data[r.at:], '"')
	if size < 0 {
		return nil, errString
	}
	text := r.data[r.at : r.at+size]
	for _, c := range text {
		if c < ' ' || c > '~' || c == '\\' {
			return nil, errString
		}
	}
	r.at += size + 1
	return text, nil
}

// number reads an unsigned integer of 64 bits without a sign, fraction,
// exponent or leading zero.
func (r *reader) number() (uint64, error) {
	r.skip()
	start, n := r.at, uint64(0)
	for ; r.at < len(r.data); r.at++ {
		digit := uint64(r.data[r.at] - '0')
		if digit > 9 {
			break
		}
		if n > (math.MaxUint64-digit)/10 {
			return 0, fmt.Errorf("want at most %d", uint64(math.MaxUint64))
		}
		n = n*10 + digit
	}
	if size := r.at - start; size == 0 || (size > 1 && r.data[start] == '0') {
		return 0, errors.New("want an unsigned integer")
	}
	return n, nil
}

// hex reads 0x and two lower-case digits for each byte of out.
func (r *reader) hex(out []byte) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	digits, ok := bytes.CutPrefix(text, []byte("0x"))
	if !ok || len(digits) != hex.EncodedLen(len(out)) || bytes.ContainsAny(digits, "ABCDEF") {
		return errHex(len(out))
	}
	if _, err := hex.Decode(out, digits); err != nil {
		return errHex(len(out)) // not err, which quotes a character
	}
	return nil
}

// publicKey reads a validator's public key.
func (r *reader) publicKey(out *bls.PublicKey) error { return r.hex(out[:]) }

// boolean reads true or false.
func (r *reader) boolean(out *bool) error {
	r.skip()
	for _, word := range []string{"true", "false"} {
		if bytes.HasPrefix(r.data[r.at:], []byte(word)) {
			r.at += len(word)
			*out = word == "true"
			return nil
		}
	}
	return fmt.Errorf("want true or false at byte %d", r.at)
}

// peek reports whether c is the next byte.
func (r *reader) peek(c byte) bool { return r.skip() == c && r.at < len(r.data) }

func errHex(size int) error {
	return fmt.Errorf("want 0x and %d lower-case hexadecimal digits", hex.EncodedLen(size))
}
