package slashing

import (
	"crypto/ed25519"
	"errors"
	"fmt"
)

// statementDomain begins what an operator signs, so that no signature made for
// anything else is a statement.
const statementDomain = "holdfast/slashing/vouch/v1\x00"

// Statement is an operator's word that a journal is current: that nothing was signed
// after the record with digest Head. It holds for one start of one enclave, which
// drew Challenge, and for one configuration, which names the operator's key.
type Statement struct {
	Configuration [48]byte // digest of the bundle's configuration, as PCR16 shows it
	Challenge     [32]byte // random, drawn at the enclave's start
	Head          [32]byte // digest of the last record that the enclave read at its start
}

// ErrStatement is the error of a statement whose signature does not hold.
var ErrStatement = errors.New("the operator's signature does not hold for this enclave's configuration, challenge and journal head")

// encode returns what is signed. Every part has a fixed size.
func (s Statement) encode() []byte {
	text := make([]byte, 0, len(statementDomain)+len(s.Configuration)+len(s.Challenge)+len(s.Head))
	text = append(text, statementDomain...)
	text = append(text, s.Configuration[:]...)
	text = append(text, s.Challenge[:]...)
	return append(text, s.Head[:]...)
}

// Sign returns the operator's signature, Ed25519 of 64 bytes.
func (s Statement) Sign(key ed25519.PrivateKey) ([]byte, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("operator's key has %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	return ed25519.Sign(key, s.encode()), nil
}

// Verify returns nil if signature is the operator's on this very statement.
func (s Statement) Verify(operator ed25519.PublicKey, signature []byte) error {
	if len(operator) != ed25519.PublicKeySize {
		return fmt.Errorf("operator's public key has %d bytes, want %d", len(operator), ed25519.PublicKeySize)
	}
	if !ed25519.Verify(operator, s.encode(), signature) {
		return ErrStatement
	}
	return nil
}
