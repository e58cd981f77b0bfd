package ssz

// Progressive types, of which Gloas makes use, have a tree that grows with its
// content: subtrees of 1, 4, 16 chunks and so on, each the left child of a spine
// that leans to the right (EIP-7916, as simple-serialize.md has it since
// consensus-specs pull request 4813).

// ProgressiveContainer is the root of a progressive container (EIP-7495) all of
// whose fields are active, given their roots in order. It overwrites fields, of
// which there are at most 64.
func ProgressiveContainer(fields ...Root) Root {
	active := Uint64(1<<len(fields) - 1)
	root := merkleizeProgressive(fields, 1)
	return hashPair(&root, &active)
}

// ProgressiveBitlist is the root of a progressive bitlist in its serialized form.
// The type has no limit; the one given bounds the work.
func ProgressiveBitlist(serialized []byte, limit uint64) (Root, error) {
	data, n, err := splitBitlist(serialized, limit)
	if err != nil {
		return Root{}, err
	}
	return mixInLength(merkleizeProgressive(pack(data), 1), n), nil
}

// ProgressiveList is the root of a progressive list of composite elements, given
// their roots. It overwrites elements.
func ProgressiveList(elements []Root) Root {
	n := uint64(len(elements))
	return mixInLength(merkleizeProgressive(elements, 1), n)
}

// ProgressiveBytes is the root of a progressive list of bytes.
func ProgressiveBytes(data []byte) Root {
	return mixInLength(merkleizeProgressive(pack(data), 1), uint64(len(data)))
}

func merkleizeProgressive(chunks []Root, leaves uint64) Root {
	if len(chunks) == 0 {
		return Root{}
	}
	n := min(leaves, uint64(len(chunks)))
	rest := merkleizeProgressive(chunks[n:], leaves*4)
	first := merkleize(chunks[:n], leaves)
	return hashPair(&first, &rest)
}
