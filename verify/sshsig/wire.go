package sshsig

import (
	"encoding/binary"
	"errors"
)

// A reader takes the fields of SSH's wire format (RFC 4251 section 5) off a
// buffer. After the first field that is not there it returns nothing more, and
// end says so.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) uint32() uint32 {
	b := r.take(4)
	if b == nil {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func (r *reader) string() []byte {
	n := r.uint32()
	if uint64(n) > uint64(len(r.rest)) {
		r.failed = true
		return nil
	}
	return r.take(int(n))
}

// end fails unless every field was there and nothing follows.
func (r *reader) end() error {
	switch {
	case r.failed:
		return errors.New("truncated")
	case len(r.rest) != 0:
		return errors.New("more bytes after the last field")
	}
	return nil
}

func appendString(out, s []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(s)))
	return append(out, s...)
}
