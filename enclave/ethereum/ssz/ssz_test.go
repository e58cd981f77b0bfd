package ssz_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/enclave/ethereum/ssz"
)

// The reference below follows simple-serialize.md word for word, recursively and
// without caring for speed: pad to a power of two, split in the middle, hash.

func reference(chunks []ssz.Root, limit uint64) ssz.Root {
	size := uint64(1)
	for size < limit {
		size *= 2
	}
	return subtree(chunks, size)
}

func subtree(chunks []ssz.Root, size uint64) ssz.Root {
	if size == 1 {
		if len(chunks) == 0 {
			return ssz.Root{}
		}
		return chunks[0]
	}
	middle := min(uint64(len(chunks)), size/2)
	left, right := subtree(chunks[:middle], size/2), subtree(chunks[middle:], size/2)
	return sha256.Sum256(append(left[:], right[:]...))
}

func referencePack(data []byte) []ssz.Root {
	var chunks []ssz.Root
	for len(data) > 0 {
		var chunk ssz.Root
		data = data[copy(chunk[:], data):]
		chunks = append(chunks, chunk)
	}
	return chunks
}

func referenceLength(root ssz.Root, n int) ssz.Root {
	var size [32]byte
	binary.LittleEndian.PutUint64(size[:], uint64(n))
	return sha256.Sum256(append(root[:], size[:]...))
}

// bitlist serializes bits as simple-serialize.md does: n+1 bits, the last one set.
func bitlist(bits []bool) (serialized, data []byte) {
	data = make([]byte, (len(bits)+7)/8)
	serialized = make([]byte, len(bits)/8+1)
	for i, bit := range bits {
		if bit {
			data[i/8] |= 1 << (i % 8)
			serialized[i/8] |= 1 << (i % 8)
		}
	}
	serialized[len(bits)/8] |= 1 << (len(bits) % 8)
	return serialized, data
}

func randomRoots(random *rand.Rand, n int) []ssz.Root {
	roots := make([]ssz.Root, n)
	for i := range roots {
		for j := range roots[i] {
			roots[i][j] = byte(random.Uint32())
		}
	}
	return roots
}

func TestRootsEqualTheSlowReference(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		n := random.IntN(70)
		limit := uint64(n + random.IntN(600))
		roots := randomRoots(random, n)
		clone := func() []ssz.Root { return append([]ssz.Root(nil), roots...) }

		if got, want := ssz.Container(clone()...), reference(roots, uint64(n)); got != want {
			t.Fatalf("container of %d: got %x, want %x", n, got, want)
		}
		if got, want := ssz.Vector(clone()), reference(roots, uint64(n)); got != want {
			t.Fatalf("vector of %d: got %x, want %x", n, got, want)
		}
		got, err := ssz.List(clone(), limit)
		if want := referenceLength(reference(roots, limit), n); err != nil || got != want {
			t.Fatalf("list of %d, limit %d: got %x, %v; want %x", n, limit, got, err, want)
		}
	}
}

func TestBytesEqualTheSlowReference(t *testing.T) {
	for n := range 200 {
		data := bytes.Repeat([]byte{byte(n) | 1}, n)
		chunks := referencePack(data)
		if got, want := ssz.Bytes(data), reference(chunks, uint64(len(chunks))); got != want {
			t.Errorf("%d bytes: got %x, want %x", n, got, want)
		}
	}
}

func TestBitlistsEqualTheSlowReference(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for n := range 700 {
		bits := make([]bool, n)
		for i := range bits {
			bits[i] = random.IntN(2) == 0
		}
		serialized, data := bitlist(bits)
		for _, limit := range []uint64{uint64(n), 2048, 131072} {
			got, err := ssz.Bitlist(serialized, limit)
			want := referenceLength(reference(referencePack(data), (limit+255)/256), n)
			if err != nil || got != want {
				t.Fatalf("%d bits, limit %d: got %x, %v; want %x", n, limit, got, err, want)
			}
		}
	}
}

// referenceProgressive is merkleize_progressive of simple-serialize.md.
func referenceProgressive(chunks []ssz.Root, leaves int) ssz.Root {
	if len(chunks) == 0 {
		return ssz.Root{}
	}
	n := min(leaves, len(chunks))
	a := reference(chunks[:n], uint64(leaves))
	b := referenceProgressive(chunks[n:], leaves*4)
	return sha256.Sum256(append(a[:], b[:]...))
}

func TestProgressiveTypesEqualTheSlowReference(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for n := range 65 {
		roots := randomRoots(random, n)
		inner := referenceProgressive(roots, 1)
		var active [32]byte
		for i := range n {
			active[i/8] |= 1 << (i % 8)
		}
		want := sha256.Sum256(append(inner[:], active[:]...))
		if got := ssz.ProgressiveContainer(append([]ssz.Root(nil), roots...)...); got != want {
			t.Errorf("container of %d: got %x, want %x", n, got, want)
		}
	}
	for _, n := range []int{0, 1, 7, 8, 9, 255, 256, 257, 1279, 1280, 1281, 5376, 5377, 131072} {
		bits := make([]bool, n)
		for i := range bits {
			bits[i] = i < n/2 && random.IntN(2) == 0 // the upper half is zero and must not be trimmed
		}
		serialized, data := bitlist(bits)
		got, err := ssz.ProgressiveBitlist(serialized, 131072)
		want := referenceLength(referenceProgressive(referencePack(data), 1), n)
		if err != nil || got != want {
			t.Errorf("%d bits: got %x, %v; want %x", n, got, err, want)
		}
	}
	if _, err := ssz.ProgressiveBitlist([]byte{0, 2}, 8); err == nil {
		t.Error("a progressive bitlist over its limit was taken")
	}
}

