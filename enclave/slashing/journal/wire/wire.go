// Package wire is what the enclave's slashing journal and the server that keeps it
// on the parent say to each other over one stream, and the part of a record that
// both read.
//
// A frame is one byte of kind, four bytes of length and a payload; integers are
// big-endian. The enclave begins:
//
//	Hello                    ->        a new connection displaces an older one
//	                         <-  Head  of what is durable, zero if there is nothing
//	Read                     ->
//	                         <-  Entry…, Head: the records from the latest snapshot on
//	Append                   ->
//	                         <-  Ack, once the record is durable
//
// To anything but Hello the server may answer with a Refusal; then the connection
// is of no more use, and what was asked for may have happened or not. Every
// payload is bounded, has exactly one encoding, and leaves nothing over.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Port is the vsock port of the parent on which the journal is served.
const Port = 5555

// MaxRecord is the length of the longest record in bytes: a snapshot of 131,072
// keys, the most that an interchange may hold, with all that is known of each.
const MaxRecord = 18 << 20

// greeting opens a connection. Its last byte is the protocol's version.
const greeting = "holdfast-journal\x01"

const (
	frameHeader = 5
	maxPayload  = digestSize + MaxRecord
	maxReason   = 512 // bytes of a refusal's text
	digestSize  = 32
)

// Digest is the SHA-256 of a record. It names the record and all before it, since
// a record holds the digest of the one before.
type Digest = [digestSize]byte

// Position is a record's place in the chain: its sequence number, from 1, and its
// digest. The zero value is the place before the first record.
type Position struct {
	Sequence uint64
	Digest   Digest
}

func (p Position) String() string { return fmt.Sprintf("record %d (%x)", p.Sequence, p.Digest) }

// Message is one of the messages of this package.
type Message interface {
	kind() byte
	appendTo([]byte) []byte
}

// Hello opens a connection, from the enclave.
type Hello struct{}

// Head says what is durable. Torn is the number of bytes of an incomplete last
// record that the server set aside when it opened the journal: a record that was
// never acknowledged.
type Head struct {
	Position
	Torn uint32
}

// Read asks for the records from the latest snapshot on.
type Read struct{}

// Entry is one record read back.
type Entry struct {
	Digest Digest
	Record []byte
}

// Append asks for a record to be made durable. The digest lets the server tell a
// record that was damaged on the way.
type Append struct {
	Digest Digest
	Record []byte
}

// Ack says that the record at a position is durable.
type Ack struct{ Position }

// Code says what kind of refusal a Refusal is.
type Code byte

// The kinds of refusal.
const (
	Malformed Code = 1 // the request breaks the protocol
	Conflict  Code = 2 // the record does not follow the server's head
	Storage   Code = 3 // the disk failed or is full
	Damaged   Code = 4 // the journal cannot be read back
)

// Refusal is the server's answer to what it cannot or will not do. It is an error.
type Refusal struct {
	Code   Code
	Reason string // at most 512 bytes of UTF-8
}

func (r Refusal) Error() string {
	return fmt.Sprintf("journal server refuses (%s): %q", r.Code, r.Reason)
}

func (c Code) String() string {
	names := [...]string{Malformed: "malformed", Conflict: "conflict", Storage: "storage", Damaged: "damaged"}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return fmt.Sprintf("code %d", byte(c))
}

const (
	kindHello byte = iota + 1
	kindHead
	kindRead
	kindEntry
	kindAppend
	kindAck
	kindRefusal
)

func (Hello) kind() byte   { return kindHello }
func (Head) kind() byte    { return kindHead }
func (Read) kind() byte    { return kindRead }
func (Entry) kind() byte   { return kindEntry }
func (Append) kind() byte  { return kindAppend }
func (Ack) kind() byte     { return kindAck }
func (Refusal) kind() byte { return kindRefusal }

func (Hello) appendTo(b []byte) []byte { return append(b, greeting...) }
func (h Head) appendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint32(h.Position.appendTo(b), h.Torn)
}
func (Read) appendTo(b []byte) []byte    { return b }
func (e Entry) appendTo(b []byte) []byte { return append(append(b, e.Digest[:]...), e.Record...) }
func (a Append) appendTo(b []byte) []byte {
	return append(append(b, a.Digest[:]...), a.Record...)
}
func (a Ack) appendTo(b []byte) []byte { return a.Position.appendTo(b) }
func (r Refusal) appendTo(b []byte) []byte {
	return append(append(b, byte(r.Code)), r.Reason...)
}

func (p Position) appendTo(b []byte) []byte {
	return append(binary.BigEndian.AppendUint64(b, p.Sequence), p.Digest[:]...)
}

