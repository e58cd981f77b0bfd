// Package eif writes, reads and measures enclave images in AWS's Enclave Image Format, version 4.
//
// An image is a header, a table of sections, and the sections: kernel, command line, metadata, ramdisks and perhaps
// a signature. The hypervisor loads kernel, command line and ramdisks, and measures:
//
//	PCR0  kernel, command line, every ramdisk
//	PCR1  kernel, command line, ramdisk 0: the platform
//	PCR2  the other ramdisks: the application
//	PCR8  the signing certificate, where there is one
//
// The contents are measured end to end without lengths between them, so bytes may move from one section to the next
// and leave PCR0 as it was: compare PCR0, PCR1 and PCR2 together. Header, metadata and signature are not measured.
//
// The format leaves freedom in the order of sections, in unused fields, in JSON and in CBOR. [Parse] grants none of
// it: one [Image] has one encoding, and every byte of an accepted file follows from the Image. So what a reader
// shows is all there is, and WriteTo gives back the bytes that Parse read. AWS's reader ignores the section tables
// and bytes at the end, and QEMU's ignores unused fields; everything accepted here measures the same in both.
//
// The format is described in the README of aws/aws-nitro-enclaves-image-format.
package eif

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Architecture is the instruction set an image boots on. The zero Architecture is invalid.
type Architecture uint8

// The two architectures of Nitro instances.
const (
	X86_64 Architecture = iota + 1
	AArch64
)

// String returns the architecture's name as uname spells it.
func (a Architecture) String() string {
	switch a {
	case X86_64:
		return "x86_64"
	case AArch64:
		return "aarch64"
	}
	return "invalid"
}

// Bounds of what an image may hold.
const (
	// MaxSize bounds a whole file. The kernel needs a ramdisk's memory twice over, so larger images fit no
	// sensible enclave.
	MaxSize = 1 << 30
	// maxCommandLine is COMMAND_LINE_SIZE of both architectures, less the NUL: the kernel cuts off the rest.
	maxCommandLine = 2048 - 1
	// maxMetadata is far above what nitro-cli writes, which holds the output of docker inspect.
	maxMetadata = 64 << 10
	// maxSignature is SIGNATURE_MAX_SIZE of AWS's library.
	maxSignature = 32768
)

// Image is what an EIF says. It is a description: two equal Images are the same file.
type Image struct {
	Architecture Architecture
	Kernel       []byte   // a bzImage on x86_64, an uncompressed Image on AArch64
	CommandLine  string   // printable ASCII, no NUL, at most 2047 bytes
	Ramdisks     [][]byte // 1 to 29 (28 with a signature), none empty: 0 is the platform, the others the application
	Metadata     Metadata
	Signature    *Signature // nil for an unsigned image
}

// FormatError says where an image breaks the format. Offset counts from the start of the file.
type FormatError struct {
	Offset int64
	Field  string
	Got    string
	Want   string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("enclave image at byte %d: %s is %s, want %s", e.Offset, e.Field, e.Got, e.Want)
}

// malformed makes a FormatError of values.
func malformed(offset int, field string, got, want any) error {
	return &FormatError{Offset: int64(offset), Field: field, Got: fmt.Sprint(got), Want: fmt.Sprint(want)}
}

// WriteTo writes the image's file. An Image that Parse would reject is an error, and nothing is written. Sections go
// out as they are, so no copy of the image is made.
func (img *Image) WriteTo(w io.Writer) (int64, error) {
	if err := img.checkKernel(); err != nil {
		return 0, err
	}
	return img.writeStructure(w)
}

// writeStructure is WriteTo for any kernel.
func (img *Image) writeStructure(w io.Writer) (int64, error) {
	flags, err := img.Architecture.flags()
	if err != nil {
		return 0, err
	}
	sections, err := img.sections()
	if err != nil {
		return 0, err
	}
	h := newHeader(flags, sections)
	var written int64
	for _, part := range append([][]byte{h[:]}, bodies(sections)...) {
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// flags returns the header flags that name the architecture.
func (a Architecture) flags() (uint16, error) {
	switch a {
	case X86_64:
		return 0, nil
	case AArch64:
		return flagAArch64, nil
	}
	return 0, errors.New("enclave image without an architecture: want x86_64 or aarch64")
}

// checksum is the CRC of a file with this header: every byte but the checksum's own.
func checksum(h *header, bodies ...[]byte) uint32 {
	sum := crc32.ChecksumIEEE(h[:checksumOffset])
	for _, body := range bodies {
		sum = crc32.Update(sum, crc32.IEEETable, body)
	}
	return sum
}
