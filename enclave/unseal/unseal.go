// Package unseal obtains a bundle's data key: from whoever seals it to this enclave,
// or from AWS KMS.
//
// At start the enclave makes an HPKE key (RFC 9180) of MLKEM768-X25519, so that
// what is sealed today stays sealed when X25519 falls. The attestation document
// binds the public key; the private key never leaves memory.
package unseal

import (
	"crypto/hpke"
	"errors"
	"fmt"

	"holdfast/enclave/secret"
)

const (
	// EncapsulationSize is what HPKE puts before the ciphertext: 1088 bytes of
	// ML-KEM-768 and 32 of X25519.
	EncapsulationSize = 1088 + 32

	// tagSize is that of AES-256-GCM.
	tagSize = 16

	// MaxSize bounds what is sealed and how it comes, encapsulation included.
	MaxSize = 4 << 10
)

// ErrUnwanted is the error of a data key that no bundle waits for.
var ErrUnwanted = errors.New("unseal: no bundle waits for a data key here: give the parent a bundle first, or a newer one than the one in force")

// ErrSealed is the error of what does not open: truncated, changed, or sealed
// to another key or context. Which of them is not told.
var ErrSealed = errors.New("does not open with this enclave's key: it was changed, or sealed to another enclave or an earlier start of this one")

// A Key is the enclave's HPKE key. Make one with [GenerateKey].
type Key struct {
	private hpke.PrivateKey
	public  []byte
}

// GenerateKey makes a key from crypto/rand, which in an enclave init has
// seeded from the module.
func GenerateKey() (*Key, error) {
	private, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, fmt.Errorf("unseal: %w", err)
	}
	return &Key{private: private, public: private.PublicKey().Bytes()}, nil
}

// PublicKey returns the 1216 bytes of the public key.
func (k *Key) PublicKey() []byte { return k.public }

// Open opens encapsulation || ciphertext, sealed with HKDF-SHA256 and
// AES-256-GCM under info. The caller wipes the result.
func (k *Key) Open(sealed, info []byte) (secret.Bytes, error) {
	if len(sealed) < EncapsulationSize+tagSize || len(sealed) > MaxSize {
		return secret.Bytes{}, fmt.Errorf("unseal: got %d bytes, want %d to %d", len(sealed), EncapsulationSize+tagSize, MaxSize)
	}
	plaintext, err := hpke.Open(k.private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("unseal: %w", ErrSealed)
	}
	return secret.New(plaintext), nil
}