func TestUint64ListsEqualTheSlowReference(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for n := range 50 {
		values := make([]uint64, n)
		var data []byte
		for i := range values {
			values[i] = random.Uint64()
			data = binary.LittleEndian.AppendUint64(data, values[i])
		}
		got, err := ssz.Uint64List(values, 2048)
		if want := referenceLength(reference(referencePack(data), 512), n); err != nil || got != want {
			t.Fatalf("%d numbers: got %x, %v; want %x", n, got, err, want)
		}
	}
}

func TestKnownZeroHashes(t *testing.T) {
	// The first and second zero hashes of the deposit contract.
	for limit, want := range map[uint64]string{
		2: "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b",
		4: "db56114e00fdd4c1f85c892bf35ac9a89289aaecb1ebd0a96cde606a748b5d71",
	} {
		root := reference(nil, limit)
		if got := hex.EncodeToString(root[:]); got != want {
			t.Errorf("reference of %d zero chunks: got %s, want %s", limit, got, want)
		}
		if got, err := ssz.List(nil, limit); err != nil || got != referenceLength(root, 0) {
			t.Errorf("empty list, limit %d: got %x, %v", limit, got, err)
		}
	}
}

func TestMisshapenBitsAreRefused(t *testing.T) {
	for name, err := range map[string]error{
		"bitlist without bytes":     second(ssz.Bitlist(nil, 8)),
		"bitlist without marker":    second(ssz.Bitlist([]byte{1, 0}, 64)),
		"bitlist over its limit":    second(ssz.Bitlist([]byte{0, 2}, 8)),
		"bitvector too short":       second(ssz.Bitvector([]byte{1}, 9)),
		"bitvector too long":        second(ssz.Bitvector([]byte{1, 0}, 8)),
		"bitvector beyond its end":  second(ssz.Bitvector([]byte{0x10}, 4)),
		"list over its limit":       second(ssz.List(make([]ssz.Root, 3), 2)),
		"number list over its size": second(ssz.Uint64List(make([]uint64, 3), 2)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := ssz.Bitvector([]byte{0x0f}, 4); err != nil {
		t.Errorf("a full bitvector of 4: %v", err)
	}
	if _, err := ssz.Bitlist([]byte{0, 1}, 8); err != nil {
		t.Errorf("a bitlist at its limit: %v", err)
	}
}

func second(_ ssz.Root, err error) error { return err }

func FuzzBitlist(f *testing.F) {
	f.Add([]byte{0xff, 0x01}, uint64(2048))
	f.Add([]byte{0x00}, uint64(0))
	f.Fuzz(func(t *testing.T, serialized []byte, limit uint64) {
		limit %= 1 << 20
		before := bytes.Clone(serialized)
		root, err := ssz.Bitlist(serialized, limit)
		if !bytes.Equal(before, serialized) {
			t.Error("input was changed")
		}
		if (err != nil) != (root == ssz.Root{}) {
			t.Errorf("got root %x with error %v", root, err)
		}
	})
}

func TestByteListsAndBooleans(t *testing.T) {
	if ssz.Bool(true) != (ssz.Root{1}) || ssz.Bool(false) != (ssz.Root{}) {
		t.Error("a boolean is one byte")
	}
	// Of 33 bytes with room for 64: two chunks, then the length.
	data := bytes.Repeat([]byte{7}, 33)
	var chunks [64]byte
	copy(chunks[:], data)
	root, length := sha256.Sum256(chunks[:]), ssz.Uint64(33)
	want := sha256.Sum256(append(root[:], length[:]...))
	if got, err := ssz.ByteList(data, 64); err != nil || got != want {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	if _, err := ssz.ByteList(data, 32); err == nil {
		t.Error("a list over its limit was taken")
	}
}

// TestProgressiveListsAreASpineOfSubtrees spells EIP-7916's tree out for five
// elements: one, then four.
func TestProgressiveListsAreASpineOfSubtrees(t *testing.T) {
	hash := func(left, right ssz.Root) ssz.Root { return sha256.Sum256(append(left[:], right[:]...)) }
	e := []ssz.Root{{1}, {2}, {3}, {4}, {5}}
	four := hash(hash(e[1], e[2]), hash(e[3], e[4]))
	want := hash(hash(e[0], hash(four, ssz.Root{})), ssz.Uint64(5))
	if got := ssz.ProgressiveList(slices.Clone(e)); got != want {
		t.Errorf("got %x, want %x", got, want)
	}
	if got, want := ssz.ProgressiveList(nil), hash(ssz.Root{}, ssz.Root{}); got != want {
		t.Errorf("none: got %x, want %x", got, want)
	}
	if got, want := ssz.ProgressiveBytes([]byte{9}), hash(hash(ssz.Root{9}, ssz.Root{}), ssz.Uint64(1)); got != want {
		t.Errorf("a byte: got %x, want %x", got, want)
	}
}
