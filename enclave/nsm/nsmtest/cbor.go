package nsmtest

import "encoding/binary"

// A CBOR writer (RFC 8949) that gives each byte away: an encoder library would
// choose the order of keys, and could not be made to write what is not valid.

const (
	majorUint  = 0 << 5
	majorBytes = 2 << 5
	majorText  = 3 << 5
	majorArray = 4 << 5
	majorMap   = 5 << 5
)

// appendHead appends an initial byte and its argument in the shortest form.
func appendHead(out []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(out, major|byte(n))
	case n < 1<<8:
		return append(out, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(out, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(out, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(out, major|27), n)
}

func appendUint(out []byte, n uint64) []byte { return appendHead(out, majorUint, n) }

func appendBytes(out, value []byte) []byte {
	return append(appendHead(out, majorBytes, uint64(len(value))), value...)
}

// appendOptional appends null for nil.
func appendOptional(out, value []byte) []byte {
	if value == nil {
		return append(out, 0xf6)
	}
	return appendBytes(out, value)
}

func appendText(out []byte, value string) []byte {
	return append(appendHead(out, majorText, uint64(len(value))), value...)
}

func appendBool(out []byte, value bool) []byte {
	if value {
		return append(out, 0xf5)
	}
	return append(out, 0xf4)
}

func appendArray(out []byte, items ...[]byte) []byte {
	return appendAll(appendHead(out, majorArray, uint64(len(items))), items)
}

// appendMap appends a definite-length map of encoded keys and values in turn.
func appendMap(out []byte, pairs ...[]byte) []byte {
	return appendAll(appendHead(out, majorMap, uint64(len(pairs)/2)), pairs)
}

// appendIndefiniteMap appends the same map with a break at its end.
func appendIndefiniteMap(out []byte, pairs ...[]byte) []byte {
	return append(appendAll(append(out, majorMap|31), pairs), 0xff)
}

func appendAll(out []byte, items [][]byte) []byte {
	for _, item := range items {
		out = append(out, item...)
	}
	return out
}
