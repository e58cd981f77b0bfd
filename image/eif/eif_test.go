package eif_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"holdfast/image/cpio"
	"holdfast/image/eif"
	"holdfast/verify/pcrs"
)

func TestTheGoldenVectorIsWrittenByteForByte(t *testing.T) {
	file := write(t, golden())
	if want := rawFile(0, goldenSections()...); !bytes.Equal(file, want) {
		t.Errorf("got\n%q\nwant\n%q", file, want)
	}
	if len(file) != 874 {
		t.Errorf("got %d bytes, want 874", len(file))
	}
	if got := binary.BigEndian.Uint32(file[544:]); got != 0x43524347 {
		t.Errorf("got checksum %08x, want 43524347", got)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(file)); got != "d27c59ebf87db0ad7c9755643a95fe59b84e585c2f1a8b88bdc03bc156d93694" {
		t.Errorf("got SHA-256 %s", got)
	}
}

func TestTheGoldenVectorIsRead(t *testing.T) {
	got, err := eif.ParseStructure(write(t, golden()))
	if err != nil {
		t.Fatal(err)
	}
	if want := golden(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestTheDigestIsTheFiles(t *testing.T) {
	digest, size, err := golden().Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := sha512.Sum384(write(t, golden())); digest != want || size != 874 {
		t.Errorf("got %x of %d bytes, want %x of 874", digest, size, want)
	}
}

func TestAnImageComesBackAsItWasWritten(t *testing.T) {
	arm := sample(t)
	arm.Architecture = eif.AArch64
	arm.Kernel = patched(t)
	for name, img := range map[string]*eif.Image{"x86_64": sample(t), "aarch64": arm} {
		t.Run(name, func(t *testing.T) {
			var file bytes.Buffer
			if _, err := img.WriteTo(&file); err != nil {
				t.Fatal(err)
			}
			parsed, err := eif.Parse(file.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(parsed, img) {
				t.Errorf("got %+v\nwant %+v", parsed, img)
			}
		})
	}
}

func TestTheArchitectureIsInTheFlags(t *testing.T) {
	img := golden()
	img.Architecture = eif.AArch64
	if got, want := write(t, img), rawFile(1, goldenSections()...); !bytes.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestShuffledRamdiskEntriesGiveOneImage(t *testing.T) {
	entries := []cpio.Entry{
		{Path: "app/enclave", Kind: cpio.File, Mode: 0o755, Data: []byte("program")},
		{Path: "app/roots.pem", Kind: cpio.File, Mode: 0o644, Data: []byte("roots")},
		{Path: "etc", Kind: cpio.Directory, Mode: 0o755},
		{Path: "tmp", Kind: cpio.Directory, Mode: 0o755},
		{Path: "bin", Kind: cpio.Symlink, Mode: 0o777, Data: []byte("app")},
	}
	random := rand.New(rand.NewPCG(3, 4))
	var want []byte
	for range 20 {
		random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		img := sample(t)
		img.Ramdisks[1] = ramdisk(t, entries...)
		file := write(t, img)
		if want == nil {
			want = file
		}
		if !bytes.Equal(file, want) {
			t.Fatalf("order %v gives another image", entries)
		}
	}
}

func TestWriteToRejectsWhatParseWould(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*eif.Image)
		want   string
	}{
		{"the zero image", func(img *eif.Image) { *img = eif.Image{} }, "kernel is 0 bytes"},
		{"no architecture", func(img *eif.Image) { img.Architecture = 0 }, "want x86_64 or aarch64"},
		{"an unknown architecture", func(img *eif.Image) { img.Architecture = 3 }, "want x86_64 or aarch64"},
		{"the other architecture's kernel", func(img *eif.Image) { img.Architecture = eif.AArch64 }, `"MZ" of an arm64 Image`},
		{"no command line", func(img *eif.Image) { img.CommandLine = "" }, "command line size is 0"},
		{"a newline in the command line", func(img *eif.Image) { img.CommandLine = "quiet\n" }, "command line is 0x0a"},
		{"a command line that the kernel cuts", func(img *eif.Image) { img.CommandLine = strings.Repeat("x", 2048) }, "want 1 to 2047"},
		{"no ramdisk", func(img *eif.Image) { img.Ramdisks = nil }, "number of sections is 3"},
		{"an empty ramdisk", func(img *eif.Image) { img.Ramdisks[1] = nil }, "ramdisk size is 0"},
		{"too many ramdisks", func(img *eif.Image) { img.Ramdisks = make30() }, "number of sections is 33"},
		{"no metadata", func(img *eif.Image) { img.Metadata = eif.Metadata{} }, "ImageName is"},
		{"overlong metadata", func(img *eif.Image) { img.Metadata.ImageName = strings.Repeat("x", 64<<10) }, "metadata size is"},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := sample(t)
			test.change(img)
			var file bytes.Buffer
			n, err := img.WriteTo(&file)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if n != 0 || file.Len() != 0 {
				t.Errorf("%d bytes were written", file.Len())
			}
		})
	}
}

func make30() [][]byte {
	ramdisks := make([][]byte, 30)
	for i := range ramdisks {
		ramdisks[i] = []byte("ramdisk")
	}
	return ramdisks
}

