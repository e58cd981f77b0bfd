package eif_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"testing"

	"holdfast/image/cpio"
	"holdfast/image/eif"
)

const goldenMetadata = `{"ImageName":"t","ImageVersion":"1","BuildMetadata":{"BuildTime":"1970-01-01T00:00:00Z",` +
	`"BuildTool":"x","BuildToolVersion":"0","OperatingSystem":"Linux","KernelVersion":"6.12.0"},` +
	`"DockerInfo":null,"CustomMetadata":null}`

// golden describes the golden vector.
func golden() *eif.Image {
	return &eif.Image{
		Architecture: eif.X86_64,
		Kernel:       []byte("FAKE_KERNEL"),
		CommandLine:  "console=ttyS0",
		Ramdisks:     [][]byte{[]byte("ramdisk-zero"), []byte("ramdisk-one")},
		Metadata: eif.Metadata{
			ImageName:    "t",
			ImageVersion: "1",
			BuildMetadata: eif.BuildMetadata{
				BuildTime:        eif.ReproducibleBuildTime,
				BuildTool:        "x",
				BuildToolVersion: "0",
				OperatingSystem:  "Linux",
				KernelVersion:    "6.12.0",
			},
			DockerInfo:     []byte("null"),
			CustomMetadata: []byte("null"),
		},
	}
}

// sample is an image that passes every check.
func sample(t testing.TB) *eif.Image {
	img := golden()
	img.Kernel = bzImage()
	img.Ramdisks = [][]byte{
		ramdisk(t, cpio.Entry{Path: "init", Kind: cpio.File, Mode: 0o755, Data: []byte("init")}),
		ramdisk(t, cpio.Entry{Path: "app/enclave", Kind: cpio.File, Mode: 0o755, Data: []byte("enclave")}),
	}
	img.Metadata.DockerInfo, img.Metadata.CustomMetadata = nil, nil
	return img
}

// bzImage is the least that passes for a kernel on x86_64.
func bzImage() []byte {
	kernel := make([]byte, 0x220)
	copy(kernel[0x1fe:], "\x55\xaa")
	copy(kernel[0x202:], "HdrS")
	kernel[0x211] = 1
	return kernel
}

// arm64Image is the least that passes for a kernel on aarch64, once its text offset is patched.
func arm64Image() []byte {
	kernel := make([]byte, 80)
	copy(kernel, "MZ")
	copy(kernel[56:], "ARM\x64")
	return kernel
}

func ramdisk(t testing.TB, entries ...cpio.Entry) []byte {
	t.Helper()
	archive, err := cpio.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// write returns an image's file, whatever its kernel.
func write(t testing.TB, img *eif.Image) []byte {
	t.Helper()
	var file bytes.Buffer
	n, err := img.WriteStructureTo(&file)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(file.Len()) {
		t.Fatalf("wrote %d bytes, said %d", file.Len(), n)
	}
	return file.Bytes()
}

// rawSection and rawFile build files that WriteTo would not, from the format's description alone.
type rawSection struct {
	kind uint16
	data string
}

func rawFile(flags uint16, sections ...rawSection) []byte {
	be := binary.BigEndian
	file := make([]byte, 548)
	copy(file, ".eif")
	be.PutUint16(file[4:], 4)
	be.PutUint16(file[6:], flags)
	be.PutUint64(file[8:], 1<<30)
	be.PutUint64(file[16:], 2)
	be.PutUint16(file[26:], uint16(len(sections)))
	for i, s := range sections {
		if i < 32 {
			be.PutUint64(file[28+8*i:], uint64(len(file)))
			be.PutUint64(file[284+8*i:], uint64(len(s.data)))
		}
		file = be.AppendUint16(file, s.kind)
		file = be.AppendUint16(file, 0)
		file = be.AppendUint64(file, uint64(len(s.data)))
		file = append(file, s.data...)
	}
	return seal(file)
}

// seal makes a file's checksum right again.
func seal(file []byte) []byte {
	sum := crc32.Update(crc32.ChecksumIEEE(file[:544]), crc32.IEEETable, file[548:])
	binary.BigEndian.PutUint32(file[544:], sum)
	return file
}

// put overwrites a big-endian integer of size bytes in a copy and makes the checksum right.
func put(file []byte, offset, size int, value uint64) []byte {
	file = slices.Clone(file)
	for i := range size {
		file[offset+i] = byte(value >> (8 * (size - 1 - i)))
	}
	return seal(file)
}

const (
	kernelType uint16 = iota + 1
	commandLineType
	ramdiskType
	signatureType
	metadataType
)

// goldenSections are the golden vector's, for files that change one of them.
func goldenSections() []rawSection {
	return []rawSection{
		{kernelType, "FAKE_KERNEL"},
		{commandLineType, "console=ttyS0"},
		{metadataType, goldenMetadata},
		{ramdiskType, "ramdisk-zero"},
		{ramdiskType, "ramdisk-one"},
	}
}

// replaced returns the golden sections with the i-th exchanged.
func replaced(i int, s rawSection) []rawSection {
	sections := goldenSections()
	sections[i] = s
	return sections
}
