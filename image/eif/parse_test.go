package eif_test

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"holdfast/image/eif"
)

// TestTheStrictChecklist has a case for every rule of the format that AWS's or QEMU's reader lets pass, or that keeps
// an image to one encoding. Checksums are right unless the case is about them.
func TestTheStrictChecklist(t *testing.T) {
	file := rawFile(0, goldenSections()...)
	swapped := func(i, j int) []byte {
		sections := goldenSections()
		sections[i], sections[j] = sections[j], sections[i]
		return rawFile(0, sections...)
	}
	with := func(more ...rawSection) []byte { return rawFile(0, append(goldenSections(), more...)...) }
	without := func(i int) []byte { return rawFile(0, slices.Delete(goldenSections(), i, i+1)...) }
	command := func(text string) []byte { return rawFile(0, replaced(1, rawSection{commandLineType, text})...) }
	badChecksum := slices.Clone(file)
	badChecksum[544] ^= 1
	// Two sections whose data overlap: the second's header lies in the first's content.
	overlapping := put(file, 36, 8, 548+12)

	for _, test := range []struct {
		name   string
		file   []byte
		offset int64
		field  string
	}{
		{"another magic", seal(append([]byte(".elf"), file[4:]...)), 0, "magic"},
		{"version 3", put(file, 4, 2, 3), 4, "version"},
		{"version 5", put(file, 4, 2, 5), 4, "version"},
		{"the flag of PCIe enclaves", put(file, 6, 2, 1<<6), 6, "flags"},
		{"the flag of virtio PCIe enclaves", put(file, 6, 2, 1<<9), 6, "flags"},
		{"aarch64 and another flag", put(file, 6, 2, 3), 6, "flags"},
		{"another default memory", put(file, 8, 8, 1<<31), 8, "default memory"},
		{"other default processors", put(file, 16, 8, 4), 16, "default processors"},
		{"a reserved field", put(file, 24, 2, 1), 24, "reserved field"},
		{"an unused field", put(file, 540, 4, 1), 540, "unused field"},
		{"no section", put(file, 26, 2, 0), 26, "number of sections"},
		{"one section", put(file, 26, 2, 1), 26, "number of sections"},
		{"33 sections", put(file, 26, 2, 33), 26, "number of sections"},
		{"fewer sections counted than tabled", put(file, 26, 2, 4), 28 + 8*4, "unused offset 4"},
		{"more sections counted than tabled", put(file, 26, 2, 6), 28 + 8*5, "offset of section 5"},
		{"an unused slot with an offset", put(file, 28+8*31, 8, 1), 28 + 8*31, "unused offset 31"},
		{"an unused slot with a size", put(file, 284+8*31, 8, 1), 284 + 8*31, "unused size 31"},
		{"a first section elsewhere", put(file, 28, 8, 549), 28, "offset of section 0"},
		{"a gap", put(file, 36, 8, 572), 36, "offset of section 1"},
		{"an overlap", overlapping, 36, "offset of section 1"},
		{"an offset beyond any file", put(file, 36, 8, 1<<63), 36, "offset of section 1"},
		{"a size that the table contradicts", put(file, 284, 8, 12), 552, "size of section 0"},
		{"a size that the section contradicts", put(file, 552, 8, 12), 552, "size of section 0"},
		{"a size beyond the end", put(put(file, 552, 8, 1<<40), 284, 8, 1<<40), 552, "size of section 0"},
		{"a size that overflows", put(put(file, 552, 8, 1<<64-1), 284, 8, 1<<64-1), 552, "size of section 0"},
		{"a last size one too large", put(put(file, 855, 8, 12), 284+8*4, 8, 12), 855, "size of section 4"},
		{"section flags", put(file, 550, 2, 1), 550, "flags of section 0"},
		{"a byte at the end", seal(append(slices.Clone(file), 0)), 874, "end"},
		{"eleven bytes at the end, which AWS's reader ignores", seal(append(slices.Clone(file), make([]byte, 11)...)), 874, "end"},
		{"no kernel", without(0), 548, "section 0"},
		{"no command line", without(1), 571, "section 1"},
		{"no metadata", without(2), 596, "section 2"},
		{"no ramdisk", rawFile(0, goldenSections()[:3]...), 827, "number of sections"},
		{"two kernels", with(rawSection{kernelType, "FAKE_KERNEL"}), 874, "section 5"},
		{"two command lines", with(rawSection{commandLineType, "quiet"}), 874, "section 5"},
		{"two metadata", with(rawSection{metadataType, goldenMetadata}), 874, "section 5"},
		{"a section after the signature", with(rawSection{signatureType, "s"}, rawSection{ramdiskType, "r"}), 887, "section 6"},
		{"two signatures", with(rawSection{signatureType, "s"}, rawSection{signatureType, "s"}), 887, "section 6"},
		{"an invalid section", with(rawSection{0, "x"}), 874, "section 5"},
		{"an unknown section", with(rawSection{6, "x"}), 874, "section 5"},
		{"the command line before the kernel", swapped(0, 1), 548, "section 0"},
		{"a ramdisk before the metadata", swapped(2, 3), 596, "section 2"},
		{"a ramdisk before the kernel", swapped(0, 3), 548, "section 0"},
		{"an empty kernel", rawFile(0, replaced(0, rawSection{kernelType, ""})...), 548, "kernel size"},
		{"an empty command line", command(""), 571, "command line size"},
		{"an empty ramdisk", rawFile(0, replaced(4, rawSection{ramdiskType, ""})...), 851, "ramdisk size"},
		{"a command line too long", command(strings.Repeat("x", 2048)), 571, "command line size"},
		{"a command line with a nul", command("quiet\x00"), 583 + 5, "command line"},
		{"a command line with a newline", command("quiet\n"), 583 + 5, "command line"},
		{"a command line with a tab", command("\tquiet"), 583, "command line"},
		{"a command line beyond ascii", command("quiet=\xff"), 583 + 6, "command line"},
		{"a command line with delete", command("\x7f"), 583, "command line"},
		{"metadata that is not JSON", rawFile(0, replaced(2, rawSection{metadataType, "x"})...), 608, "metadata"},
		{"metadata too long", rawFile(0, replaced(2, rawSection{metadataType, strings.Repeat(" ", 64<<10+1)})...), 596, "metadata size"},
		{"a signature too long", with(rawSection{signatureType, strings.Repeat("s", 32769)}), 874, "signature size"},
		{"a signature that is not CBOR", with(rawSection{signatureType, "s"}), 886, "signature"},
		{"a wrong checksum", badChecksum, 544, "checksum"},
	} {
		t.Run(test.name, func(t *testing.T) {
			img, err := eif.ParseStructure(test.file)
			var format *eif.FormatError
			if !errors.As(err, &format) {
				t.Fatalf("got %+v, %v, want a FormatError", img, err)
			}
			if format.Offset != test.offset || format.Field != test.field {
				t.Errorf("got %v, want byte %d: %s", err, test.offset, test.field)
			}
			if img != nil {
				t.Error("an image came with the error")
			}
		})
	}
}

