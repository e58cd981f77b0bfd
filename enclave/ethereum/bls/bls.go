// Package bls signs with BLS12-381 as Ethereum's consensus layer does: public
// keys in G1 (48 bytes), signatures in G2 (96 bytes), and the proof-of-possession
// ciphersuite of draft-irtf-cfrg-bls-signature.
//
// It is a thin cover over blst. It exists so that the rest of the signer deals in
// fixed-size arrays, so that a secret key cannot be printed or marshalled, and so
// that an empty or wiped key is an error and never a signature of the zero scalar.
package bls

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	blst "github.com/supranational/blst/bindings/go"
)

// domainTag is the hash-to-curve tag of the consensus specifications
// (phase0/beacon-chain.md, "BLS signatures"): minimal-pubkey-size, POP scheme.
var domainTag = []byte("BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_")

// ErrNoKey reports an attempt to sign with a key that was never set, or was wiped.
var ErrNoKey = errors.New("bls: secret key is empty")

// PublicKey is a compressed point of G1.
type PublicKey [48]byte

// String returns the key as 0x and 96 lower-case hex digits.
func (k PublicKey) String() string { return "0x" + hex.EncodeToString(k[:]) }

// ParsePublicKey reads 96 hex digits of any case, with or without 0x. It checks
// the length only; Verify checks that the point is one.
func ParsePublicKey(s string) (PublicKey, error) {
	var key PublicKey
	digits := s
	if len(s) >= 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		digits = s[2:]
	}
	if len(digits) != 2*len(key) {
		return PublicKey{}, fmt.Errorf("public key has %d hex digits, want %d", len(digits), 2*len(key))
	}
	if _, err := hex.Decode(key[:], []byte(digits)); err != nil {
		return PublicKey{}, fmt.Errorf("public key: %v", err)
	}
	return key, nil
}

// Signature is a compressed point of G2.
type Signature [96]byte

// String returns the signature as 0x and 192 lower-case hex digits.
func (s Signature) String() string { return "0x" + hex.EncodeToString(s[:]) }

// SecretKey is a scalar in [1, r). The zero value holds no key and signs nothing.
// It may be used by many goroutines at once, but not while it is being wiped.
type SecretKey struct {
	scalar blst.SecretKey
	public PublicKey
	ready  bool
}

// NewSecretKey reads a big-endian scalar and derives its public key. It refuses
// zero and anything not below the group order. The caller owns and wipes scalar.
func NewSecretKey(scalar *[32]byte) (*SecretKey, error) {
	key := new(SecretKey)
	if key.scalar.Deserialize(scalar[:]) == nil || !key.scalar.Valid() {
		key.Wipe()
		return nil, errors.New("bls: secret key is zero or not below the group order")
	}
	key.public = PublicKey(new(blst.P1Affine).From(&key.scalar).Compress())
	key.ready = true
	return key, nil
}

// PublicKey returns the key's public half, derived when the key was made.
func (k *SecretKey) PublicKey() PublicKey { return k.public }

// Sign signs a 32-byte signing root.
func (k *SecretKey) Sign(root [32]byte) (Signature, error) {
	if k == nil || !k.ready {
		return Signature{}, ErrNoKey
	}
	return k.SignPoint(HashToPoint(root))
}

// Point is a signing root hashed to the curve, which is half the work of a
// signature and the same for every key. The zero value is no point.
type Point struct{ hashed *blst.P2 }

// HashToPoint hashes a 32-byte signing root to G2.
func HashToPoint(root [32]byte) Point {
	return Point{blst.HashToG2(root[:], domainTag)}
}

// SignPoint signs the root that a point was hashed from, as Sign does.
func (k *SecretKey) SignPoint(p Point) (Signature, error) {
	if k == nil || !k.ready {
		return Signature{}, ErrNoKey
	}
	if p.hashed == nil {
		return Signature{}, errors.New("bls: nothing to sign")
	}
	return Signature(p.hashed.Mult(&k.scalar).ToAffine().Compress()), nil
}

// Wipe overwrites the scalar. The key signs nothing afterwards.
func (k *SecretKey) Wipe() {
	k.ready = false
	k.scalar.Zeroize()
}

const redacted = "[redacted]"

// String, GoString, Format, LogValue and MarshalText keep the scalar out of
// every printed, logged or marshalled form.
func (*SecretKey) String() string { return redacted }

// GoString is String, for %#v.
func (*SecretKey) GoString() string { return redacted }

// Format is String, for every verb.
func (*SecretKey) Format(state fmt.State, _ rune) { fmt.Fprint(state, redacted) }

// LogValue is String, for slog.
func (*SecretKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText always fails: a secret key has no text form.
func (*SecretKey) MarshalText() ([]byte, error) {
	return nil, errors.New("bls: a secret key is not marshalled")
}

// Verify reports whether signature is key's over a 32-byte root. Both points are
// checked to lie in their groups, and the point at infinity is refused.
func Verify(key PublicKey, root [32]byte, signature Signature) bool {
	public := new(blst.P1Affine).Uncompress(key[:])
	point := new(blst.P2Affine).Uncompress(signature[:])
	if public == nil || point == nil {
		return false
	}
	return point.Verify(true, public, true, root[:], domainTag)
}
