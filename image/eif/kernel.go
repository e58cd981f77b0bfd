package eif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Fields of the x86 boot protocol's header (Documentation/arch/x86/boot.rst).
const (
	bootFlagOffset  = 0x1fe // 55 aa
	bootMagicOffset = 0x202 // HdrS
	loadFlagsOffset = 0x211
	loadedHigh      = 1 // set in a bzImage, clear in a zImage
)

// Fields of the arm64 image header (Documentation/arch/arm64/booting.rst).
const (
	textOffset        = 8
	arm64MagicOffset  = 56 // ARM\x64
	arm64HeaderSize   = 64
	enclaveTextOffset = 0x200000
)

// checkKernel wants the kernel format that the hypervisor's loader knows. It does not report others well: an ELF
// vmlinux starts, never boots and prints nothing.
func (img *Image) checkKernel() error {
	base := headerSize + sectionHeaderSize
	if img.Architecture == AArch64 {
		return checkArm64Kernel(img.Kernel, base)
	}
	return checkBzImage(img.Kernel, base)
}

func checkBzImage(kernel []byte, base int) error {
	if len(kernel) <= loadFlagsOffset {
		return malformed(base, "kernel", fmt.Sprintf("%d bytes", len(kernel)), "an x86 bzImage")
	}
	if got := kernel[bootFlagOffset:][:2]; string(got) != "\x55\xaa" {
		return malformed(base+bootFlagOffset, "kernel boot flag", fmt.Sprintf("%x", got), "55aa of an x86 bzImage")
	}
	if got := kernel[bootMagicOffset:][:4]; string(got) != "HdrS" {
		return malformed(base+bootMagicOffset, "kernel magic", fmt.Sprintf("%q", got), `"HdrS" of an x86 bzImage`)
	}
	if got := kernel[loadFlagsOffset]; got&loadedHigh == 0 {
		return malformed(base+loadFlagsOffset, "kernel load flags", fmt.Sprintf("%#02x", got), "bit 0 of an x86 bzImage")
	}
	return nil
}

func checkArm64Kernel(kernel []byte, base int) error {
	if len(kernel) < arm64HeaderSize {
		return malformed(base, "kernel", fmt.Sprintf("%d bytes", len(kernel)), "an uncompressed arm64 Image")
	}
	if got := kernel[:2]; string(got) != "MZ" {
		return malformed(base, "kernel magic", fmt.Sprintf("%q", got), `"MZ" of an arm64 Image with an EFI stub`)
	}
	if got := kernel[arm64MagicOffset:][:4]; string(got) != "ARM\x64" {
		return malformed(base+arm64MagicOffset, "kernel magic", fmt.Sprintf("%q", got), `"ARMd" of an uncompressed arm64 Image`)
	}
	if binary.LittleEndian.Uint64(kernel[textOffset:]) == 0 {
		return malformed(base+textOffset, "kernel text offset", 0, "where the enclave loader is to put it (patch the text offset)")
	}
	return nil
}

// PatchTextOffset returns a copy of an uncompressed arm64 Image with its text_offset set to 2 MiB. Kernels since 5.8
// leave 0 there and expect any aligned address; the enclave loader puts the kernel at text_offset
// (aws-nitro-enclaves-sdk-bootstrap, kernel.nix).
func PatchTextOffset(kernel []byte) ([]byte, error) {
	patched := slices.Clone(kernel)
	if len(patched) >= arm64HeaderSize {
		binary.LittleEndian.PutUint64(patched[textOffset:], enclaveTextOffset)
	}
	var format *FormatError
	if err := checkArm64Kernel(patched, 0); errors.As(err, &format) {
		return nil, fmt.Errorf("%s at byte %d is %s, want %s", format.Field, format.Offset, format.Got, format.Want)
	}
	return patched, nil
}
