package eif_test

import (
	"crypto/elliptic"
	"encoding/hex"
	"strings"
	"testing"

	"holdfast/image/cpio"
	"holdfast/image/eif"
)

func hexOf(data []byte) string { return hex.EncodeToString(data) }

func entries(program string, more ...cpio.Entry) []cpio.Entry {
	return append(more,
		cpio.Entry{Path: "app/enclave", Kind: cpio.File, Mode: 0o755, Data: []byte(program)},
		cpio.Entry{Path: "tmp", Kind: cpio.Directory, Mode: 0o755})
}

func TestEqualImagesHaveNoDifference(t *testing.T) {
	d, err := eif.Compare(write(t, sample(t)), write(t, sample(t)))
	if d != nil || err != nil {
		t.Errorf("got %v, %v", d, err)
	}
}

func TestCompareNamesTheFirstDifference(t *testing.T) {
	etc := cpio.Entry{Path: "etc", Kind: cpio.Directory, Mode: 0o755}
	for _, test := range []struct {
		name   string
		change func(*eif.Image)
		want   string // with the changed image second
		back   string // with the changed image first
	}{
		{"the architecture", func(img *eif.Image) { img.Architecture, img.Kernel = eif.AArch64, patched(t) },
			"header: x86_64 in the first, aarch64 in the second",
			"header: aarch64 in the first, x86_64 in the second"},
		{"a byte of the kernel", func(img *eif.Image) { img.Kernel[0x21f] = 'x' },
			`kernel, byte 543: "\x00" in the first, "x" in the second`,
			`kernel, byte 543: "x" in the first, "\x00" in the second`},
		{"a longer kernel", func(img *eif.Image) { img.Kernel = append(img.Kernel, "end"...) },
			`kernel, byte 544: the end in the first, "end" in the second`,
			`kernel, byte 544: "end" in the first, the end in the second`},
		{"the command line", func(img *eif.Image) { img.CommandLine = "console=tty" },
			`command line, byte 11: "S0" in the first, the end in the second`,
			`command line, byte 11: the end in the first, "S0" in the second`},
		{"the metadata", func(img *eif.Image) { img.Metadata.ImageVersion = "2" },
			`metadata, byte 33: "1\",\"BuildMetadata\":{\"Bui" in the first, "2\",\"BuildMetadata\":{\"Bui" in the second`,
			`metadata, byte 33: "2\",\"BuildMetadata\":{\"Bui" in the first, "1\",\"BuildMetadata\":{\"Bui" in the second`},
		{"a byte of a file", func(img *eif.Image) { img.Ramdisks[1] = ramdisk(t, entries("encLave")...) },
			`ramdisk 1, file app/enclave, byte 3: "lave" in the first, "Lave" in the second`,
			`ramdisk 1, file app/enclave, byte 3: "Lave" in the first, "lave" in the second`},
		{"a longer file", func(img *eif.Image) { img.Ramdisks[1] = ramdisk(t, entries("enclave+")...) },
			`ramdisk 1, file app/enclave, byte 7: the end in the first, "+" in the second`,
			`ramdisk 1, file app/enclave, byte 7: "+" in the first, the end in the second`},
		{"a file's mode", func(img *eif.Image) {
			changed := entries("enclave")
			changed[0].Mode = 0o700
			img.Ramdisks[1] = ramdisk(t, changed...)
		},
			"ramdisk 1, file app/enclave: file 0755 of 7 bytes in the first, file 0700 of 7 bytes in the second",
			"ramdisk 1, file app/enclave: file 0700 of 7 bytes in the first, file 0755 of 7 bytes in the second"},
		{"a file for a directory", func(img *eif.Image) {
			changed := entries("enclave")
			changed[1].Kind = cpio.File
			img.Ramdisks[1] = ramdisk(t, changed...)
		},
			"ramdisk 1, file tmp: dir 0755 of 0 bytes in the first, file 0755 of 0 bytes in the second",
			"ramdisk 1, file tmp: file 0755 of 0 bytes in the first, dir 0755 of 0 bytes in the second"},
		{"another entry between", func(img *eif.Image) { img.Ramdisks[1] = ramdisk(t, entries("enclave", etc)...) },
			"ramdisk 1, file etc: absent in the first, dir 0755 of 0 bytes in the second",
			"ramdisk 1, file etc: dir 0755 of 0 bytes in the first, absent in the second"},
		{"an entry less at the end", func(img *eif.Image) { img.Ramdisks[1] = ramdisk(t, entries("enclave")[:1]...) },
			"ramdisk 1, file tmp: dir 0755 of 0 bytes in the first, absent in the second",
			"ramdisk 1, file tmp: absent in the first, dir 0755 of 0 bytes in the second"},
		{"a ramdisk that is no archive", func(img *eif.Image) { img.Ramdisks[0] = []byte("0707x") },
			`ramdisk 0, byte 4: "01000000010000`,
			`ramdisk 0, byte 4: "x" in the first, "01000000010000`},
		{"another ramdisk", func(img *eif.Image) { img.Ramdisks = append(img.Ramdisks, []byte("more")) },
			"ramdisk 2: absent in the first, 4 bytes in the second",
			"ramdisk 2: 4 bytes in the first, absent in the second"},
		{"two differences", func(img *eif.Image) { img.CommandLine, img.Ramdisks[0] = "quiet", []byte("x") },
			"command line, byte 0",
			"command line, byte 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			plain, changed := sample(t), sample(t)
			plain.Ramdisks[1] = ramdisk(t, entries("enclave")...)
			changed.Ramdisks[1] = plain.Ramdisks[1]
			test.change(changed)
			a, b := write(t, plain), write(t, changed)
			difference(t, a, b, test.want)
			difference(t, b, a, test.back)
		})
	}
}

func difference(t *testing.T, a, b []byte, want string) {
	t.Helper()
	d, err := eif.Compare(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if d == nil || !strings.HasPrefix(d.String(), want) {
		t.Errorf("got %v\nwant %s", d, want)
	}
}

func TestCompareTellsASignatureFromARamdisk(t *testing.T) {
	plain, more := sample(t), sample(t)
	signed := newSigner(t, elliptic.P256()).sign(t, plain)
	more.Ramdisks = append(more.Ramdisks, []byte("more"))
	difference(t, write(t, plain), write(t, signed), "signature: absent in the first, ")
	difference(t, write(t, signed), write(t, more), "ramdisk 2: absent in the first, 4 bytes in the second")
	difference(t, write(t, more), write(t, signed), "ramdisk 2: 4 bytes in the first, absent in the second")
}

func TestCompareSaysWhichFileIsNoImage(t *testing.T) {
	good := write(t, sample(t))
	for _, test := range []struct {
		first, second []byte
		want          string
	}{
		{nil, good, "first image: "},
		{good, good[:600], "second image: "},
	} {
		if d, err := eif.Compare(test.first, test.second); d != nil || err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("got %v, %v, want an error with %q", d, err, test.want)
		}
	}
}
