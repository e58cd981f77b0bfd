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

// A Part is a measurement of two images, by the name that PCRS.md gives it.
type Part struct{ Name, Was, Is string }

// Compare returns the parts in which two images differ, in the order of
// PCRS.md.
func (img Image) Compare(other Image) []Part {
	was, is := img.parts(), other.parts()
	var differ []Part
	for i := range was {
		if was[i].Is != is[i].Is {
			differ = append(differ, Part{was[i].Name, was[i].Is, is[i].Is})
		}
	}
	return differ
}

// parts lists every row, those that the image does not have as "none".
func (img Image) parts() []Part {
	const none = "none"
	optional := func(p PCR) string {
		if p.IsZero() {
			return none
		}
		return p.String()
	}
	list := []Part{
		{Name: rowEIF, Is: img.EIF.String()},
		{Name: rowSize, Is: fmt.Sprint(img.Size)},
		{Name: rowPCR0, Is: img.PCR0.String()},
		{Name: rowPCR1, Is: img.PCR1.String()},
		{Name: rowPCR2, Is: img.PCR2.String()},
		{Name: rowPCR8, Is: optional(img.PCR8)},
	}
	parent := [4]string{none, none, none, none}
	if p := img.Parent; p != nil {
		parent = [4]string{p.Disk.String(), p.PCR4.String(), p.PCR7.String(), p.PCR12.String()}
	}
	for i, name := range []string{rowParentDisk, rowParentPCR4, rowParentPCR7, rowParentPC12} {
		list = append(list, Part{Name: name, Is: parent[i]})
	}
	return list
}
