package eif_test

import (
	"bytes"
	"compress/gzip"
	"crypto/elliptic"
	"strings"
	"testing"

	"holdfast/image/cpio"
	"holdfast/image/eif"
)

func inspection(t *testing.T, img *eif.Image) string {
	t.Helper()
	var out strings.Builder
	if err := eif.WriteInspection(&out, img); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnInspectionShowsTheWholeImage(t *testing.T) {
	img := golden()
	img.Ramdisks[0] = ramdisk(t,
		cpio.Entry{Path: "dev", Kind: cpio.Directory, Mode: 0o755},
		cpio.Entry{Path: "init", Kind: cpio.File, Mode: 0o755, Data: []byte("abc")})
	want := `format           EIF version 4, x86_64
size             1374 bytes
sha384           ` + "DIGEST" + `
command line     console=ttyS0
image            "t" version "1"
built            "1970-01-01T00:00:00Z" with "x" version "0"
system           "Linux", kernel "6.12.0"
docker info      none
custom metadata  none
signature        none

section       offset  size  sha384
`
	got := inspection(t, img)
	digest, _, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	want = strings.Replace(want, "DIGEST", hexOf(digest[:]), 1)
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant it to start with\n%s", got, want)
	}
	for _, line := range []string{
		"kernel        560     11    ",
		"command line  583     13    ",
		"metadata      608     219   ",
		"ramdisk 0     839     512   ",
		"ramdisk 1     1363    11    ",
		"\nramdisk 0\ndev  dir 0755 0 -\ninit  file 0755 3 ba7816bf8f01cfea\n",
		"\nramdisk 1: not a canonical archive, not listed: cpio archive at byte 0: header is 11 bytes, want 110 bytes\n",
	} {
		if !strings.Contains(got, line) {
			t.Errorf("got\n%s\nwant %q in it", got, line)
		}
	}
}

func TestAnInspectionNamesACompressedRamdisk(t *testing.T) {
	var compressed bytes.Buffer
	zip := gzip.NewWriter(&compressed)
	if _, err := zip.Write(sample(t).Ramdisks[0]); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	img := sample(t)
	img.Ramdisks[1] = compressed.Bytes()
	if got := inspection(t, img); !strings.Contains(got, "\nramdisk 1: compressed with gzip, not listed\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestAnInspectionShowsSignatures(t *testing.T) {
	signed := newSigner(t, elliptic.P384()).sign(t, sample(t))
	const want = `ES384 by "CN=image signer", valid from 1970-01-01T00:00:00Z to 2106-02-07T06:28:16Z: `
	if got := inspection(t, signed); !strings.Contains(got, want+"verifies\n") {
		t.Errorf("got\n%s\nwant %q in it", got, want)
	}
	signed.CommandLine = "quiet"
	if got := inspection(t, signed); !strings.Contains(got, want+"INVALID: signature is over PCR0 ") {
		t.Errorf("got\n%s\nwant %q in it", got, want)
	}
}

func TestAnInspectionCannotActOnATerminal(t *testing.T) {
	img := golden()
	img.Metadata.ImageName = "\x1b[2J\u202e"
	img.Metadata.DockerInfo = []byte(`{"a":"é"}`)
	got := inspection(t, img)
	for _, c := range []byte(got) {
		if c != '\n' && (c < ' ' || c > '~') {
			t.Fatalf("byte %#02x in\n%s", c, got)
		}
	}
	if !strings.Contains(got, `"{\"a\":\"\u00e9\"}"`) {
		t.Errorf("DockerInfo is missing in\n%s", got)
	}
}

func TestAnInspectionOfNoImageIsAnError(t *testing.T) {
	var out strings.Builder
	if err := eif.WriteInspection(&out, &eif.Image{}); err == nil || out.Len() != 0 {
		t.Errorf("got %v and %q", err, out.String())
	}
}
