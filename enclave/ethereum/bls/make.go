package bls

import (
	"crypto/rand"

	blst "github.com/supranational/blst/bindings/go"

	"holdfast/enclave/secret"
)

// GenerateScalar makes a secret key from crypto/rand by the KeyGen of
// draft-irtf-cfrg-bls-signature section 2.3, as 32 big-endian bytes for whoever
// seals it. The caller wipes it.
func GenerateScalar() secret.Bytes {
	var material [32]byte
	defer clear(material[:])
	_, _ = rand.Read(material[:]) // never fails
	made := blst.KeyGen(material[:])
	defer made.Zeroize()
	return secret.New(made.Serialize())
}
