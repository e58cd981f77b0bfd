package cpio

import "slices"

// Marshal returns the canonical archive of a tree, whatever order its entries come in. Missing parents are added
// as directories of mode 0755. A path given twice, a parent that is not a directory, or an entry that breaks the
// rules on [Entry] is an error.
func Marshal(entries []Entry) ([]byte, error) {
	tree := withParents(entries)
	if err := validate(tree); err != nil {
		return nil, err
	}
	archive := make([]byte, 0, archiveSize(tree))
	for i, e := range tree {
		archive = appendHeader(archive, headerOf(e, i+1), e.Path)
		archive = appendAligned(archive, e.Data)
	}
	archive = appendHeader(archive, trailerHeader(), trailer)
	return appendZeros(archive, padding(len(archive), blockSize)), nil
}

// archiveSize returns the length of a tree's archive, so that it is allocated once.
func archiveSize(tree []Entry) int {
	size := alignedHeaderSize(trailer)
	for _, e := range tree {
		size += alignedHeaderSize(e.Path) + len(e.Data) + padding(len(e.Data), alignment)
	}
	return size + padding(size, blockSize)
}

func alignedHeaderSize(name string) int {
	size := headerSize + len(name) + 1
	return size + padding(size, alignment)
}

func appendHeader(archive []byte, h header, name string) []byte {
	archive = append(archive, magic...)
	for _, value := range h {
		archive = appendHex(archive, value)
	}
	archive = append(archive, name...)
	archive = append(archive, 0)
	return appendZeros(archive, padding(len(archive), alignment))
}

func appendHex(archive []byte, value uint32) []byte {
	const digits = "0123456789ABCDEF"
	for shift := 28; shift >= 0; shift -= 4 {
		archive = append(archive, digits[value>>shift&15])
	}
	return archive
}

func appendAligned(archive, data []byte) []byte {
	archive = append(archive, data...)
	return appendZeros(archive, padding(len(archive), alignment))
}

func appendZeros(archive []byte, n int) []byte {
	archive = slices.Grow(archive, n)
	clear(archive[len(archive) : len(archive)+n])
	return archive[:len(archive)+n]
}
