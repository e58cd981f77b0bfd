package eif

import (
	"bytes"
	"fmt"

	"holdfast/image/cpio"
)

// Difference is the first place where two images part.
type Difference struct {
	Section string // as in an inspection, or "header"
	File    string // the path in a ramdisk, where both ramdisks are canonical archives
	Offset  int64  // the byte in the file, or in the section when File is empty; -1 when no byte is to blame
	First   string // what the first image has there
	Second  string // what the second image has there
}

func (d *Difference) String() string {
	place := d.Section
	if d.File != "" {
		place += ", file " + d.File
	}
	if d.Offset >= 0 {
		place += fmt.Sprintf(", byte %d", d.Offset)
	}
	return fmt.Sprintf("%s: %s in the first, %s in the second", place, d.First, d.Second)
}

// absent stands for a section or file that only the other image has.
const absent = "absent"

// Compare returns the first difference between two image files, or nil when they are the same. A file that is not an
// image is an error.
func Compare(first, second []byte) (*Difference, error) {
	a, err := Parse(first)
	if err != nil {
		return nil, fmt.Errorf("first image: %w", err)
	}
	b, err := Parse(second)
	if err != nil {
		return nil, fmt.Errorf("second image: %w", err)
	}
	if a.Architecture != b.Architecture {
		return &Difference{Section: "header", Offset: -1, First: a.Architecture.String(), Second: b.Architecture.String()}, nil
	}
	aSections, err := a.sections()
	if err != nil {
		return nil, err
	}
	bSections, err := b.sections()
	if err != nil {
		return nil, err
	}
	return compareSections(aSections, bSections), nil
}

// compareSections walks two lists in canonical order.
func compareSections(a, b []section) *Difference {
	aNames, bNames := names(a), names(b)
	for i := range max(len(a), len(b)) {
		switch {
		case i == len(b) || i < len(a) && a[i].kind != b[i].kind && a[i].kind == ramdiskSection:
			return &Difference{Section: aNames[i], Offset: -1, First: size(a[i].data), Second: absent}
		case i == len(a) || a[i].kind != b[i].kind:
			return &Difference{Section: bNames[i], Offset: -1, First: absent, Second: size(b[i].data)}
		}
		if d := compareContent(a[i], b[i]); d != nil {
			d.Section = aNames[i]
			return d
		}
	}
	return nil
}

// compareContent compares two sections of one kind.
func compareContent(a, b section) *Difference {
	if bytes.Equal(a.data, b.data) {
		return nil
	}
	if a.kind == ramdiskSection {
		aTree, aErr := cpio.Parse(a.data)
		bTree, bErr := cpio.Parse(b.data)
		if aErr == nil && bErr == nil {
			return compareTrees(aTree, bTree)
		}
	}
	return compareBytes(a.data, b.data)
}

// compareTrees walks two sorted trees.
func compareTrees(a, b []cpio.Entry) *Difference {
	for i := range max(len(a), len(b)) {
		switch {
		case i == len(b) || i < len(a) && a[i].Path < b[i].Path:
			return &Difference{File: a[i].Path, Offset: -1, First: describe(a[i]), Second: absent}
		case i == len(a) || a[i].Path > b[i].Path:
			return &Difference{File: b[i].Path, Offset: -1, First: absent, Second: describe(b[i])}
		case !a[i].Equal(b[i]):
			return compareEntries(a[i], b[i])
		}
	}
	return nil
}

// compareEntries compares two entries of one path.
func compareEntries(a, b cpio.Entry) *Difference {
	d := &Difference{Offset: -1, First: describe(a), Second: describe(b)}
	if a.Kind == b.Kind && a.Mode == b.Mode {
		d = compareBytes(a.Data, b.Data)
	}
	d.File = a.Path
	return d
}

func describe(e cpio.Entry) string {
	return fmt.Sprintf("%s %04o of %s", e.Kind, uint32(e.Mode), size(e.Data))
}

func size(data []byte) string { return fmt.Sprintf("%d bytes", len(data)) }

// compareBytes compares contents that differ.
func compareBytes(a, b []byte) *Difference {
	i := firstDifference(a, b)
	return &Difference{Offset: int64(i), First: excerpt(a, i), Second: excerpt(b, i)}
}
