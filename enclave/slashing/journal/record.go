package journal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal/wire"
)

// A record is
//
//	wire.Header                       what the server reads
//	1 byte, name; 32 bytes            the bundle's name and the genesis validators root
//	32 bytes salt; 8 bytes counter    of the key and of the nonce
//	AES-256-GCM of the payload        under the key of that salt, all the above authenticated
//
// Every start of an enclave draws a salt, derives a key from the bundle's and the
// salt, and counts nonces from zero. So no nonce comes twice under one key although
// the host may run one bundle many times, and from one history: sequence numbers
// repeat then, salts do not. A record that must be sent again is sent as it was
// sealed.

const (
	keySize  = 32
	saltSize = 32
	// keyLabel begins the HKDF info of the keys of records.
	keyLabel = "holdfast/journal/record/v1"
)

// identity is whose journal it is. Both are bound into every record.
type identity struct {
	name    string
	network slashing.Root
}

func (id identity) appendTo(b []byte) []byte {
	b = append(append(b, byte(len(id.name))), id.name...)
	return append(b, id.network[:]...)
}

// key derives the key of one salt (RFC 5869).
func (id identity) key(secret, salt []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, secret, salt, string(id.appendTo([]byte(keyLabel))), keySize)
	if err != nil {
		return nil, err
	}
	defer clear(derived)
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealer seals the records of one start.
type sealer struct {
	identity
	aead    cipher.AEAD
	salt    [saltSize]byte
	counter uint64 // of the next nonce
}

func newSealer(id identity, secret []byte) (*sealer, error) {
	s := &sealer{identity: id}
	_, _ = rand.Read(s.salt[:]) // never fails (crypto/rand)
	var err error
	s.aead, err = id.key(secret, s.salt[:])
	return s, err
}

// seal makes the record that follows head.
func (s *sealer) seal(head wire.Position, snapshot bool, p *payload) []byte {
	header := wire.Header{Snapshot: snapshot, Sequence: head.Sequence + 1, Previous: head.Digest}
	plain := p.encode()
	b := make([]byte, 0, wire.HeaderSize+1+maxName+32+saltSize+8+len(plain)+s.aead.Overhead())
	b = append(s.identity.appendTo(header.AppendTo(b)), s.salt[:]...)
	b = binary.BigEndian.AppendUint64(b, s.counter)
	s.counter++
	return s.aead.Seal(b, nonce(b), plain, b)
}

// nonce is made of the counter that ends the clear part of a record.
func nonce(clear []byte) []byte {
	return append(make([]byte, 4, 12), clear[len(clear)-8:]...)
}

// opener opens records. It keeps the key of the salt seen last, since records of
// one start follow each other.
type opener struct {
	identity
	secret []byte
	salt   [saltSize]byte
	aead   cipher.AEAD
}

var errSeal = errors.New("its seal does not open: damaged, or sealed under another slashing key")

// open checks and opens a record, all but its place in the chain.
func (o *opener) open(record []byte) (wire.Header, *payload, error) {
	header, err := wire.ParseHeader(record)
	if err != nil {
		return header, nil, err
	}
	r := &reader{data: record[wire.HeaderSize:]}
	id := identity{name: string(r.take(int(r.take(1)[0]))), network: slashing.Root(r.take(32))}
	salt := [saltSize]byte(r.take(saltSize))
	r.take(8)
	if r.err != nil {
		return header, nil, errors.New("it is too short for a record")
	}
	if err := o.identity.check(id); err != nil {
		return header, nil, err
	}
	if o.aead == nil || salt != o.salt {
		if o.aead, err = o.key(o.secret, salt[:]); err != nil {
			return header, nil, err
		}
		o.salt = salt
	}
	clear, sealed := record[:len(record)-len(r.data)], r.data
	plain, err := o.aead.Open(nil, nonce(clear), sealed, clear)
	if err != nil {
		return header, nil, errSeal
	}
	p, err := decodePayload(plain)
	return header, p, err
}

// check compares a record's identity with the store's. The record's is not
// authenticated yet: it serves to say what is wrong.
func (id identity) check(got identity) error {
	if got.name != id.name {
		return fmt.Errorf("the journal is of bundle %q, want %q", got.name, id.name)
	}
	if got.network != id.network {
		return fmt.Errorf("the journal is of genesis validators root %#x, want %#x", got.network, id.network)
	}
	return nil
}

// checkName holds a bundle's name to its grammar.
func checkName(name string) error {
	if len(name) < 1 || len(name) > maxName {
		return fmt.Errorf("bundle name %q has %d bytes, want 1 to %d", name, len(name), maxName)
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("bundle name %q, want lower-case letters, digits and hyphens", name)
		}
	}
	return nil
}
