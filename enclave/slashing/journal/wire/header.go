package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderSize is the length of a record's Header in bytes.
const HeaderSize = 2 + 8 + digestSize

// recordFormat is the version of the records that the header begins.
const recordFormat = 1

// snapshotFlag is the only flag of a header.
const snapshotFlag = 1

// Header begins every record, in the clear: all that the server needs of it. What
// follows it is the enclave's alone.
type Header struct {
	Snapshot bool   // the record stands for all before it, and begins a file
	Sequence uint64 // from 1, without gaps
	Previous Digest // of the record before; zero for the first
}

// AppendTo appends the header's encoding.
func (h Header) AppendTo(b []byte) []byte {
	var flags byte
	if h.Snapshot {
		flags = snapshotFlag
	}
	b = binary.BigEndian.AppendUint64(append(b, recordFormat, flags), h.Sequence)
	return append(b, h.Previous[:]...)
}

// ParseHeader reads the header of a record.
func ParseHeader(record []byte) (Header, error) {
	if len(record) < HeaderSize {
		return Header{}, fmt.Errorf("record has %d bytes, want a header of %d", len(record), HeaderSize)
	}
	if record[0] != recordFormat {
		return Header{}, fmt.Errorf("record has format %d, want %d", record[0], recordFormat)
	}
	if record[1] > snapshotFlag {
		return Header{}, fmt.Errorf("record has flags %#x, want 0 or %#x", record[1], snapshotFlag)
	}
	h := Header{
		Snapshot: record[1] == snapshotFlag,
		Sequence: binary.BigEndian.Uint64(record[2:]),
		Previous: Digest(record[10:]),
	}
	if h.Sequence == 0 {
		return Header{}, errors.New("record has sequence 0, want 1 or more")
	}
	if (h.Sequence == 1) != (h.Previous == Digest{}) {
		return Header{}, fmt.Errorf("record %d follows %x: the first and no other follows nothing", h.Sequence, h.Previous)
	}
	return h, nil
}

// Follows returns nil if a record with this header may come after head.
func (h Header) Follows(head Position) error {
	if h.Sequence != head.Sequence+1 {
		return fmt.Errorf("record %d comes after record %d", h.Sequence, head.Sequence)
	}
	if h.Previous != head.Digest {
		return fmt.Errorf("record %d follows a record with digest %x, want %x", h.Sequence, h.Previous, head.Digest)
	}
	return nil
}
