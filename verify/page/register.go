package page

import (
	"fmt"
	"slices"

	"holdfast/verify/attestation/document"
	"holdfast/verify/pcrs"
)

// A register is one row of the measurements: what is published beside what the
// document shows.
type register struct {
	Name, Covers string
	Published    []digits // nil where nothing is published
	Attested     []digits // nil where the document has none
	Class, Word  string
}

// digits are a few hexadecimal digits, and whether they differ from those on
// the other side.
type digits struct {
	Text    string
	Differs bool
}

// covers says what a register measures.
var covers = map[int]string{
	0:  "the whole image",
	1:  "kernel, command line, init",
	2:  "the application",
	3:  "the parent's IAM role",
	4:  "the parent instance",
	8:  "the signing certificate",
	16: "the configuration",
}

// registers compares a document with the published entry that shares most with
// it, and names that.
func registers(d *document.Document, published *pcrs.File) ([]register, string) {
	entry, found := nearest(d, published)
	compared := "nothing published"
	want := map[int]pcrs.PCR{}
	if found {
		compared = fmt.Sprintf("release %s for %s, %s", entry.Version, entry.Image.Architecture, entry.Status)
		want[0], want[1], want[2] = entry.Image.PCR0, entry.Image.PCR1, entry.Image.PCR2
		if !entry.Image.PCR8.IsZero() {
			want[8] = entry.Image.PCR8
		}
	}
	var rows []register
	for _, i := range indices(d) {
		got, there := d.PCRs[i]
		expected, wanted := want[i]
		rows = append(rows, row(i, got, there, expected, wanted))
	}
	return rows, compared
}

// indices lists the registers worth showing: those that are compared, and the
// others that are not zero.
func indices(d *document.Document) []int {
	list := []int{0, 1, 2}
	for i, pcr := range d.PCRs {
		if i > 2 && !pcr.IsZero() {
			list = append(list, i)
		}
	}
	slices.Sort(list)
	return list
}

func row(i int, got pcrs.PCR, there bool, want pcrs.PCR, wanted bool) register {
	r := register{Name: fmt.Sprintf("PCR%d", i), Covers: covers[i]}
	if there {
		r.Attested = split(got, want, wanted)
	}
	if wanted {
		r.Published = split(want, got, there)
	}
	switch {
	case !wanted:
		r.Class, r.Word = "note", "not published"
	case there && got == want:
		r.Class, r.Word = "pass", "equal"
	default:
		r.Class, r.Word = "fail", "differs"
	}
	return r
}

// split cuts a register into groups of digits, and marks those that differ from
// another's.
func split(p, other pcrs.PCR, compare bool) []digits {
	const size = 8
	a, b := p.String(), other.String()
	var out []digits
	for i := 0; i < len(a); i += size {
		out = append(out, digits{a[i : i+size], compare && a[i:i+size] != b[i:i+size]})
	}
	return out
}

// nearest finds the published entry that has most measurements of a document,
// the newest of several.
func nearest(d *document.Document, published *pcrs.File) (pcrs.Entry, bool) {
	if published == nil {
		return pcrs.Entry{}, false
	}
	best, most := pcrs.Entry{}, -1
	for _, e := range published.Entries() {
		same := 0
		for i, want := range []pcrs.PCR{e.Image.PCR0, e.Image.PCR1, e.Image.PCR2} {
			if d.PCRs[i] == want {
				same++
			}
		}
		if same > most {
			best, most = e, same
		}
	}
	return best, most >= 0
}
