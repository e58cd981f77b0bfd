package holder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

// Secrets are what a folder keeps encrypted.
type Secrets struct {
	Authority    []byte       // the certificate, PEM
	AuthorityKey secret.Bytes // DER (PKCS #8)

	Certificate []byte       // the server's, PEM with its chain
	Key         secret.Bytes // PEM

	SlashingKey secret.Bytes // 32 bytes
	Token       secret.Bytes // the key manager's; empty where there is none

	// The credentials that write the slashing table; empty where it is a journal.
	AccessKeyID     string
	SecretAccessKey secret.Bytes

	Validators []Validator // ascending by public key, each once
}

// A Validator is a signing key.
type Validator struct {
	PublicKey bls.PublicKey
	Scalar    secret.Bytes // 32 bytes, big-endian
}

// MaxValidators is how many a bundle may hold.
const MaxValidators = envelope.MaxPublicKeys

// Wipe overwrites every secret.
func (s *Secrets) Wipe() {
	for _, b := range []secret.Bytes{s.AuthorityKey, s.Key, s.SlashingKey, s.Token, s.SecretAccessKey} {
		b.Wipe()
	}
	for _, v := range s.Validators {
		v.Scalar.Wipe()
	}
}

func search(validators []Validator, key bls.PublicKey) (int, bool) {
	return slices.BinarySearchFunc(validators, key, func(v Validator, key bls.PublicKey) int {
		return bytes.Compare(v.PublicKey[:], key[:])
	})
}

// Has reports whether a validator is among them.
func (s *Secrets) Has(key bls.PublicKey) bool {
	_, found := search(s.Validators, key)
	return found
}

// Add adds a validator and takes its scalar over. It reports false, and changes
// nothing, if the validator is there already.
func (s *Secrets) Add(v Validator) bool {
	i, found := search(s.Validators, v.PublicKey)
	if !found {
		s.Validators = slices.Insert(s.Validators, i, v)
	}
	return !found
}

// Remove removes a validator, if it is there, and wipes its key.
func (s *Secrets) Remove(key bls.PublicKey) bool {
	i, found := search(s.Validators, key)
	if found {
		s.Validators[i].Scalar.Wipe()
		s.Validators = slices.Delete(s.Validators, i, i+1)
	}
	return found
}

// The encoding of secrets: a line that names it, eight fields, and the validators,
// each a public key and a scalar. A length is of 32 bits, big-endian. What is read
// is written the same.
const (
	secretsMagic  = "holdfast/holder-secrets/v1\n"
	validatorSize = 48 + 32
	maxField      = 64 << 10
)

// encode writes secrets. The caller wipes what is written.
func (s *Secrets) encode() ([]byte, error) {
	fields := [][]byte{
		s.Authority, s.AuthorityKey.Reveal(), s.Certificate, s.Key.Reveal(), s.SlashingKey.Reveal(), s.Token.Reveal(),
		[]byte(s.AccessKeyID), s.SecretAccessKey.Reveal(),
	}
	size := len(secretsMagic) + 4*len(fields) + 4 + len(s.Validators)*validatorSize
	for _, field := range fields {
		if len(field) > maxField {
			return nil, fmt.Errorf("got a secret of %d bytes, want at most %d", len(field), maxField)
		}
		size += len(field)
	}
	if len(s.Validators) > MaxValidators {
		return nil, fmt.Errorf("got %d validators, want at most %d", len(s.Validators), MaxValidators)
	}
	out := append(make([]byte, 0, size), secretsMagic...) // of the right size, so that no copy is left behind
	for _, field := range fields {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(field))), field...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(s.Validators)))
	for _, v := range s.Validators {
		out = append(append(out, v.PublicKey[:]...), v.Scalar.Reveal()...)
	}
	return out, nil
}

// parseSecrets reads what encode writes. It keeps no part of data.
func parseSecrets(data []byte) (*Secrets, error) {
	rest, ok := bytes.CutPrefix(data, []byte(secretsMagic))
	if !ok {
		return nil, fmt.Errorf("%w: these are not the secrets of this version", ErrMalformed)
	}
	r := &reader{rest: rest}
	s := &Secrets{
		Authority: r.field(), AuthorityKey: secret.New(r.field()), Certificate: r.field(), Key: secret.New(r.field()),
		SlashingKey: secret.New(r.field()), Token: secret.New(r.field()),
		AccessKeyID: string(r.field()), SecretAccessKey: secret.New(r.field()),
	}
	r.validators(s)
	if r.err == nil && len(r.rest) > 0 {
		r.err = errors.New("bytes after the end")
	}
	if r.err != nil {
		s.Wipe()
		return nil, fmt.Errorf("%w: %v", ErrMalformed, r.err)
	}
	return s, nil
}

// reader cuts fields and keeps the first error.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if r.err == nil && n > len(r.rest) {
		r.err = errors.New("truncated")
	}
	if r.err != nil {
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) length(limit uint32) int {
	b := r.take(4)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(b)
	if n > limit {
		r.err = fmt.Errorf("got a length of %d, want at most %d", n, limit)
		return 0
	}
	return int(n)
}

func (r *reader) field() []byte { return append([]byte(nil), r.take(r.length(maxField))...) }

func (r *reader) validators(s *Secrets) {
	n := r.length(MaxValidators)
	data := r.take(n * validatorSize)
	for ; len(data) > 0; data = data[validatorSize:] {
		v := Validator{bls.PublicKey(data[:48]), secret.New(bytes.Clone(data[48:validatorSize]))}
		if last := len(s.Validators) - 1; last >= 0 && bytes.Compare(s.Validators[last].PublicKey[:], v.PublicKey[:]) >= 0 {
			r.err = errors.New("validators are not in order")
		}
		s.Validators = append(s.Validators, v)
	}
}