func TestAFormatErrorSaysWhereAndWhat(t *testing.T) {
	_, err := eif.Parse(put(rawFile(0, goldenSections()...), 4, 2, 3))
	if got, want := err.Error(), "enclave image at byte 4: version is 3, want 4"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEveryTruncationIsRejected(t *testing.T) {
	file := write(t, golden())
	for n := range file {
		var format *eif.FormatError
		if _, err := eif.ParseStructure(file[:n]); !errors.As(err, &format) {
			t.Fatalf("%d of %d bytes: got %v", n, len(file), err)
		}
		if n < 548 {
			continue
		}
		if _, err := eif.ParseStructure(seal(slices.Clone(file[:n]))); !errors.As(err, &format) || format.Offset > int64(n) {
			t.Fatalf("%d of %d bytes, checksum right: got %v", n, len(file), err)
		}
	}
}

func TestEveryPaddedFileIsRejected(t *testing.T) {
	file := write(t, golden())
	for n := 1; n < 600; n++ {
		padded := seal(append(slices.Clone(file), make([]byte, n)...))
		if _, err := eif.ParseStructure(padded); err == nil {
			t.Fatalf("%d zeros at the end were accepted", n)
		}
	}
}

func TestEveryFlippedBitIsRejectedByTheChecksumAtLeast(t *testing.T) {
	file := write(t, golden())
	for i := range file {
		for bit := range 8 {
			flipped := slices.Clone(file)
			flipped[i] ^= 1 << bit
			if _, err := eif.ParseStructure(flipped); err == nil {
				t.Fatalf("byte %d bit %d was accepted", i, bit)
			}
		}
	}
}

// fate is what becomes of a changed file whose checksum is right.
type fate string

const (
	rejected   fate = "rejected"
	measured   fate = "measured"
	unmeasured fate = "unmeasured, but another image"
)

// fateOf classifies a file changed from the golden one. That an accepted change shows in the image and is written
// back is checked here.
func fateOf(t *testing.T, file []byte) fate {
	img, err := eif.ParseStructure(file)
	if err != nil {
		return rejected
	}
	if again := write(t, img); !bytes.Equal(again, file) {
		t.Fatalf("accepted, but written back as\n%q\nnot\n%q", again, file)
	}
	if reflect.DeepEqual(img, golden()) {
		t.Fatalf("accepted as the same image: %q", file)
	}
	if img.Measure() != golden().Measure() {
		return measured
	}
	return unmeasured
}

// TestEveryFlippedBitWithARightChecksumHasOneOfItsRegionsFates flips every bit and makes the checksum right. Only
// measured sections, the architecture and the metadata's text may change and be accepted.
func TestEveryFlippedBitWithARightChecksumHasOneOfItsRegionsFates(t *testing.T) {
	regions := []struct {
		name       string
		start, end int
		allowed    []fate
	}{
		{"magic and version", 0, 6, []fate{rejected}},
		{"flags", 6, 8, []fate{rejected, unmeasured}},
		{"the rest of the header", 8, 544, []fate{rejected}},
		{"kernel header", 548, 560, []fate{rejected}},
		{"kernel", 560, 571, []fate{measured}},
		{"command line header", 571, 583, []fate{rejected}},
		{"command line", 583, 596, []fate{rejected, measured}},
		{"metadata header", 596, 608, []fate{rejected}},
		{"metadata", 608, 827, []fate{rejected, unmeasured}},
		{"ramdisk 0 header", 827, 839, []fate{rejected}},
		{"ramdisk 0", 839, 851, []fate{measured}},
		{"ramdisk 1 header", 851, 863, []fate{rejected}},
		{"ramdisk 1", 863, 874, []fate{measured}},
	}
	file := write(t, golden())
	for _, region := range regions {
		t.Run(region.name, func(t *testing.T) {
			seen := map[fate]bool{}
			for i := region.start; i < region.end; i++ {
				for bit := range 8 {
					got := fateOf(t, put(file, i, 1, uint64(file[i]^1<<bit)))
					if seen[got] = true; !slices.Contains(region.allowed, got) {
						t.Fatalf("byte %d bit %d: %s, want one of %q", i, bit, got, region.allowed)
					}
				}
			}
			if len(seen) != len(region.allowed) {
				t.Errorf("saw %v, want all of %q", seen, region.allowed)
			}
		})
	}
}

func TestParseDoesNotAllocateWhatAFileClaims(t *testing.T) {
	file := put(put(rawFile(0, goldenSections()...), 552, 8, 1<<40), 284, 8, 1<<40)
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		if _, err := eif.ParseStructure(file); err == nil {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > uint64(4*len(file)) {
		t.Errorf("allocated %d bytes for a file of %d", got, len(file))
	}
}

func TestAFileBeyondTheLimitIsRejectedUnread(t *testing.T) {
	// Untouched pages of a large allocation cost nothing.
	_, err := eif.Parse(make([]byte, eif.MaxSize+1))
	var format *eif.FormatError
	if !errors.As(err, &format) || format.Field != "size" {
		t.Errorf("got %v", err)
	}
}

// FuzzParse holds the reader to its contract: no panic; an error or an image, never both; and an accepted file is the
// one that its image is written to, and the same image to QEMU's and AWS's readers.
func FuzzParse(f *testing.F) {
	file := write(f, golden())
	f.Add(file)
	f.Add(file[:548])
	f.Add(rawFile(1, goldenSections()...))
	f.Add(write(f, sample(f)))
	f.Add(rawFile(0, append(goldenSections(), rawSection{signatureType, "\x81\xa2"})...))
	f.Add([]byte(".eif\x00\x04"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) >= 548 {
			file = seal(slices.Clone(file)) // or the fuzzer sees nothing but wrong checksums
		}
		img, err := eif.ParseStructure(file)
		if err != nil {
			if img != nil {
				t.Fatal("an image came with the error")
			}
			return
		}
		if again := write(t, img); !bytes.Equal(again, file) {
			t.Fatalf("accepted\n%q\nwrote\n%q", file, again)
		}
		agree(t, file, img)
	})
}

// FuzzRoundTrip writes images and reads them back.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("kernel"), "quiet", "name", []byte("0"), []byte("1"), `{"a":[1,{"b":null}]}`)
	f.Add([]byte{}, "\x00", "\u2028<&>\x7f", []byte{}, []byte{}, `null`)
	f.Add([]byte("k"), "c", "\xff", []byte("r"), []byte("r"), ` {"a" : 1} `)
	f.Fuzz(func(t *testing.T, kernel []byte, commandLine, name string, first, second []byte, docker string) {
		img := golden()
		img.Kernel, img.CommandLine, img.Metadata.ImageName = kernel, commandLine, name
		img.Ramdisks = [][]byte{first, second}
		img.Metadata.DockerInfo = []byte(docker)
		var file bytes.Buffer
		if _, err := img.WriteStructureTo(&file); err != nil {
			return
		}
		parsed, err := eif.ParseStructure(file.Bytes())
		if err != nil {
			t.Fatalf("cannot read what was written: %v", err)
		}
		if parsed.Measure() != img.Measure() || parsed.Metadata.ImageName != name {
			t.Fatalf("got %+v\nwant %+v", parsed, img)
		}
		agree(t, file.Bytes(), parsed)
	})
}
