package eif

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// sectionType numbers a section's content.
type sectionType uint16

const (
	kernelSection      sectionType = 1
	commandLineSection sectionType = 2
	ramdiskSection     sectionType = 3
	signatureSection   sectionType = 4
	metadataSection    sectionType = 5
)

// String returns the name used in messages and inspections.
func (t sectionType) String() string {
	switch t {
	case kernelSection:
		return "kernel"
	case commandLineSection:
		return "command line"
	case ramdiskSection:
		return "ramdisk"
	case signatureSection:
		return "signature"
	case metadataSection:
		return "metadata"
	}
	return fmt.Sprintf("unknown type %d", uint16(t))
}

const (
	// sectionHeaderSize: type, flags, size of the content.
	sectionHeaderSize = 12
	// maxSections is the length of the header's tables.
	maxSections = 32
)

// section is one section's content and where its header starts in the file.
type section struct {
	kind   sectionType
	offset int
	data   []byte
}

// dataOffset is where the content starts in the file.
func (s section) dataOffset() int { return s.offset + sectionHeaderSize }

// header returns the 12 bytes before the content.
func (s section) header() []byte {
	var h [sectionHeaderSize]byte
	binary.BigEndian.PutUint16(h[0:], uint16(s.kind))
	binary.BigEndian.PutUint64(h[4:], uint64(len(s.data)))
	return h[:]
}

// sections returns the image's sections in the canonical order, which is the order AWS's builder writes.
func (img *Image) sections() ([]section, error) {
	metadata, err := img.Metadata.marshal()
	if err != nil {
		return nil, err
	}
	sections := []section{
		{kind: kernelSection, data: img.Kernel},
		{kind: commandLineSection, data: []byte(img.CommandLine)},
		{kind: metadataSection, data: metadata},
	}
	for _, ramdisk := range img.Ramdisks {
		sections = append(sections, section{kind: ramdiskSection, data: ramdisk})
	}
	if img.Signature != nil {
		sections = append(sections, section{kind: signatureSection, data: img.Signature.raw})
	}
	place(sections)
	return sections, checkSections(sections)
}

// place lays sections end to end behind the header.
func place(sections []section) {
	offset := headerSize
	for i := range sections {
		sections[i].offset = offset
		offset = sections[i].dataOffset() + len(sections[i].data)
	}
}

// bodies returns what follows the file header, in pieces.
func bodies(sections []section) [][]byte {
	var pieces [][]byte
	for _, s := range sections {
		pieces = append(pieces, s.header(), s.data)
	}
	return pieces
}

// checkSections holds sections to the canonical order and to the rules that need no parsing.
func checkSections(sections []section) error {
	if err := checkOrder(sections); err != nil {
		return err
	}
	for _, s := range sections {
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

// checkOrder wants kernel, command line, metadata, at least one ramdisk, and at most one signature at the end.
func checkOrder(sections []section) error {
	fixed := []sectionType{kernelSection, commandLineSection, metadataSection, ramdiskSection}
	end := headerSize
	for i, s := range sections {
		want := []sectionType{ramdiskSection, signatureSection}
		if i < len(fixed) {
			want = fixed[i : i+1]
		} else if sections[i-1].kind == signatureSection {
			return malformed(s.offset, fmt.Sprintf("section %d", i), s.kind, "nothing after the signature")
		}
		if !slices.Contains(want, s.kind) {
			return malformed(s.offset, fmt.Sprintf("section %d", i), s.kind, join(want))
		}
		end = s.dataOffset() + len(s.data)
	}
	if len(sections) < len(fixed) {
		return malformed(end, "number of sections", len(sections), "a kernel, a command line, metadata and a ramdisk")
	}
	if n := len(sections); n > maxSections {
		return malformed(end, "number of sections", n, fmt.Sprintf("at most %d", maxSections))
	}
	if end > MaxSize {
		return malformed(MaxSize, "size", end, fmt.Sprintf("at most %d", MaxSize))
	}
	return nil
}

func join(kinds []sectionType) string {
	words := kinds[0].String()
	for _, k := range kinds[1:] {
		words += " or " + k.String()
	}
	return words
}

// check judges one section's content by its size and, for the command line, its characters.
func (s section) check() error {
	limit := MaxSize
	switch s.kind {
	case commandLineSection:
		limit = maxCommandLine
	case metadataSection:
		limit = maxMetadata
	case signatureSection:
		limit = maxSignature
	}
	if n := len(s.data); n == 0 || n > limit {
		return malformed(s.offset, s.kind.String()+" size", n, fmt.Sprintf("1 to %d", limit))
	}
	if s.kind != commandLineSection {
		return nil
	}
	for i, c := range s.data {
		if c < ' ' || c > '~' {
			return malformed(s.dataOffset()+i, "command line", fmt.Sprintf("%#02x", c), "printable ascii")
		}
	}
	return nil
}
