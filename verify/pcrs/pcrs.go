// Package pcrs reads and writes PCRS.md, the published measurements.
//
// PCRS.md is Markdown that a person can read on a web page, and it has one
// strict grammar that every tool shares: the builder that writes it, the
// verifier that compares a running enclave with it, and the generator of KMS
// key policies. [Parse] accepts exactly the bytes that [File.Bytes] writes, so
// nothing a reader sees can differ from what a tool reads.
//
//	# PCRS
//	                              the preamble, always the same words
//	## v1.2.3                     one section a release, newest first
//
//	Status: active                or revoked
//
//	### x86_64                    one section an architecture: x86_64, aarch64
//
//	| measurement | value |
//	|---|---|
//	| EIF SHA-384 | `96 hex` |
//	| EIF size | `bytes` |
//	| PCR0 | `96 hex` |
//	| PCR1 | `96 hex` |
//	| PCR2 | `96 hex` |
//	| PCR8 | `96 hex` |           only where the EIF is signed
//	| verify SHA-384 | `96 hex` | only where the program is published
//
// An architecture that has a parent image adds, all or none of them, the rows
// `parent image SHA-384`, `NitroTPM PCR4`, `NitroTPM PCR7` and `NitroTPM
// PCR12`.
//
// PCR0, PCR1 and PCR2 are compared together, never one by one: the sections of
// an image are measured without separators between them, so bytes could move
// from one to the next.
package pcrs

import (
	"crypto/subtle"
	"fmt"
	"slices"

	"golang.org/x/mod/semver"
)

// Namespace is that of the SSH signature over PCRS.md, in PCRS.md.sig.
const Namespace = "holdfast-pcrs"

// A Status says whether a release may still be used.
type Status string

// The two states of a release.
const (
	Active  Status = "active"
	Revoked Status = "revoked"
)

// An Architecture is that of an enclave image, by the kernel's name.
type Architecture string

// The two architectures of the EIF format.
const (
	X8664   Architecture = "x86_64"
	AArch64 Architecture = "aarch64"
)

// architectures is the order of a release's sections.
var architectures = []Architecture{X8664, AArch64}

// An Image is what one release publishes for one architecture.
type Image struct {
	Architecture Architecture

	// EIF is the SHA-384 of the whole file, and Size its length in bytes.
	EIF  Digest
	Size int64

	// PCR0, PCR1 and PCR2 measure the whole image, its kernel with command
	// line and first ramdisk, and the application's ramdisk.
	PCR0, PCR1, PCR2 PCR

	// PCR8 measures the signing certificate, and is zero for an EIF without
	// a signature.
	PCR8 PCR

	// Verify is the SHA-384 of the program verify for Linux on this
	// architecture, as the locked Go toolchain builds it from the release's
	// source. It is zero where the release does not publish it.
	Verify Digest

	// Parent is the parent instance's image, or nil where none is published.
	Parent *ParentImage
}

// A ParentImage is the raw disk of the parent instance, and the NitroTPM
// registers that an instance booted from it shows.
type ParentImage struct {
	Disk Digest
	PCR4 PCR // boot code: the unified kernel image
	PCR7 PCR // Secure Boot policy

	// PCR12 is zero when nothing was added to the measured command line.
	PCR12 PCR
}

// A Release is one published version.
type Release struct {
	Version string // semantic version with a leading v
	Status  Status
	Images  []Image // in the order x86_64, aarch64
}

// A File is PCRS.md. The zero value has no release: no document matches it,
// and [Parse] refuses what it writes.
type File struct {
	Releases []Release // newest first
}

// An Entry is one image together with the release that publishes it.
type Entry struct {
	Version string
	Status  Status
	Image   Image
}

// Entries returns every image of every release, newest release first.
func (f *File) Entries() []Entry {
	var entries []Entry
	for _, r := range f.Releases {
		for _, img := range r.Images {
			entries = append(entries, Entry{Version: r.Version, Status: r.Status, Image: img})
		}
	}
	return entries
}

// Current returns the newest active entry for an architecture.
func (f *File) Current(arch Architecture) (Entry, bool) {
	for _, e := range f.Entries() {
		if e.Status == Active && e.Image.Architecture == arch {
			return e, true
		}
	}
	return Entry{}, false
}

// Match returns the newest entry, active or revoked, all three of whose
// measurements equal the given ones. It compares every entry, in constant
// time, and never matches a zero measurement.
func (f *File) Match(pcr0, pcr1, pcr2 PCR) (Entry, bool) {
	if pcr0.IsZero() || pcr1.IsZero() || pcr2.IsZero() {
		return Entry{}, false
	}
	entries := f.Entries()
	found := -1
	for i, e := range slices.Backward(entries) {
		if e.Image.measures(pcr0, pcr1, pcr2) {
			found = i
		}
	}
	if found < 0 {
		return Entry{}, false
	}
	return entries[found], true
}

func (img Image) measures(pcr0, pcr1, pcr2 PCR) bool {
	equal := subtle.ConstantTimeCompare(img.PCR0[:], pcr0[:])
	equal &= subtle.ConstantTimeCompare(img.PCR1[:], pcr1[:])
	equal &= subtle.ConstantTimeCompare(img.PCR2[:], pcr2[:])
	return equal == 1
}

// WithImage returns a file in which version publishes img, in place of what it
// published for that architecture before. A version that is not there yet is
// added as active. The receiver, which may be nil or zero, is not changed. A
// revoked release cannot be changed, and a result that [Parse] would refuse is
// an error.
func (f *File) WithImage(version string, img Image) (*File, error) {
	next := &File{}
	if f != nil {
		next.Releases = slices.Clone(f.Releases)
	}
	i, found := slices.BinarySearchFunc(next.Releases, version, func(r Release, v string) int {
		return semver.Compare(v, r.Version)
	})
	if !found {
		next.Releases = slices.Insert(next.Releases, i, Release{Version: version, Status: Active})
	}
	if next.Releases[i].Status != Active {
		return nil, fmt.Errorf("release %s is %s: its measurements cannot change", version, next.Releases[i].Status)
	}
	next.Releases[i].Images = withImage(next.Releases[i].Images, img)
	if _, err := Parse(next.Bytes()); err != nil {
		return nil, fmt.Errorf("image of release %q: %w", version, err)
	}
	return next, nil
}

// withImage replaces or inserts img in the order of architectures.
func withImage(images []Image, img Image) []Image {
	images = slices.Clone(images)
	i, found := slices.BinarySearchFunc(images, img.Architecture, func(have Image, want Architecture) int {
		return slices.Index(architectures, have.Architecture) - slices.Index(architectures, want)
	})
	if found {
		images[i] = img
		return images
	}
	return slices.Insert(images, i, img)
}
