package eif

import (
	"encoding/binary"
	"fmt"
)

// Layout of the file header; all integers are big-endian.
const (
	versionOffset    = 4
	flagsOffset      = 6
	memoryOffset     = 8
	processorsOffset = 16
	reservedOffset   = 24
	countOffset      = 26
	tableOffset      = 28                          // where each section's header starts
	sizesOffset      = tableOffset + 8*maxSections // each section's size without its header
	unusedOffset     = sizesOffset + 8*maxSections // four bytes
	checksumOffset   = unusedOffset + 4            // CRC-32 (IEEE)
	headerSize       = checksumOffset + 4          // 548
)

const (
	magic   = ".eif"
	version = 4
	// flagAArch64 is the only published flag. AWS's other tools already use others for kinds of enclave that
	// load more than these sections, so an unknown flag is never ignored.
	flagAArch64 = 1
	// defaultMemory and defaultProcessors are the constants of AWS's builder. Neither the hypervisor nor nitro-cli
	// reads them.
	defaultMemory     = 1 << 30
	defaultProcessors = 2
)

// header is the file header's bytes.
type header [headerSize]byte

// newHeader returns the header for placed sections, with its checksum.
func newHeader(flags uint16, sections []section) *header {
	var h header
	copy(h[:], magic)
	binary.BigEndian.PutUint16(h[versionOffset:], version)
	binary.BigEndian.PutUint16(h[flagsOffset:], flags)
	binary.BigEndian.PutUint64(h[memoryOffset:], defaultMemory)
	binary.BigEndian.PutUint64(h[processorsOffset:], defaultProcessors)
	binary.BigEndian.PutUint16(h[countOffset:], uint16(len(sections)))
	for i, s := range sections {
		binary.BigEndian.PutUint64(h[tableOffset+8*i:], uint64(s.offset))
		binary.BigEndian.PutUint64(h[sizesOffset+8*i:], uint64(len(s.data)))
	}
	binary.BigEndian.PutUint32(h[checksumOffset:], checksum(&h, bodies(sections)...))
	return &h
}

func (h *header) uint16(offset int) uint16 { return binary.BigEndian.Uint16(h[offset:]) }
func (h *header) uint64(offset int) uint64 { return binary.BigEndian.Uint64(h[offset:]) }

// offset and size return the i-th entries of the section tables.
func (h *header) offset(i int) uint64 { return h.uint64(tableOffset + 8*i) }
func (h *header) size(i int) uint64   { return h.uint64(sizesOffset + 8*i) }

func (h *header) architecture() Architecture {
	if h.uint16(flagsOffset)&flagAArch64 != 0 {
		return AArch64
	}
	return X86_64
}

// check holds every field but the section tables and the checksum to the values it may have.
func (h *header) check() error {
	if got := string(h[:len(magic)]); got != magic {
		return malformed(0, "magic", fmt.Sprintf("%q", got), fmt.Sprintf("%q", magic))
	}
	if got := h.uint16(versionOffset); got != version {
		return malformed(versionOffset, "version", got, version)
	}
	if got := h.uint16(flagsOffset); got&^flagAArch64 != 0 {
		return malformed(flagsOffset, "flags", fmt.Sprintf("%#04x", got), "no flag but 0x0001 (aarch64)")
	}
	if got := h.uint64(memoryOffset); got != defaultMemory {
		return malformed(memoryOffset, "default memory", got, defaultMemory)
	}
	if got := h.uint64(processorsOffset); got != defaultProcessors {
		return malformed(processorsOffset, "default processors", got, defaultProcessors)
	}
	if got := h.uint16(reservedOffset); got != 0 {
		return malformed(reservedOffset, "reserved field", got, 0)
	}
	if got := h.uint16(countOffset); got < 2 || got > maxSections {
		return malformed(countOffset, "number of sections", got, fmt.Sprintf("2 to %d", maxSections))
	}
	if got := binary.BigEndian.Uint32(h[unusedOffset:]); got != 0 {
		return malformed(unusedOffset, "unused field", got, 0)
	}
	return h.checkUnusedSlots()
}

// checkUnusedSlots wants zeros in the tables behind the last section.
func (h *header) checkUnusedSlots() error {
	for i := int(h.uint16(countOffset)); i < maxSections; i++ {
		if got := h.offset(i); got != 0 {
			return malformed(tableOffset+8*i, fmt.Sprintf("unused offset %d", i), got, 0)
		}
		if got := h.size(i); got != 0 {
			return malformed(sizesOffset+8*i, fmt.Sprintf("unused size %d", i), got, 0)
		}
	}
	return nil
}
