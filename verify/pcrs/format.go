package pcrs

import (
	"bytes"
	"fmt"
	"strconv"
)

// preamble opens every PCRS.md. It is part of the grammar, so that no text can
// stand in the file that a reader sees and the parser does not.
const preamble = `# PCRS

The measurements of every published Holdfast release, newest first. An
attestation document whose PCR0, PCR1 and PCR2 all equal those of one active
entry comes from an enclave that runs exactly that image. A revoked entry is
never accepted. ` + "`make pcrs`" + ` writes this file and ` + "`verify`" + ` reads it: do not edit
it by hand.
`

// The two lines that open a table.
const (
	tableHeading = "| measurement | value |"
	tableRule    = "|---|---|"
)

// The rows of a table, by name, in their order.
const (
	rowEIF        = "EIF SHA-384"
	rowSize       = "EIF size"
	rowPCR0       = "PCR0"
	rowPCR1       = "PCR1"
	rowPCR2       = "PCR2"
	rowPCR8       = "PCR8"
	rowVerify     = "verify SHA-384"
	rowParentDisk = "parent image SHA-384"
	rowParentPCR4 = "NitroTPM PCR4"
	rowParentPCR7 = "NitroTPM PCR7"
	rowParentPC12 = "NitroTPM PCR12"
)

// Bytes returns the one canonical form of the file.
func (f *File) Bytes() []byte {
	var b bytes.Buffer
	b.WriteString(preamble)
	for _, r := range f.Releases {
		fmt.Fprintf(&b, "\n## %s\n\nStatus: %s\n", r.Version, r.Status)
		for _, img := range r.Images {
			img.write(&b)
		}
	}
	return b.Bytes()
}

func (img Image) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "\n### %s\n\n%s\n%s\n", img.Architecture, tableHeading, tableRule)
	row := func(name, value string) { fmt.Fprintf(b, "| %s | `%s` |\n", name, value) }
	row(rowEIF, img.EIF.String())
	row(rowSize, strconv.FormatInt(img.Size, 10))
	row(rowPCR0, img.PCR0.String())
	row(rowPCR1, img.PCR1.String())
	row(rowPCR2, img.PCR2.String())
	if !img.PCR8.IsZero() {
		row(rowPCR8, img.PCR8.String())
	}
	if !img.Verify.IsZero() {
		row(rowVerify, img.Verify.String())
	}
	if p := img.Parent; p != nil {
		row(rowParentDisk, p.Disk.String())
		row(rowParentPCR4, p.PCR4.String())
		row(rowParentPCR7, p.PCR7.String())
		row(rowParentPC12, p.PCR12.String())
	}
}
