package cpio

import "io/fs"

const (
	magic = "070701" // newc, no checksums
	// fieldSize is the width of each header field: 32 bits in hexadecimal.
	fieldSize  = 8
	headerSize = len(magic) + int(fieldCount)*fieldSize
	// alignment of names and of file contents, counted from the archive's start.
	alignment = 4
	// blockSize is what a whole archive is padded to.
	blockSize = 512
)

// field numbers the header's fields in file order.
type field int

const (
	inode field = iota
	mode
	owner
	group
	links
	modified
	fileSize
	deviceMajor
	deviceMinor
	nodeMajor
	nodeMinor
	nameSize
	checksum
	fieldCount
)

var fieldNames = [fieldCount]string{
	"inode", "mode", "uid", "gid", "nlink", "mtime", "filesize",
	"devmajor", "devminor", "rdevmajor", "rdevminor", "namesize", "check",
}

// header holds the values of one entry's fields.
type header [fieldCount]uint32

// File type bits of st_mode (inode(7)).
const (
	typeMask      = 0o170000
	typeDirectory = 0o040000
	typeFile      = 0o100000
	typeSymlink   = 0o120000
)

// headerOf returns the one header that the number-th entry (from 1) can have.
func headerOf(e Entry, number int) header {
	h := header{
		inode:    uint32(number),
		mode:     uint32(e.Mode),
		links:    1, // the kernel takes more than one for hard links
		fileSize: uint32(len(e.Data)),
		nameSize: uint32(len(e.Path) + 1),
	}
	switch e.Kind {
	case Directory:
		h[mode] |= typeDirectory
		h[links] = 2
	case File:
		h[mode] |= typeFile
	case Symlink:
		h[mode] |= typeSymlink
	}
	return h
}

// trailerHeader is the header of the entry that ends every archive.
func trailerHeader() header {
	return header{links: 1, nameSize: uint32(len(trailer) + 1)}
}

// kindOf splits a mode field into its kind, zero when unknown, and the other bits.
func kindOf(bits uint32) (Kind, fs.FileMode) {
	rest := fs.FileMode(bits &^ typeMask)
	switch bits & typeMask {
	case typeDirectory:
		return Directory, rest
	case typeFile:
		return File, rest
	case typeSymlink:
		return Symlink, rest
	}
	return 0, rest
}

// padding returns how many zeros bring n to a multiple of to.
func padding(n, to int) int { return -n & (to - 1) }
