package kmstest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"slices"

	"holdfast/internal/kmstest/policy"
)

// A key is symmetric or for agreement.
type key struct {
	arn      string
	policy   *policy.Policy
	disabled bool

	symmetric cipher.AEAD
	agreement *ecdh.PrivateKey
}

func newSymmetric() (*key, error) {
	block, err := aes.NewCipher(random(32))
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &key{policy: &policy.Policy{}, symmetric: aead}, err
}

func newAgreement() (*key, error) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	return &key{policy: &policy.Policy{}, agreement: private}, err
}

// magic begins every ciphertext. What follows is the length of the key's ARN in
// two bytes, the ARN, and AES-256-GCM with the context as associated data.
const magic = "kmstest\x01"

func (k *key) encrypt(plaintext []byte, context map[string]string) []byte {
	out := binary.BigEndian.AppendUint16([]byte(magic), uint16(len(k.arn)))
	out = append(out, k.arn...)
	return append(out, k.symmetric.Seal(nil, nil, plaintext, associatedData(k.arn, context))...)
}

// owner returns the ARN in a ciphertext, and what follows it.
func owner(ciphertext []byte) (arn string, sealed []byte, ok bool) {
	rest, ok := bytes.CutPrefix(ciphertext, []byte(magic))
	if !ok || len(rest) < 2 {
		return "", nil, false
	}
	length := int(binary.BigEndian.Uint16(rest))
	if rest = rest[2:]; len(rest) < length {
		return "", nil, false
	}
	return string(rest[:length]), rest[length:], true
}

func (k *key) decrypt(sealed []byte, context map[string]string) ([]byte, error) {
	return k.symmetric.Open(nil, nil, sealed, associatedData(k.arn, context))
}

// associatedData is the ARN and the context's pairs in order, each with its length.
func associatedData(arn string, context map[string]string) []byte {
	field := func(out []byte, s string) []byte {
		return append(binary.BigEndian.AppendUint32(out, uint32(len(s))), s...)
	}
	out := field(nil, arn)
	for _, name := range slices.Sorted(maps.Keys(context)) {
		out = field(field(out, name), context[name])
	}
	return out
}
