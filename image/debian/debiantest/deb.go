package debiantest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"time"
)

// PackedAt is the time that every entry of a package carries unless its header says otherwise.
var PackedAt = time.Date(2023, 4, 11, 12, 0, 0, 0, time.UTC)

// An Entry is a file in a package; Header.Size is filled in from Content.
type Entry struct {
	tar.Header
	Content string
}

// File returns a regular file.
func File(name, content string, mode int64) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, Content: content}
}

// Dir returns a directory.
func Dir(name string, mode int64) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode}}
}

// Symlink returns a symbolic link.
func Symlink(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

// Hardlink returns a hard link.
func Hardlink(name, target string) Entry {
	return Entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

// Deb returns a binary package whose data archive is compressed with xz.
func Deb(entries ...Entry) []byte { return Frame("data.tar.xz", XZ(Tar(entries...))) }

// DebGzip returns a binary package whose data archive is compressed with gzip.
func DebGzip(entries ...Entry) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	must(w.Write(Tar(entries...)))
	check(w.Close())
	return Frame("data.tar.gz", b.Bytes())
}

// Frame returns a package whose data member has that name and content.
func Frame(name string, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar.xz", XZ(Tar())}, {name, data}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// Tar returns the entries as a tar archive.
func Tar(entries ...Entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := e.Header
		h.Size = int64(len(e.Content))
		if h.ModTime.IsZero() {
			h.ModTime = PackedAt
		}
		check(w.WriteHeader(&h))
		must(w.Write([]byte(e.Content)))
	}
	check(w.Close())
	return b.Bytes()
}

func must(_ int, err error) { check(err) }

// check panics: what this package makes comes from tests, and only a wrong test can make it fail.
func check(err error) {
	if err != nil {
		panic(err)
	}
}
