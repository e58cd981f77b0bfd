package envelope

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// AssociatedData returns all that comes before the sealed part: [Magic]; name;
// version as a big-endian uint64; configuration; the number of public keys as a
// big-endian uint32, and the keys; ARN and ciphertext of KMS; age file; and
// commitment. What has no fixed size stands after its length as a big-endian
// uint32, and what a bundle lacks has length 0.
func (e *Envelope) AssociatedData() []byte {
	var kms KMSWrap
	if e.KMS != nil {
		kms = *e.KMS
	}
	out := []byte(Magic)
	out = appendField(out, []byte(e.Name))
	out = binary.BigEndian.AppendUint64(out, e.Version)
	out = appendField(out, e.Configuration)
	out = binary.BigEndian.AppendUint32(out, uint32(len(e.PublicKeys)))
	for i := range e.PublicKeys {
		out = append(out, e.PublicKeys[i][:]...)
	}
	out = appendField(out, []byte(kms.Key))
	out = appendField(out, kms.Ciphertext)
	out = appendField(out, e.Age)
	return append(out, e.Commitment[:]...)
}

// Bytes returns the file: the associated data, and the sealed part after its length
// as a big-endian uint32. It checks nothing: [Parse] refuses the file of an envelope
// that [Envelope.Check] refuses.
func (e *Envelope) Bytes() []byte { return appendField(e.AssociatedData(), e.Sealed) }

func appendField(out, field []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
	return append(out, field...)
}

// Parse reads a file of at most [MaxSize] bytes. It keeps no part of data. It knows
// nothing of the data key, so it cannot tell a genuine bundle from one that somebody
// made up.
func Parse(data []byte) (*Envelope, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("envelope: got %d bytes, want at most %d", len(data), MaxSize)
	}
	rest, ok := bytes.CutPrefix(data, []byte(Magic))
	if !ok {
		return nil, fmt.Errorf("envelope: this is no sealed bundle: want %q at the start", Magic)
	}
	c := &cutter{rest: rest}
	e := c.envelope()
	if c.err == nil && len(c.rest) > 0 {
		c.err = fmt.Errorf("got %d bytes after the end", len(c.rest))
	}
	if c.err != nil {
		return nil, fmt.Errorf("envelope: %w", c.err)
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	return e, nil
}

// A cutter takes fields off the front of rest. After its first error it gives
// nothing any more.
type cutter struct {
	rest []byte
	err  error
}

func (c *cutter) envelope() *Envelope {
	e := &Envelope{
		Name:          string(c.field("name", MaxNameSize)),
		Version:       c.number("version"),
		Configuration: c.field("configuration", MaxConfigurationSize),
		PublicKeys:    c.publicKeys(),
	}
	kms := KMSWrap{
		Key:        string(c.field("KMS key", MaxARNSize)),
		Ciphertext: c.field("KMS ciphertext", MaxCiphertextSize),
	}
	if kms.Key != "" || kms.Ciphertext != nil {
		e.KMS = &kms
	}
	e.Age = c.field("age file", MaxAgeSize)
	copy(e.Commitment[:], c.take("commitment", len(e.Commitment)))
	e.Sealed = c.field("sealed part", NonceSize+TagSize+MaxSecretsSize)
	return e
}

// take returns the next size bytes, a slice of the file, or nil.
func (c *cutter) take(name string, size int) []byte {
	if c.err == nil && len(c.rest) < size {
		c.err = fmt.Errorf("truncated within the %s: got %d bytes, want %d", name, len(c.rest), size)
	}
	if c.err != nil {
		return nil
	}
	taken := c.rest[:size]
	c.rest = c.rest[size:]
	return taken
}

func (c *cutter) number(name string) uint64 {
	if b := c.take(name, 8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// size returns a length or number that stands before something, at most limit.
func (c *cutter) size(name string, limit int) int {
	b := c.take("length of the "+name, 4)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(b)
	if n > uint32(limit) {
		c.err = fmt.Errorf("got a length of the %s of %d, want at most %d", name, n, limit)
		return 0
	}
	return int(n)
}

// field returns a copy of a field of at most limit bytes, or nil if it is empty.
func (c *cutter) field(name string, limit int) []byte {
	return append([]byte(nil), c.take(name, c.size(name, limit))...)
}

func (c *cutter) publicKeys() [][48]byte {
	n := c.size("list of public keys", MaxPublicKeys)
	data := c.take("list of public keys", n*48)
	if len(data) == 0 {
		return nil
	}
	keys := make([][48]byte, n)
	for i := range keys {
		copy(keys[i][:], data[i*48:])
	}
	return keys
}
