// Package envelopetest makes sealed bundles for tests of what handles them without
// opening them: everything about them is genuine but the secrets, which are noise.
// Package enclave/bundle/bundletest makes bundles that open.
package envelopetest

import (
	"bytes"
	"crypto/rand"

	"filippo.io/age"

	"holdfast/verify/envelope"
)

// KMSKey is the ARN of a key that a bundle of [Options] may name.
const KMSKey = "arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"

// PublicKey is a bundle's only one, as an enclave writes it.
const PublicKey = "0x93247f2209abcacf57b75a51dafae777f9dd38bc7053d1af526f220a7489a6d3a2753e5f3e8b1cfe39b56f43611df74a"

var publicKey = [48]byte{
	0x93, 0x24, 0x7f, 0x22, 0x09, 0xab, 0xca, 0xcf, 0x57, 0xb7, 0x5a, 0x51, 0xda, 0xfa, 0xe7, 0x77,
	0xf9, 0xdd, 0x38, 0xbc, 0x70, 0x53, 0xd1, 0xaf, 0x52, 0x6f, 0x22, 0x0a, 0x74, 0x89, 0xa6, 0xd3,
	0xa2, 0x75, 0x3e, 0x5f, 0x3e, 0x8b, 0x1c, 0xfe, 0x39, 0xb5, 0x6f, 0x43, 0x61, 0x1d, 0xf7, 0x4a,
}

// Options say what a bundle is like. The zero value is bundle "staking", version 1,
// wrapped by KMS.
type Options struct {
	Version       uint64
	Configuration string          // canonical JSON
	Recipients    []age.Recipient // none: wrapped by KMS alone
	DataKey       []byte          // what the recipients get, if not the bundle's own
}

// New makes a bundle, and returns its data key too.
func New(o Options) (e *envelope.Envelope, dataKey []byte, err error) {
	dataKey = make([]byte, envelope.DataKeySize)
	rand.Read(dataKey)
	e = &envelope.Envelope{
		Name: "staking", Version: max(o.Version, 1),
		Configuration: []byte(`{"network":{"name":"hoodi"}}`),
		PublicKeys:    [][48]byte{publicKey},
		Sealed:        make([]byte, 100),
	}
	rand.Read(e.Sealed)
	if o.Configuration != "" {
		e.Configuration = []byte(o.Configuration)
	}
	if e.Commitment, err = envelope.Commit(dataKey); err != nil {
		return nil, nil, err
	}
	if len(o.Recipients) == 0 {
		e.KMS = &envelope.KMSWrap{Key: KMSKey, Ciphertext: []byte("wrapped")}
		return e, dataKey, e.Check()
	}
	wrapped := dataKey
	if o.DataKey != nil {
		wrapped = o.DataKey
	}
	if e.Age, err = encrypt(wrapped, o.Recipients); err != nil {
		return nil, nil, err
	}
	return e, dataKey, e.Check()
}

func encrypt(data []byte, recipients []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}
