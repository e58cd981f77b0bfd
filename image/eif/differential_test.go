package eif_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"

	"holdfast/image/eif"
	"holdfast/verify/pcrs"
)

// A reader's view of a file: PCR0, PCR1, PCR2.
type view [3]pcrs.PCR

func viewOf(whole, platform, application []byte) view {
	pcr := func(content []byte) pcrs.PCR {
		digest := sha512.Sum384(content)
		return sha512.Sum384(append(make([]byte, 48), digest[:]...))
	}
	return view{pcr(whole), pcr(platform), pcr(application)}
}

// measureSection appends a section's content to what the registers cover, as both other readers do, in file order.
func measureSection(kind uint16, data []byte, ramdisks *int, whole, platform, application *[]byte) {
	switch {
	case kind == kernelType || kind == commandLineType:
		*platform = append(*platform, data...)
	case kind == ramdiskType && *ramdisks == 0:
		*platform = append(*platform, data...)
		*ramdisks++
	case kind == ramdiskType:
		*application = append(*application, data...)
		*ramdisks++
	default:
		return
	}
	*whole = append(*whole, data...)
}

// readAsQEMU follows hw/core/eif.c: sections are where the header's table says.
func readAsQEMU(file []byte) (view, error) {
	be := binary.BigEndian
	if len(file) < 548 || string(file[:4]) != ".eif" {
		return view{}, errors.New("header")
	}
	if be.Uint16(file[4:]) < 4 || be.Uint16(file[6:]) != 0 || be.Uint16(file[26:]) > 32 {
		return view{}, errors.New("version, flags or section count")
	}
	sum := crc32.ChecksumIEEE(file[:544])
	var whole, platform, application []byte
	seen, ramdisks := map[uint16]bool{}, 0
	for i := range int(be.Uint16(file[26:])) {
		offset, size := be.Uint64(file[28+8*i:]), be.Uint64(file[284+8*i:])
		if offset > uint64(len(file)) || uint64(len(file))-offset < 12 {
			return view{}, errors.New("section header beyond the end")
		}
		header := file[offset : offset+12]
		kind := be.Uint16(header)
		data := file[offset+12:]
		if be.Uint16(header[2:]) != 0 || be.Uint64(header[4:]) != size || size > uint64(len(data)) {
			return view{}, errors.New("section flags or size")
		}
		if seen[kind] && (kind == kernelType || kind == commandLineType) {
			return view{}, errors.New("section given twice")
		}
		seen[kind] = true
		data = data[:size]
		sum = crc32.Update(crc32.Update(sum, crc32.IEEETable, header), crc32.IEEETable, data)
		measureSection(kind, data, &ramdisks, &whole, &platform, &application)
	}
	if !seen[kernelType] || !seen[commandLineType] || !seen[ramdiskType] || sum != be.Uint32(file[544:]) {
		return view{}, errors.New("missing section or checksum")
	}
	return viewOf(whole, platform, application), nil
}

// readAsAWS follows EifReader of aws-nitro-enclaves-image-format: sections follow each other, and the header's tables
// are not looked at.
func readAsAWS(file []byte) (view, error) {
	be := binary.BigEndian
	if len(file) < 548 || string(file[:4]) != ".eif" {
		return view{}, errors.New("header")
	}
	sum := crc32.ChecksumIEEE(file[:544])
	var whole, platform, application []byte
	ramdisks := 0
	for at := uint64(548); uint64(len(file))-at >= 12; {
		kind, size := be.Uint16(file[at:]), be.Uint64(file[at+4:])
		if kind < kernelType || kind > metadataType || size > uint64(len(file))-at-12 {
			return view{}, errors.New("section type or size")
		}
		end := at + 12 + size
		sum = crc32.Update(sum, crc32.IEEETable, file[at:end])
		measureSection(kind, file[at+12:end], &ramdisks, &whole, &platform, &application)
		at = end
	}
	if sum != be.Uint32(file[544:]) {
		return view{}, errors.New("checksum")
	}
	return viewOf(whole, platform, application), nil
}