// Send writes one message in one call of Write. A message that its reader would
// not accept is an error, and nothing is written.
func Send(w io.Writer, m Message) error {
	frame := m.appendTo(make([]byte, frameHeader, frameHeader+sizeHint(m)))
	payload := frame[frameHeader:]
	if _, err := parse(m.kind(), payload); err != nil {
		return err
	}
	frame[0] = m.kind()
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	_, err := w.Write(frame)
	return err
}

// sizeHint keeps a long record from being copied as its frame grows.
func sizeHint(m Message) int {
	switch m := m.(type) {
	case Append:
		return digestSize + len(m.Record)
	case Entry:
		return digestSize + len(m.Record)
	}
	return 64
}

// Receive reads one message. At the end of the stream it returns io.EOF, and
// inside a message io.ErrUnexpectedEOF. Memory grows with what has arrived, not
// with what a length promises.
func Receive(r io.Reader) (Message, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	kind, length := header[0], binary.BigEndian.Uint32(header[1:])
	if limit := maxLength(kind); length > limit {
		return nil, fmt.Errorf("journal frame of kind %d has %d bytes, want at most %d", kind, length, limit)
	}
	payload, err := readGrowing(r, int(length))
	if err != nil {
		return nil, err
	}
	return parse(kind, payload)
}

// FrameLength returns the whole length of the frame that prefix begins, and false
// if the prefix is too short to tell.
func FrameLength(prefix []byte) (int, bool) {
	if len(prefix) < frameHeader {
		return 0, false
	}
	return frameHeader + int(binary.BigEndian.Uint32(prefix[1:])), true
}

// PrefixSize is what FrameLength needs.
const PrefixSize = frameHeader

// firstRead is what a length is believed for before anything has arrived.
const firstRead = 64 << 10

func readGrowing(r io.Reader, length int) ([]byte, error) {
	payload := make([]byte, 0, min(length, firstRead))
	for len(payload) < length {
		if len(payload) == cap(payload) {
			grown := make([]byte, len(payload), min(length, 2*cap(payload)))
			copy(grown, payload)
			payload = grown
		}
		n, err := io.ReadFull(r, payload[len(payload):cap(payload)])
		payload = payload[:len(payload)+n]
		if errors.Is(err, io.EOF) {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return payload, nil
}

func maxLength(kind byte) uint32 {
	switch kind {
	case kindEntry, kindAppend:
		return maxPayload
	case kindRefusal:
		return 1 + maxReason
	}
	return 64
}

func parse(kind byte, payload []byte) (Message, error) {
	switch kind {
	case kindHello:
		if string(payload) != greeting {
			return nil, fmt.Errorf("journal greeting is %q, want %q", payload, greeting)
		}
		return Hello{}, nil
	case kindHead:
		return parseHead(payload)
	case kindRead:
		if len(payload) != 0 {
			return nil, fmt.Errorf("journal read request has %d bytes, want none", len(payload))
		}
		return Read{}, nil
	case kindEntry:
		digest, record, err := parseRecord(payload)
		return Entry{digest, record}, err
	case kindAppend:
		digest, record, err := parseRecord(payload)
		return Append{digest, record}, err
	case kindAck:
		position, err := parsePosition(payload)
		return Ack{position}, err
	case kindRefusal:
		return parseRefusal(payload)
	}
	return nil, fmt.Errorf("journal frame of unknown kind %d", kind)
}

const positionSize = 8 + digestSize

func parsePosition(payload []byte) (Position, error) {
	if len(payload) != positionSize {
		return Position{}, fmt.Errorf("journal position has %d bytes, want %d", len(payload), positionSize)
	}
	p := Position{Sequence: binary.BigEndian.Uint64(payload), Digest: Digest(payload[8:])}
	if p.Sequence == 0 && p != (Position{}) {
		return Position{}, fmt.Errorf("journal position 0 has digest %x, want none", p.Digest)
	}
	return p, nil
}

func parseHead(payload []byte) (Message, error) {
	if len(payload) != positionSize+4 {
		return nil, fmt.Errorf("journal head has %d bytes, want %d", len(payload), positionSize+4)
	}
	position, err := parsePosition(payload[:positionSize])
	return Head{position, binary.BigEndian.Uint32(payload[positionSize:])}, err
}

func parseRecord(payload []byte) (Digest, []byte, error) {
	if len(payload) < digestSize+HeaderSize || len(payload) > maxPayload {
		return Digest{}, nil, fmt.Errorf("journal record of %d bytes, want %d to %d", len(payload)-digestSize, HeaderSize, MaxRecord)
	}
	return Digest(payload), payload[digestSize:], nil
}

func parseRefusal(payload []byte) (Message, error) {
	if len(payload) < 1 || len(payload) > 1+maxReason || !utf8.Valid(payload[1:]) {
		return nil, fmt.Errorf("journal refusal of %d bytes, want a code and at most %d bytes of UTF-8", len(payload), maxReason)
	}
	return Refusal{Code(payload[0]), string(payload[1:])}, nil
}
