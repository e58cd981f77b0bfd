package document

import (
	"fmt"
	"unicode/utf8"

	"holdfast/verify/report"
)

// The major types of RFC 8949 section 3.1.
const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
	majorOther = 7
)

const (
	initialNull  = 0xf6
	initialBreak = 0xff

	// infoIndefinite marks an item of indefinite length.
	infoIndefinite = 31

	// maxDepth bounds nesting: a document needs two levels, and unknown
	// fields are allowed as many again.
	maxDepth = 4

	// maxElements bounds the pairs of a map and the elements of an array.
	maxElements = 32
)

// A reader takes CBOR items off a buffer, one by one. It accepts definite
// lengths in their shortest form only, and copies nothing: what it returns
// aliases the buffer.
type reader struct {
	data []byte
	off  int

	// rule is what a malformed item breaks.
	rule report.Rule
}

// An Error says which rule a document breaks.
type Error struct {
	Rule     report.Rule
	Expected string
	Got      string
}

func (e *Error) Error() string {
	return fmt.Sprintf("attestation document: %s: got %s, want %s", e.Rule, e.Got, e.Expected)
}

func (r *reader) errorf(expected, got string, args ...any) error {
	return &Error{r.rule, expected, fmt.Sprintf(got, args...) + fmt.Sprintf(" at byte %d", r.off)}
}

func (r *reader) remaining() int { return len(r.data) - r.off }

// peek returns the next byte without taking it, and 0xff at the end.
func (r *reader) peek() byte {
	if r.remaining() == 0 {
		return initialBreak
	}
	return r.data[r.off]
}

// head takes the initial byte of an item and its argument.
func (r *reader) head(want string) (major byte, argument uint64, err error) {
	if r.remaining() == 0 {
		return 0, 0, r.errorf(want, "the end of the data")
	}
	initial := r.data[r.off]
	major, info := initial>>5, initial&31
	if info > 27 {
		return 0, 0, r.errorf(want+" of definite length", "initial byte %#02x", initial)
	}
	if info < 24 {
		r.off++
		return major, uint64(info), nil
	}
	size := 1 << (info - 24)
	if r.remaining() < 1+size {
		return 0, 0, r.errorf(want, "the end of the data within a head")
	}
	for _, b := range r.data[r.off+1 : r.off+1+size] {
		argument = argument<<8 | uint64(b)
	}
	if !shortest(info, argument) {
		return 0, 0, r.errorf("the shortest form", "%d in %d bytes", argument, size)
	}
	r.off += 1 + size
	return major, argument, nil
}

// shortest tells whether an argument needs as many bytes as it takes.
func shortest(info byte, argument uint64) bool {
	switch info {
	case 24:
		return argument >= 24
	case 25:
		return argument > 0xff
	case 26:
		return argument > 0xffff
	}
	return argument > 0xffffffff
}

// item takes a head that must have one major type.
func (r *reader) item(major byte, want string) (uint64, error) {
	start := r.off
	got, argument, err := r.head(want)
	if err == nil && got != major {
		r.off = start
		err = r.errorf(want, "an item of major type %d", got)
	}
	return argument, err
}

func (r *reader) uint() (uint64, error) { return r.item(majorUint, "an unsigned integer") }

func (r *reader) bytes() ([]byte, error) { return r.str(majorBytes, "a byte string") }

func (r *reader) text() (string, error) {
	s, err := r.str(majorText, "a text string")
	if err == nil && !utf8.Valid(s) {
		err = r.errorf("a text string in UTF-8", "other bytes")
	}
	return string(s), err
}

// str takes a string, whose length it compares with what is left.
func (r *reader) str(major byte, want string) ([]byte, error) {
	size, err := r.item(major, want)
	if err != nil {
		return nil, err
	}
	if size > uint64(r.remaining()) {
		return nil, r.errorf(want, "a length of %d with %d bytes left", size, r.remaining())
	}
	s := r.data[r.off : r.off+int(size)]
	r.off += int(size)
	return s, nil
}

// count takes the head of an array or map and bounds its elements.
func (r *reader) count(major byte, want string) (int, error) {
	n, err := r.item(major, want)
	if err != nil {
		return 0, err
	}
	if n > maxElements {
		r.rule = report.B4
		return 0, r.errorf(fmt.Sprintf("at most %d elements", maxElements), "%d", n)
	}
	return int(n), nil
}

// null takes a null if one comes next.
func (r *reader) null() bool {
	if r.peek() == initialNull {
		r.off++
		return true
	}
	return false
}

// skip takes one item of any accepted kind: the value of an unknown field.
func (r *reader) skip(depth int) error {
	if depth > maxDepth {
		r.rule = report.B3
		return r.errorf(fmt.Sprintf("nesting of at most %d", maxDepth), "more")
	}
	switch r.peek() >> 5 {
	case majorBytes:
		_, err := r.bytes()
		return err
	case majorText:
		_, err := r.text()
		return err
	case majorArray:
		return r.skipElements(majorArray, 1, depth)
	case majorMap:
		return r.skipElements(majorMap, 2, depth)
	case majorTag:
		return r.errorf("no tags", "initial byte %#02x", r.peek())
	case majorOther:
		if !r.null() {
			return r.errorf("no simple value but null", "initial byte %#02x", r.peek())
		}
		return nil
	}
	_, _, err := r.head("an item") // an integer
	return err
}

func (r *reader) skipElements(major byte, items, depth int) error {
	n, err := r.count(major, "an array or map")
	if err != nil {
		return err
	}
	for range n * items {
		if err := r.skip(depth + 1); err != nil {
			return err
		}
	}
	return nil
}
