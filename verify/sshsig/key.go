package sshsig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
)

// The types of keys that can verify.
const (
	typeEd25519         = "ssh-ed25519"
	typeSecurityEd25519 = "sk-ssh-ed25519@openssh.com"
	typeECDSA256        = "ecdsa-sha2-nistp256"
	typeECDSA384        = "ecdsa-sha2-nistp384"
	typeECDSA521        = "ecdsa-sha2-nistp521"
)

var errSignature = errors.New("the signature is not by the key that it names, or of other bytes")

// A publicKey is one of the supported kinds.
type publicKey struct {
	kind string
	blob []byte // as on the wire

	ed25519     ed25519.PublicKey
	application string // of a security key
	ecdsa       *ecdsa.PublicKey
}

// parsePublicKey reads a key of RFC 4253 section 6.6, RFC 5656, RFC 8709 or
// OpenSSH's PROTOCOL.u2f.
func parsePublicKey(blob []byte) (publicKey, error) {
	in := reader{rest: blob}
	k := publicKey{kind: string(in.string()), blob: blob}
	switch k.kind {
	case typeEd25519:
		k.ed25519 = in.string()
	case typeSecurityEd25519:
		k.ed25519 = in.string()
		k.application = string(in.string())
	case typeECDSA256, typeECDSA384, typeECDSA521:
		name, point := string(in.string()), in.string()
		if "ecdsa-sha2-"+name != k.kind {
			return publicKey{}, fmt.Errorf("a key of type %s on curve %q", k.kind, clip(name))
		}
		var err error
		if k.ecdsa, err = ecdsa.ParseUncompressedPublicKey(curve(k.kind), point); err != nil {
			return publicKey{}, err
		}
	default:
		return publicKey{}, fmt.Errorf("got a key of type %q, want Ed25519 or ECDSA", clip(k.kind))
	}
	if err := in.end(); err != nil {
		return publicKey{}, fmt.Errorf("public key: %w", err)
	}
	if k.ecdsa == nil && len(k.ed25519) != ed25519.PublicKeySize {
		return publicKey{}, fmt.Errorf("public key: got %d bytes, want %d", len(k.ed25519), ed25519.PublicKeySize)
	}
	return k, nil
}

func curve(kind string) elliptic.Curve {
	switch kind {
	case typeECDSA256:
		return elliptic.P256()
	case typeECDSA384:
		return elliptic.P384()
	}
	return elliptic.P521()
}

func (k publicKey) equal(other publicKey) bool { return bytes.Equal(k.blob, other.blob) }

// verify checks a signature blob over a message.
func (k publicKey) verify(message, blob []byte) error {
	in := reader{rest: blob}
	if kind := string(in.string()); kind != k.kind {
		return fmt.Errorf("a signature of type %q by a key of type %s", clip(kind), k.kind)
	}
	value := in.string()
	switch k.kind {
	case typeSecurityEd25519:
		tail := in.take(5)
		if err := in.end(); err != nil {
			return err
		}
		return k.verifySecurityKey(message, value, tail)
	case typeEd25519:
		if in.end() != nil || !ed25519.Verify(k.ed25519, message, value) {
			return errSignature
		}
		return nil
	}
	if err := in.end(); err != nil {
		return err
	}
	return k.verifyECDSA(message, value)
}

// userPresent is the flag of a security key that was touched.
const userPresent = 0x01

// verifySecurityKey checks what a security key signs: SHA-256 of the
// application, flags and counter, SHA-256 of the message.
func (k publicKey) verifySecurityKey(message, value, tail []byte) error {
	if tail[0]&userPresent == 0 {
		return errors.New("nobody touched the security key")
	}
	application, digest := sha256.Sum256([]byte(k.application)), sha256.Sum256(message)
	signed := append(append(application[:], tail...), digest[:]...)
	if !ed25519.Verify(k.ed25519, signed, value) {
		return errSignature
	}
	return nil
}

// verifyECDSA checks a signature of RFC 5656 section 3.1.2: two integers.
func (k publicKey) verifyECDSA(message, value []byte) error {
	in := reader{rest: value}
	r, s := in.string(), in.string()
	if err := in.end(); err != nil {
		return err
	}
	if !ecdsa.Verify(k.ecdsa, k.digest(message), new(big.Int).SetBytes(r), new(big.Int).SetBytes(s)) {
		return errSignature
	}
	return nil
}

// digest hashes as RFC 5656 section 6.2.1 has it.
func (k publicKey) digest(message []byte) []byte {
	switch k.kind {
	case typeECDSA256:
		sum := sha256.Sum256(message)
		return sum[:]
	case typeECDSA384:
		sum := sha512.Sum384(message)
		return sum[:]
	}
	sum := sha512.Sum512(message)
	return sum[:]
}
