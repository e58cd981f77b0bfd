package eif

import (
	"encoding/binary"
	"fmt"
)

// Parse reads an image from the bytes of its file. It rejects whatever WriteTo would not write: see the package
// comment. Errors are of type [*FormatError] and name the offset in the file. Kernel and ramdisks of the result
// share memory with data; no size that the file claims is allocated.
//
// The signature's structure is checked, the signature itself by [Image.VerifySignature].
func Parse(data []byte) (*Image, error) {
	img, err := parseStructure(data)
	if err != nil {
		return nil, err
	}
	if err := img.checkKernel(); err != nil {
		return nil, err
	}
	return img, nil
}

// parseStructure is Parse for any kernel.
func parseStructure(data []byte) (*Image, error) {
	if len(data) < headerSize {
		return nil, malformed(len(data), "size", len(data), fmt.Sprintf("at least the %d bytes of a header", headerSize))
	}
	if len(data) > MaxSize {
		return nil, malformed(MaxSize, "size", len(data), fmt.Sprintf("at most %d", MaxSize))
	}
	h := (*header)(data)
	if err := h.check(); err != nil {
		return nil, err
	}
	sections, err := split(h, data)
	if err != nil {
		return nil, err
	}
	got, want := binary.BigEndian.Uint32(h[checksumOffset:]), checksum(h, data[headerSize:])
	if got != want {
		return nil, malformed(checksumOffset, "checksum", fmt.Sprintf("%08x", got), fmt.Sprintf("%08x, the contents' own", want))
	}
	return assemble(h.architecture(), sections)
}

// split walks the sections and holds the tables to what the walk finds: no gap, no overlap, nothing behind.
func split(h *header, data []byte) ([]section, error) {
	sections := make([]section, h.uint16(countOffset))
	at := headerSize
	for i := range sections {
		if got := h.offset(i); got != uint64(at) {
			return nil, malformed(tableOffset+8*i, fmt.Sprintf("offset of section %d", i), got, at)
		}
		s, err := readSection(data, at, i, h.size(i))
		if err != nil {
			return nil, err
		}
		sections[i] = s
		at = s.dataOffset() + len(s.data)
	}
	if at != len(data) {
		return nil, malformed(at, "end", fmt.Sprintf("%d more bytes", len(data)-at), "nothing")
	}
	return sections, nil
}

// readSection reads the i-th section, whose header starts at offset at and whose size the table gives.
func readSection(data []byte, at, i int, size uint64) (section, error) {
	left := len(data) - at
	if left < sectionHeaderSize {
		return section{}, malformed(at, fmt.Sprintf("header of section %d", i), fmt.Sprintf("%d bytes", left), sectionHeaderSize)
	}
	raw := data[at : at+sectionHeaderSize]
	if got := binary.BigEndian.Uint16(raw[2:]); got != 0 {
		return section{}, malformed(at+2, fmt.Sprintf("flags of section %d", i), got, 0)
	}
	if got := binary.BigEndian.Uint64(raw[4:]); got != size {
		return section{}, malformed(at+4, fmt.Sprintf("size of section %d", i), got, fmt.Sprintf("%d as in the header's table", size))
	}
	if left -= sectionHeaderSize; size > uint64(left) {
		return section{}, malformed(at+4, fmt.Sprintf("size of section %d", i), size, fmt.Sprintf("at most the %d bytes left", left))
	}
	start, end := at+sectionHeaderSize, at+sectionHeaderSize+int(size)
	return section{kind: sectionType(binary.BigEndian.Uint16(raw)), offset: at, data: data[start:end:end]}, nil
}

// assemble makes an Image of sections in canonical order.
func assemble(a Architecture, sections []section) (*Image, error) {
	if err := checkSections(sections); err != nil {
		return nil, err
	}
	img := &Image{Architecture: a}
	for _, s := range sections {
		if err := img.add(s); err != nil {
			return nil, malformed(s.dataOffset(), s.kind.String(), fmt.Sprintf("malformed (%v)", err), "its one canonical form")
		}
	}
	return img, nil
}

// add takes over one section's content.
func (img *Image) add(s section) (err error) {
	switch s.kind {
	case kernelSection:
		img.Kernel = s.data
	case commandLineSection:
		img.CommandLine = string(s.data)
	case metadataSection:
		img.Metadata, err = parseMetadata(s.data)
	case ramdiskSection:
		img.Ramdisks = append(img.Ramdisks, s.data)
	case signatureSection:
		img.Signature, err = ParseSignature(s.data)
	}
	return err
}
