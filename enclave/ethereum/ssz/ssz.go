// Package ssz computes hash tree roots as consensus-specs ssz/simple-serialize.md
// defines them, for the few shapes that a signer hashes: basic values, byte
// vectors, bitlists, bitvectors, lists and containers.
//
// It only merkleizes. Decoding is not needed, because requests arrive as JSON;
// and there is no reflection, so a container's root is the list of its fields'
// roots, written out where the container is declared.
package ssz

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Root is a node of a Merkle tree: a chunk of data, or the hash of two nodes.
type Root = [32]byte

// maxDepth bounds every tree here: limits are below 2^40 chunks.
const maxDepth = 40

// zeroHashes holds the roots of all-zero subtrees by depth.
var zeroHashes = func() (hashes [maxDepth + 1]Root) {
	for i := range maxDepth {
		hashes[i+1] = hashPair(&hashes[i], &hashes[i])
	}
	return hashes
}()

func hashPair(left, right *Root) Root {
	var block [64]byte
	copy(block[:32], left[:])
	copy(block[32:], right[:])
	return sha256.Sum256(block[:])
}

// Uint64 is the root of a uint64.
func Uint64(v uint64) Root {
	var chunk Root
	binary.LittleEndian.PutUint64(chunk[:], v)
	return chunk
}

// Bool is the root of a boolean.
func Bool(v bool) Root {
	if v {
		return Root{1}
	}
	return Root{}
}

// Bytes is the root of a fixed-size byte vector.
func Bytes(b []byte) Root {
	chunks := pack(b)
	return merkleize(chunks, uint64(len(chunks)))
}

// Container is the root of a container, given its fields' roots in order. It
// overwrites fields.
func Container(fields ...Root) Root {
	return merkleize(fields, uint64(len(fields)))
}

// Vector is the root of a vector of composite elements, given their roots. It
// overwrites elements.
func Vector(elements []Root) Root {
	return merkleize(elements, uint64(len(elements)))
}

// List is the root of a list of composite elements, given their roots and the
// type's limit. It overwrites elements.
func List(elements []Root, limit uint64) (Root, error) {
	n := uint64(len(elements))
	if n > limit {
		return Root{}, fmt.Errorf("list has %d elements, limit %d", n, limit)
	}
	return mixInLength(merkleize(elements, limit), n), nil
}

// Uint64List is the root of a list of uint64, which packs four to a chunk.
func Uint64List(values []uint64, limit uint64) (Root, error) {
	if n := uint64(len(values)); n > limit {
		return Root{}, fmt.Errorf("list has %d elements, limit %d", n, limit)
	}
	data := make([]byte, 0, 8*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint64(data, v)
	}
	root := merkleize(pack(data), (limit*8+31)/32)
	return mixInLength(root, uint64(len(values))), nil
}

// ByteList is the root of a list of bytes with the type's limit.
func ByteList(data []byte, limit uint64) (Root, error) {
	n := uint64(len(data))
	if n > limit {
		return Root{}, fmt.Errorf("list has %d bytes, limit %d", n, limit)
	}
	return mixInLength(merkleize(pack(data), (limit+31)/32), n), nil
}

// Bitvector is the root of a bitvector of size bits in its serialized form. It
// refuses a wrong length and bits set beyond size.
func Bitvector(serialized []byte, size uint64) (Root, error) {
	if want := (size + 7) / 8; uint64(len(serialized)) != want {
		return Root{}, fmt.Errorf("bitvector of %d bits has %d bytes, want %d", size, len(serialized), want)
	}
	if rest := size % 8; rest != 0 && serialized[len(serialized)-1]>>rest != 0 {
		return Root{}, fmt.Errorf("bitvector of %d bits has bits set beyond its end", size)
	}
	return Bytes(serialized), nil
}

// Bitlist is the root of a bitlist in its serialized form, whose highest set bit
// marks the end.
func Bitlist(serialized []byte, limit uint64) (Root, error) {
	data, n, err := splitBitlist(serialized, limit)
	if err != nil {
		return Root{}, err
	}
	return mixInLength(merkleize(pack(data), (limit+255)/256), n), nil
}

// splitBitlist returns a bitlist's bits without the end marker, in as many bytes
// as they need, and their number.
func splitBitlist(serialized []byte, limit uint64) (data []byte, n uint64, err error) {
	if len(serialized) == 0 || serialized[len(serialized)-1] == 0 {
		return nil, 0, errors.New("bitlist has no end marker")
	}
	last := len(serialized) - 1
	marker := bits.Len8(serialized[last]) - 1
	n = uint64(8*last + marker)
	if n > limit {
		return nil, 0, fmt.Errorf("bitlist has %d bits, limit %d", n, limit)
	}
	data = append([]byte(nil), serialized...)
	data[last] &^= 1 << marker
	return data[:(n+7)/8], n, nil
}

func mixInLength(root Root, length uint64) Root {
	size := Uint64(length)
	return hashPair(&root, &size)
}

// pack splits data into chunks, the last one padded with zeros.
func pack(data []byte) []Root {
	chunks := make([]Root, (len(data)+31)/32)
	for i := range chunks {
		copy(chunks[i][:], data[32*i:])
	}
	return chunks
}

// merkleize hashes chunks, padded virtually with zero chunks to the next power of
// two of limit, level by level and in place. Callers keep len(chunks) <= limit.
func merkleize(chunks []Root, limit uint64) Root {
	depth := 0
	if limit > 1 {
		depth = bits.Len64(limit - 1)
	}
	if len(chunks) == 0 {
		return zeroHashes[depth]
	}
	for level := range depth {
		pairs := len(chunks) / 2
		for i := range pairs {
			chunks[i] = hashPair(&chunks[2*i], &chunks[2*i+1])
		}
		if len(chunks)%2 == 1 {
			chunks[pairs] = hashPair(&chunks[2*pairs], &zeroHashes[level])
			pairs++
		}
		chunks = chunks[:pairs]
	}
	return chunks[0]
}
