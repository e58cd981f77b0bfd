package eif

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"holdfast/image/cpio"
)

// WriteInspection prints what an image holds: header, sections, command line, metadata, signature, and each
// ramdisk's manifest. Text that comes from the image is quoted, so that it cannot act on a terminal.
func WriteInspection(w io.Writer, img *Image) error {
	digest, size, err := img.Digest()
	if err != nil {
		return err
	}
	sections, err := img.sections()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "format\tEIF version %d, %s\n", version, img.Architecture)
	fmt.Fprintf(table, "size\t%d bytes\n", size)
	fmt.Fprintf(table, "sha384\t%x\n", digest)
	fmt.Fprintf(table, "command line\t%s\n", img.CommandLine)
	img.Metadata.inspect(table)
	fmt.Fprintf(table, "signature\t%s\n", img.inspectSignature())
	fmt.Fprintf(table, "\nsection\toffset\tsize\tsha384\n")
	for i, name := range names(sections) {
		s := sections[i]
		fmt.Fprintf(table, "%s\t%d\t%d\t%x\n", name, s.dataOffset(), len(s.data), sha512.Sum384(s.data))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for i, ramdisk := range img.Ramdisks {
		if err := inspectRamdisk(&out, i, ramdisk); err != nil {
			return err
		}
	}
	_, err = out.WriteTo(w)
	return err
}

func (m Metadata) inspect(w io.Writer) {
	build := m.BuildMetadata
	fmt.Fprintf(w, "image\t%+q version %+q\n", m.ImageName, m.ImageVersion)
	fmt.Fprintf(w, "built\t%+q with %+q version %+q\n", build.BuildTime, build.BuildTool, build.BuildToolVersion)
	fmt.Fprintf(w, "system\t%+q, kernel %+q\n", build.OperatingSystem, build.KernelVersion)
	fmt.Fprintf(w, "docker info\t%s\n", inspectJSON(m.DockerInfo))
	fmt.Fprintf(w, "custom metadata\t%s\n", inspectJSON(m.CustomMetadata))
}

func inspectJSON(raw json.RawMessage) string {
	if len(raw) == 0 || bytes.Equal(raw, null) {
		return "none"
	}
	return fmt.Sprintf("%+q", raw)
}

func (img *Image) inspectSignature() string {
	if img.Signature == nil {
		return "none"
	}
	verdict := "verifies"
	if err := img.VerifySignature(); err != nil {
		verdict = "INVALID: " + err.Error()
	}
	certificate := img.Signature.certificate
	return fmt.Sprintf("%s by %+q, valid from %s to %s: %s", img.Signature.algorithm.name, certificate.Subject,
		certificate.NotBefore.UTC().Format(time.RFC3339), certificate.NotAfter.UTC().Format(time.RFC3339), verdict)
}

// inspectRamdisk prints the manifest of a canonical archive, or says why there is none.
func inspectRamdisk(w io.Writer, i int, ramdisk []byte) error {
	tree, err := cpio.Parse(ramdisk)
	switch {
	case bytes.HasPrefix(ramdisk, []byte("\x1f\x8b")):
		_, err = fmt.Fprintf(w, "\nramdisk %d: compressed with gzip, not listed\n", i)
		return err
	case err != nil:
		_, err = fmt.Fprintf(w, "\nramdisk %d: not a canonical archive, not listed: %v\n", i, err)
		return err
	}
	if _, err := fmt.Fprintf(w, "\nramdisk %d\n", i); err != nil {
		return err
	}
	return cpio.WriteManifest(w, tree)
}

// names numbers the ramdisks among sections.
func names(sections []section) []string {
	var names []string
	ramdisks := 0
	for _, s := range sections {
		name := s.kind.String()
		if s.kind == ramdiskSection {
			name = fmt.Sprintf("%s %d", name, ramdisks)
			ramdisks++
		}
		names = append(names, name)
	}
	return names
}
