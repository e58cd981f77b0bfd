package pcrs

import (
	"fmt"
	"slices"
)

// Succession returns what newer does to older that PCRS.md must never suffer:
// of a frozen release, everything but the change from active to revoked. A
// release is frozen if another stands above it, or if frozen says so, which is
// told its version. An empty result means that nothing published was changed.
func Succession(older, newer *File, frozen func(version string) bool) []string {
	var wrong []string
	for i, was := range older.Releases {
		if i == 0 && !frozen(was.Version) {
			continue
		}
		wrong = append(wrong, succeed(was, newer.find(was.Version))...)
	}
	return wrong
}

// find returns a release, or nil.
func (f *File) find(version string) *Release {
	for i := range f.Releases {
		if f.Releases[i].Version == version {
			return &f.Releases[i]
		}
	}
	return nil
}

func succeed(was Release, is *Release) []string {
	if is == nil {
		return []string{fmt.Sprintf("release %s has vanished", was.Version)}
	}
	var wrong []string
	if was.Status != is.Status && was.Status != Active {
		wrong = append(wrong, fmt.Sprintf("release %s was %s and is %s", was.Version, was.Status, is.Status))
	}
	for _, arch := range architectures {
		a, b := was.image(arch), is.image(arch)
		switch {
		case a == nil && b != nil:
			wrong = append(wrong, fmt.Sprintf("release %s has got an image for %s", was.Version, arch))
		case a != nil && b == nil:
			wrong = append(wrong, fmt.Sprintf("release %s has lost its image for %s", was.Version, arch))
		case a != nil:
			for _, part := range a.Compare(*b) {
				wrong = append(wrong, fmt.Sprintf("release %s for %s: %s was %s and is %s", was.Version, arch, part.Name, part.Was, part.Is))
			}
		}
	}
	return wrong
}

func (r Release) image(arch Architecture) *Image {
	i := slices.IndexFunc(r.Images, func(img Image) bool { return img.Architecture == arch })
	if i < 0 {
		return nil
	}
	return &r.Images[i]
}

// A Part is one row of an image, by the name that PCRS.md gives it. A part that
// the image does not have is "none".
type Part struct{ Name, Value string }

// A Difference is a part in which two images differ.
type Difference struct{ Name, Was, Is string }

// Compare returns the parts in which two images differ, in the order of
// PCRS.md.
func (img Image) Compare(other Image) []Difference {
	was, is := img.Parts(), other.Parts()
	var differ []Difference
	for i := range was {
		if was[i].Value != is[i].Value {
			differ = append(differ, Difference{was[i].Name, was[i].Value, is[i].Value})
		}
	}
	return differ
}

// Parts lists every row, present or not, in the order of PCRS.md.
func (img Image) Parts() []Part {
	const none = "none"
	optional := func(v interface {
		IsZero() bool
		String() string
	}) string {
		if v.IsZero() {
			return none
		}
		return v.String()
	}
	list := []Part{
		{rowEIF, img.EIF.String()},
		{rowSize, fmt.Sprint(img.Size)},
		{rowPCR0, img.PCR0.String()},
		{rowPCR1, img.PCR1.String()},
		{rowPCR2, img.PCR2.String()},
		{rowPCR8, optional(img.PCR8)},
		{rowVerify, optional(img.Verify)},
	}
	parent := [4]string{none, none, none, none}
	if p := img.Parent; p != nil {
		parent = [4]string{p.Disk.String(), p.PCR4.String(), p.PCR7.String(), p.PCR12.String()}
	}
	for i, name := range []string{rowParentDisk, rowParentPCR4, rowParentPCR7, rowParentPC12} {
		list = append(list, Part{name, parent[i]})
	}
	return list
}
