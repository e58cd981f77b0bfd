package eif_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"holdfast/image/eif"
)

func patched(t testing.TB) []byte {
	t.Helper()
	kernel, err := eif.PatchTextOffset(arm64Image())
	if err != nil {
		t.Fatal(err)
	}
	return kernel
}

func TestKernelsThatTheLoaderCannotBootAreRejected(t *testing.T) {
	change := func(kernel []byte, offset int, value string) []byte {
		return slices.Replace(slices.Clone(kernel), offset, offset+len(value), []byte(value)...)
	}
	for _, test := range []struct {
		name         string
		architecture eif.Architecture
		kernel       []byte
		offset       int64 // in the file
	}{
		{"a text", eif.X86_64, []byte("FAKE_KERNEL"), 560},
		{"an ELF vmlinux", eif.X86_64, append([]byte("\x7fELF"), make([]byte, 4096)...), 560 + 0x1fe},
		{"no boot flag", eif.X86_64, change(bzImage(), 0x1fe, "\x00"), 560 + 0x1fe},
		{"no HdrS", eif.X86_64, change(bzImage(), 0x205, "s"), 560 + 0x202},
		{"a zImage", eif.X86_64, change(bzImage(), 0x211, "\x00"), 560 + 0x211},
		{"a bzImage cut short", eif.X86_64, bzImage()[:0x211], 560},
		{"an arm64 Image", eif.X86_64, patched(t), 560},
		{"a bzImage for aarch64", eif.AArch64, bzImage(), 560},
		{"no EFI stub", eif.AArch64, change(patched(t), 0, "\x00\x00"), 560},
		{"no ARM64 magic", eif.AArch64, change(patched(t), 56, "ARM\x00"), 560 + 56},
		{"a gzip stream", eif.AArch64, append([]byte("\x1f\x8b"), make([]byte, 100)...), 560},
		{"an unpatched text offset", eif.AArch64, arm64Image(), 560 + 8},
		{"an arm64 Image cut short", eif.AArch64, patched(t)[:63], 560},
	} {
		t.Run(test.name, func(t *testing.T) {
			img := sample(t)
			img.Architecture, img.Kernel = test.architecture, test.kernel
			_, writeErr := img.WriteTo(io.Discard)
			_, parseErr := eif.Parse(write(t, img))
			for _, err := range []error{writeErr, parseErr} {
				var format *eif.FormatError
				if !errors.As(err, &format) || format.Offset != test.offset {
					t.Errorf("got %v, want an error at byte %d", err, test.offset)
				}
			}
		})
	}
}

func TestPatchTextOffsetChangesEightBytesOfACopy(t *testing.T) {
	kernel := arm64Image()
	got, err := eif.PatchTextOffset(kernel)
	if err != nil {
		t.Fatal(err)
	}
	want := arm64Image()
	binary.LittleEndian.PutUint64(want[8:], 0x200000)
	if !bytes.Equal(got, want) {
		t.Errorf("got %x\nwant %x", got, want)
	}
	if !bytes.Equal(kernel, arm64Image()) {
		t.Error("the given kernel was changed")
	}
}

func TestPatchTextOffsetRejectsOtherFiles(t *testing.T) {
	for _, kernel := range [][]byte{nil, []byte("MZ"), bzImage(), make([]byte, 64)} {
		if got, err := eif.PatchTextOffset(kernel); err == nil || got != nil {
			t.Errorf("%.8x: got %.8x, %v", kernel, got, err)
		}
	}
}
