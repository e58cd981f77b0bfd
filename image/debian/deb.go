package debian

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/xi2/xz"
)

const (
	// maxDictionary bounds what an xz stream may make the decoder allocate; "xz -9" asks for this much.
	maxDictionary = 64 << 20
	// maxControlMember bounds the control archive, which holds scripts and hashes.
	maxControlMember = 16 << 20
)

// The ar format (deb(5), ar(5)).
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	arTerminator = "`\n"
)

// openData checks the frame of a binary package (deb(5), format 2.0) and returns its files as a tar
// stream. The caller calls finish after the last entry: it fails unless the package ends there.
func openData(r io.Reader) (files *tar.Reader, finish func() error, err error) {
	in := bufio.NewReaderSize(r, 64<<10)
	magic := make([]byte, len(arMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != arMagic {
		return nil, nil, errors.New("not a Debian package: no ar magic")
	}
	if err := skipControl(in); err != nil {
		return nil, nil, err
	}
	m, err := readMember(in)
	if err != nil {
		return nil, nil, err
	}
	plain, err := decompress(m.name, "data.tar", io.LimitReader(in, m.size))
	if err != nil {
		return nil, nil, err
	}
	plain = newBoundedReader(plain, maxUnpacked)
	finish = func() error {
		if _, err := io.Copy(io.Discard, plain); err != nil {
			return fmt.Errorf("after the last file: %w", err)
		}
		return expectEnd(in, m.size)
	}
	return tar.NewReader(plain), finish, nil
}

// skipControl reads past the format's version and the control archive: nothing in it is run or needed.
func skipControl(in *bufio.Reader) error {
	m, err := readMember(in)
	if err != nil {
		return err
	}
	if m.name != "debian-binary" || m.size > 16 {
		return fmt.Errorf("first member is %q, want \"debian-binary\"", m.name)
	}
	version := make([]byte, m.size)
	if _, err := io.ReadFull(in, version); err != nil {
		return truncated(err)
	}
	if !bytes.HasPrefix(version, []byte("2.")) {
		return fmt.Errorf("package format %q, want 2.0", version)
	}
	if m, err = readMember(in); err != nil {
		return err
	}
	if !strings.HasPrefix(m.name, "control.tar") || m.size > maxControlMember {
		return fmt.Errorf("second member is %q of %d bytes, want \"control.tar\" of at most %d", m.name, m.size, maxControlMember)
	}
	return skip(in, m.size+m.size%2)
}

func skip(in io.Reader, n int64) error {
	if _, err := io.CopyN(io.Discard, in, n); err != nil {
		return truncated(err)
	}
	return nil
}

// A member is the header of one file in an ar archive.
type member struct {
	name string
	size int64
}

func readMember(in io.Reader) (member, error) {
	var h [arHeaderSize]byte
	if _, err := io.ReadFull(in, h[:]); err != nil {
		return member{}, truncated(err)
	}
	if string(h[58:]) != arTerminator {
		return member{}, errors.New("malformed ar header")
	}
	size, err := strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	if err != nil || size < 0 {
		return member{}, fmt.Errorf("malformed ar header: size %q", h[48:58])
	}
	return member{name: strings.TrimRight(string(h[:16]), " /"), size: size}, nil
}

// expectEnd fails unless the archive ends after a data member of that size. What the decompressor has
// buffered is part of the member, since it reads through a limit.
func expectEnd(in *bufio.Reader, size int64) error {
	if size%2 == 1 {
		if err := skip(in, 1); err != nil {
			return err
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return errors.New("trailing bytes after the data member")
	}
	return nil
}

func truncated(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("package is truncated")
	}
	return err
}

// decompress chooses by the suffix of a member's name, which must begin with stem.
func decompress(name, stem string, r io.Reader) (io.Reader, error) {
	suffix, ok := strings.CutPrefix(name, stem)
	if !ok {
		return nil, fmt.Errorf("member is %q, want %q", name, stem)
	}
	switch suffix {
	case "":
		return r, nil
	case ".gz":
		return gzip.NewReader(r)
	case ".xz":
		return xz.NewReader(r, maxDictionary)
	}
	return nil, fmt.Errorf("%s: compression %q is not supported (want xz, gz or none)", name, suffix)
}
