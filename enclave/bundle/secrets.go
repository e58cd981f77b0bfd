package bundle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/enclave/secret"
)

// Secrets are what a bundle seals.
type Secrets struct {
	TLS         *Identity
	Token       secret.Bytes // empty where there is none
	SlashingKey secret.Bytes
	Store       *Credentials
	Validators  []secret.Bytes // scalars of 32 bytes, big-endian
}

// secretsMagic starts the encoding: the label, then each text after its length as a
// big-endian uint32, then the number of validators and their scalars.
const secretsMagic = "holdfast/secrets/v1\n"

const scalarSize = 32

// texts are the secrets of no fixed size, in the order of the encoding.
type texts struct {
	certificate, key, token, slashingKey, accessKeyID, secretAccessKey []byte
}

func (t *texts) all() []text {
	return []text{
		{"TLS certificate", &t.certificate, maxPEMSize},
		{"TLS key", &t.key, maxPEMSize},
		{"key manager's token", &t.token, maxToken},
		{"slashing key", &t.slashingKey, SlashingKeySize},
		{"access key id", &t.accessKeyID, maxAccessKeyID},
		{"secret access key", &t.secretAccessKey, maxSecretAccessKey},
	}
}

type text struct {
	name  string
	bytes *[]byte
	limit int
}

func (s *Secrets) texts() *texts {
	t := &texts{token: s.Token.Reveal(), slashingKey: s.SlashingKey.Reveal()}
	if s.TLS != nil {
		t.certificate, t.key = s.TLS.Certificate, s.TLS.Key.Reveal()
	}
	if s.Store != nil {
		t.accessKeyID, t.secretAccessKey = []byte(s.Store.AccessKeyID), s.Store.SecretAccessKey.Reveal()
	}
	return t
}

// secrets returns copies of the texts.
func (t *texts) secrets() *Secrets {
	s := &Secrets{Token: secret.New(bytes.Clone(t.token)), SlashingKey: secret.New(bytes.Clone(t.slashingKey))}
	if t.certificate != nil || t.key != nil {
		s.TLS = &Identity{Certificate: bytes.Clone(t.certificate), Key: secret.New(bytes.Clone(t.key))}
	}
	if t.accessKeyID != nil || t.secretAccessKey != nil {
		s.Store = &Credentials{AccessKeyID: string(t.accessKeyID), SecretAccessKey: secret.New(bytes.Clone(t.secretAccessKey))}
	}
	return s
}

// Wipe overwrites every secret.
func (s *Secrets) Wipe() {
	for _, scalar := range s.Validators {
		scalar.Wipe()
	}
	s.Token.Wipe()
	s.SlashingKey.Wipe()
	if s.TLS != nil {
		s.TLS.Key.Wipe()
	}
	if s.Store != nil {
		s.Store.SecretAccessKey.Wipe()
	}
}

// encode writes the secrets with the validators in this order.
func (s *Secrets) encode(order []int) []byte {
	all := s.texts().all()
	size := len(secretsMagic) + 4 + scalarSize*len(order)
	for _, t := range all {
		size += 4 + len(*t.bytes)
	}
	out := append(make([]byte, 0, size), secretsMagic...)
	for _, t := range all {
		out = binary.BigEndian.AppendUint32(out, uint32(len(*t.bytes)))
		out = append(out, *t.bytes...)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(order)))
	for _, i := range order {
		out = append(out, s.Validators[i].Reveal()...)
	}
	return out
}

// decode reads an encoding. The scalars are a slice of data, each scalarSize bytes;
// everything else is a copy.
func decode(data []byte) (s *Secrets, scalars []byte, err error) {
	rest, ok := bytes.CutPrefix(data, []byte(secretsMagic))
	if !ok {
		return nil, nil, fmt.Errorf("want %q at the start of the secrets", secretsMagic)
	}
	var t texts
	for _, text := range t.all() {
		if *text.bytes, rest, err = cut(rest, text.limit, 1); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", text.name, err)
		}
	}
	if scalars, rest, err = cut(rest, MaxValidators, scalarSize); err != nil {
		return nil, nil, fmt.Errorf("validators: %w", err)
	}
	if len(rest) > 0 {
		return nil, nil, fmt.Errorf("got %d bytes after the end of the secrets", len(rest))
	}
	return t.secrets(), scalars, nil
}

// cut takes a number of at most limit, and as many elements of size bytes, off the
// front of data. Of none it returns nil.
func cut(data []byte, limit, size int) (elements, rest []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errors.New("truncated before a length")
	}
	n := binary.BigEndian.Uint32(data)
	data = data[4:]
	if n > uint32(limit) {
		return nil, nil, fmt.Errorf("got %d, want at most %d", n, limit)
	}
	if want := int(n) * size; len(data) < want {
		return nil, nil, fmt.Errorf("truncated: got %d bytes, want %d", len(data), want)
	}
	if n == 0 {
		return nil, data, nil
	}
	return data[:int(n)*size], data[int(n)*size:], nil
}