// agree fails when a file accepted here is refused or measured otherwise by AWS's reader, or QEMU's for x86_64.
func agree(t *testing.T, file []byte, img *eif.Image) {
	t.Helper()
	m := img.Measure()
	want := view{m.PCR0, m.PCR1, m.PCR2}
	if got, err := readAsAWS(file); err != nil || got != want {
		t.Errorf("AWS's reader: got %v, %v, want %v", got, err, want)
	}
	got, err := readAsQEMU(file)
	if img.Architecture != eif.X86_64 {
		if err == nil {
			t.Error("QEMU's reader accepted another architecture")
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("QEMU's reader: got %v, %v, want %v", got, err, want)
	}
}

func TestWhatIsAcceptedMeasuresTheSameToOtherReaders(t *testing.T) {
	arm := golden()
	arm.Architecture = eif.AArch64
	one := golden()
	one.Ramdisks = one.Ramdisks[:1]
	for name, img := range map[string]*eif.Image{"golden": golden(), "sample": sample(t), "aarch64": arm, "one ramdisk": one} {
		t.Run(name, func(t *testing.T) { agree(t, write(t, img), img) })
	}
}

// TestFilesThatOtherReadersAccept lists where this reader is stricter, and holds the models of the other two to what
// their source says.
func TestFilesThatOtherReadersAccept(t *testing.T) {
	file := rawFile(0, goldenSections()...)
	// The table points at a second command line that lies where AWS's reader sees a ramdisk's content.
	hidden := rawSection{ramdiskType, "\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x04evil"}
	split := rawFile(0, replaced(4, hidden)...)
	split = put(put(split, 36, 8, 863), 284+8, 8, 4)
	trailing := append(slices.Clone(file), "eleven more"...)
	twoKernels := rawFile(0, append(goldenSections(), rawSection{kernelType, "another"})...)
	noMetadata := rawFile(0, slices.Delete(goldenSections(), 2, 3)...)
	noRamdisk := rawFile(0, goldenSections()[:3]...)
	unknown := rawFile(0, append(goldenSections(), rawSection{6, "x"})...)
	accepts := func(ok bool) string { return fmt.Sprintf("accepted %t", ok) }

	for _, test := range []struct {
		name      string
		file      []byte
		qemu, aws bool
	}{
		{"the golden vector", file, true, true},
		{"version 5", put(file, 4, 2, 5), true, true},
		{"version 3", put(file, 4, 2, 3), false, true},
		{"unknown flags", put(file, 6, 2, 1<<6), false, true},
		{"a reserved field", put(file, 24, 2, 1), true, true},
		{"an unused slot in use", put(file, 28+8*31, 8, 1), true, true},
		{"bytes at the end outside the checksum", trailing, true, true},
		{"a table that contradicts the walk", put(file, 36, 8, 1), false, true},
		{"section flags", put(file, 550, 2, 1), false, true},
		{"two kernels", twoKernels, false, true},
		{"no metadata", noMetadata, true, true},
		{"no ramdisk", noRamdisk, false, true},
		{"an unknown section", unknown, true, false},
		{"a wrong checksum", append(slices.Clone(file[:544]), append([]byte("\x00\x00\x00\x00"), file[548:]...)...), false, false},
		{"sections that overlap", split, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, qemuErr := readAsQEMU(test.file)
			_, awsErr := readAsAWS(test.file)
			if got := qemuErr == nil; got != test.qemu {
				t.Errorf("QEMU: got %s (%v), want %s", accepts(got), qemuErr, accepts(test.qemu))
			}
			if got := awsErr == nil; got != test.aws {
				t.Errorf("AWS: got %s (%v), want %s", accepts(got), awsErr, accepts(test.aws))
			}
			_, err := eif.ParseStructure(test.file)
			if got, want := err == nil, bytes.Equal(test.file, file); got != want {
				t.Errorf("here: got %s (%v), want %s", accepts(got), err, accepts(want))
			}
		})
	}
}