func TestAllTheTablesSlotsCanBeUsed(t *testing.T) {
	img := golden()
	img.Ramdisks = make30()[:29]
	parsed, err := eif.ParseStructure(write(t, img))
	if err != nil || len(parsed.Ramdisks) != 29 {
		t.Fatalf("got %+v, %v", parsed, err)
	}
}

// brokenWriter fails after a number of bytes.
type brokenWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n := w.left
		w.left = 0
		return n, errFull
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteToReportsAFullDisk(t *testing.T) {
	img := sample(t)
	size := len(write(t, img))
	for _, room := range []int{0, 1, 547, 548, 560, size - 1} {
		n, err := img.WriteTo(&brokenWriter{left: room})
		if !errors.Is(err, errFull) || n != int64(room) {
			t.Errorf("room for %d bytes: got %d, %v", room, n, err)
		}
	}
}

func TestTheGoldenVectorsMeasurements(t *testing.T) {
	m := golden().Measure()
	for _, test := range []struct {
		name string
		got  pcrs.PCR
		want string
	}{
		{"PCR0", m.PCR0, "bfce20e1ca3cc652c9195ac7c4b9d58ccac0e4e1beb0f77791a2dc5e31c97f255ea4b02f2d706efe35ec30efab568c0c"},
		{"PCR1", m.PCR1, "99edfc871f15d999b81a7e771cf5317553fd80db66b4cdb010d215a88641cbad98ae7d4d962bc784cdc8456780c5d415"},
		{"PCR2", m.PCR2, "738166f222c5b5b8348c154b1c1b4a43059ae09323f311faa081cd5306a1ef48abd6d707840ee2f995ed882fd497d6c5"},
	} {
		if test.got.String() != test.want {
			t.Errorf("%s: got %s, want %s", test.name, test.got, test.want)
		}
	}
	if !m.PCR8.IsZero() {
		t.Errorf("PCR8 of an unsigned image: got %s, want zero", m.PCR8)
	}
}

func TestWithOneRamdiskPCR2IsTheEmptyOnesAndPCR1IsPCR0(t *testing.T) {
	img := golden()
	img.Ramdisks = img.Ramdisks[:1]
	m := img.Measure()
	// MystenLabs/nautilus publishes this value, from an image with one ramdisk.
	const empty = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
	if m.PCR2.String() != empty {
		t.Errorf("PCR2: got %s, want %s", m.PCR2, empty)
	}
	if m.PCR0 != m.PCR1 {
		t.Errorf("PCR0 %s differs from PCR1 %s", m.PCR0, m.PCR1)
	}
}

func TestBytesMovedBetweenSectionsChangePCR1OrPCR2ButNotPCR0(t *testing.T) {
	img := golden()
	img.Ramdisks = [][]byte{[]byte("ramdisk-zeror"), []byte("amdisk-one")}
	a, b := golden().Measure(), img.Measure()
	if a.PCR0 != b.PCR0 {
		t.Error("PCR0 changed, so the package comment is wrong")
	}
	if a.PCR1 == b.PCR1 || a.PCR2 == b.PCR2 {
		t.Error("PCR1 and PCR2 did not both change")
	}
}

func TestMeasurementsPrintAsNitroCLIPrintsThem(t *testing.T) {
	var unsigned, signed strings.Builder
	m := golden().Measure()
	if err := eif.WriteMeasurements(&unsigned, m); err != nil {
		t.Fatal(err)
	}
	want := `{
  "Measurements": {
    "HashAlgorithm": "Sha384 { ... }",
    "PCR0": "bfce20e1ca3cc652c9195ac7c4b9d58ccac0e4e1beb0f77791a2dc5e31c97f255ea4b02f2d706efe35ec30efab568c0c",
    "PCR1": "99edfc871f15d999b81a7e771cf5317553fd80db66b4cdb010d215a88641cbad98ae7d4d962bc784cdc8456780c5d415",
    "PCR2": "738166f222c5b5b8348c154b1c1b4a43059ae09323f311faa081cd5306a1ef48abd6d707840ee2f995ed882fd497d6c5"
  }
}
`
	if unsigned.String() != want {
		t.Errorf("got\n%s\nwant\n%s", unsigned.String(), want)
	}
	m.PCR8 = m.PCR2
	if err := eif.WriteMeasurements(&signed, m); err != nil {
		t.Fatal(err)
	}
	want = strings.Replace(want, "\"\n  }", "\",\n    \"PCR8\": \""+m.PCR8.String()+"\"\n  }", 1)
	if signed.String() != want {
		t.Errorf("got\n%s\nwant\n%s", signed.String(), want)
	}
}

// large is an image of 40 MB, the most that Holdfast's own may have.
func large(b *testing.B) *eif.Image {
	img := sample(b)
	img.Kernel = append(img.Kernel, make([]byte, 6<<20)...)
	img.Ramdisks = [][]byte{make([]byte, 4<<20), make([]byte, 30<<20)}
	return img
}

// BenchmarkMeasure builds and measures a 40 MB image. BenchmarkSHA384 hashes the same file once, which is the least
// that PCR0 can cost.
func BenchmarkMeasure(b *testing.B) {
	img := large(b)
	b.SetBytes(int64(len(write(b, img))))
	for b.Loop() {
		if _, err := img.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		if img.Measure().PCR0.IsZero() {
			b.Fatal("no measurement")
		}
	}
}

func BenchmarkSHA384(b *testing.B) {
	file := write(b, large(b))
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		sha512.Sum384(file)
	}
}
