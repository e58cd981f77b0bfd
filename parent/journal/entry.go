package journal

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"holdfast/enclave/slashing/journal/wire"
)

// A file is a sequence of entries, the first of which holds a snapshot. An entry is
//
//	4 bytes   length of the record
//	32 bytes  its SHA-256
//	4 bytes   CRC-32C of the above
//	…         the record, as the enclave gave it
//
// The checksum of the length tells a file that ends within an entry, as a crash
// leaves it, from one in which a length went bad: the first has lost a record that
// was never acknowledged, the second many that were.
const entryHeader = 4 + 32 + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendEntry(b []byte, digest wire.Digest, record []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(record)))
	b = append(b, digest[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
	return append(b, record...)
}

// errTorn is an entry that was not completely written.
var errTorn = errors.New("the last entry is incomplete")

// DamageError says where a file is not as it was written.
type DamageError struct {
	File   string
	Offset int64  // of the entry in the file, in bytes
	After  uint64 // sequence number of the record before it, 0 if it is the file's first
	Err    error
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("journal file %s is damaged at byte %d, after record %d: %v", e.File, e.Offset, e.After, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

// scanner reads the entries of a file and holds them to their digests and order.
type scanner struct {
	name   string
	reader io.ReaderAt
	size   int64
	offset int64         // of the next entry
	first  uint64        // sequence number of the first entry
	head   wire.Position // of the last entry read
}

// next returns the next entry: io.EOF at the end of the file, errTorn where it ends
// within an entry, and a *DamageError for what no crash leaves behind.
func (s *scanner) next() (wire.Entry, error) {
	if s.offset == s.size {
		return wire.Entry{}, io.EOF
	}
	entry, err := s.read()
	if err == nil {
		err = s.place(entry)
	}
	if err != nil && !errors.Is(err, errTorn) {
		err = &DamageError{s.name, s.offset, s.head.Sequence, err}
	}
	if err != nil {
		return wire.Entry{}, err
	}
	s.offset += entryHeader + int64(len(entry.Record))
	return entry, nil
}

func (s *scanner) read() (wire.Entry, error) {
	left := s.size - s.offset
	if left < entryHeader {
		return wire.Entry{}, errTorn
	}
	var header [entryHeader]byte
	if _, err := s.reader.ReadAt(header[:], s.offset); err != nil {
		return wire.Entry{}, err
	}
	length := int64(binary.BigEndian.Uint32(header[:]))
	if crc32.Checksum(header[:36], castagnoli) != binary.BigEndian.Uint32(header[36:]) {
		return wire.Entry{}, s.unlessBlank(s.offset+entryHeader, errors.New("the checksum of an entry's header is wrong"))
	}
	if length < wire.HeaderSize || length > wire.MaxRecord {
		return wire.Entry{}, fmt.Errorf("an entry has %d bytes, want %d to %d", length, wire.HeaderSize, wire.MaxRecord)
	}
	if left-entryHeader < length {
		return wire.Entry{}, errTorn
	}
	entry := wire.Entry{Digest: wire.Digest(header[4:36]), Record: make([]byte, length)}
	if _, err := s.reader.ReadAt(entry.Record, s.offset+entryHeader); err != nil {
		return wire.Entry{}, err
	}
	if got := wire.Digest(sha256.Sum256(entry.Record)); got != entry.Digest {
		damage := fmt.Errorf("a record has digest %x, want %x", got, entry.Digest)
		return wire.Entry{}, s.unlessBlank(s.offset+entryHeader+length-blankTail, damage)
	}
	return entry, nil
}

// blankTail is how many zeros at the end of a record mean that it was never
// written there. A record ends with the 16 bytes of its seal.
const blankTail = 16

// unlessBlank returns errTorn if there are only zeros from an offset to the end of
// the file, as some file systems leave what they had made room for when they
// crashed, and otherwise the damage.
func (s *scanner) unlessBlank(from int64, damage error) error {
	buffer := make([]byte, 64<<10)
	for from < s.size {
		n, err := s.reader.ReadAt(buffer[:min(int64(len(buffer)), s.size-from)], from)
		if n == 0 {
			return err
		}
		for _, b := range buffer[:n] {
			if b != 0 {
				return damage
			}
		}
		from += int64(n)
	}
	return errTorn
}

// place checks that a record follows the one before it.
func (s *scanner) place(entry wire.Entry) error {
	header, err := wire.ParseHeader(entry.Record)
	if err != nil {
		return err
	}
	if s.head == (wire.Position{}) && !header.Snapshot {
		return errors.New("the file does not begin with a snapshot")
	}
	if s.head != (wire.Position{}) {
		if err := header.Follows(s.head); err != nil {
			return err
		}
	}
	if s.first == 0 {
		s.first = header.Sequence
	}
	s.head = wire.Position{Sequence: header.Sequence, Digest: entry.Digest}
	return nil
}
