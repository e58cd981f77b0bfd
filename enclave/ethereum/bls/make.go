package bls

import (
	"crypto/rand"

	blst "github.com/supranational/blst/bindings/go"

	"holdfast/enclave/secret"
)

// GenerateKey makes a key from crypto/rand, by the KeyGen of
// draft-irtf-cfrg-bls-signature section 2.3.
func GenerateKey() (*SecretKey, error) {
	var material [32]byte
	defer clear(material[:])
	_, _ = rand.Read(material[:]) // never fails
	made := blst.KeyGen(material[:])
	defer made.Zeroize()
	var scalar [32]byte
	defer clear(scalar[:])
	copy(scalar[:], made.Serialize())
	return NewSecretKey(&scalar)
}

// Scalar returns a copy of the key as 32 big-endian bytes, for whoever seals it. The
// caller wipes it.
func (k *SecretKey) Scalar() (secret.Bytes, error) {
	if k == nil || !k.ready {
		return secret.Bytes{}, ErrNoKey
	}
	return secret.New(k.scalar.Serialize()), nil
}
