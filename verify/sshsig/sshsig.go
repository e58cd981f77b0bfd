// Package sshsig verifies signatures that "ssh-keygen -Y sign" makes, with the
// allowed-signers file that "ssh-keygen -Y verify" takes.
//
// The format is OpenSSH's PROTOCOL.sshsig. A signature names its namespace, so
// that one made for another purpose is worth nothing here. Keys are Ed25519,
// Ed25519 on a security key, and ECDSA; RSA and certificates are not accepted.
package sshsig

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// MaxSize bounds an armored signature: that of an ECDSA P-521 key has 700
// bytes.
const MaxSize = 8 << 10

// magic starts both the signature's blob and what is signed.
const magic = "SSHSIG"

const (
	version = 1
	armor   = "SSH SIGNATURE"
)

// A signature is what the armor holds.
type signature struct {
	key           publicKey
	namespace     string
	reserved      []byte
	hashAlgorithm string
	value         []byte
}

// Verify checks that one of the signers signed message for namespace, and was
// allowed to at the given time. It returns the signer's principals as the file
// has them.
func Verify(message, armored []byte, namespace string, signers Signers, at time.Time) (principals string, err error) {
	sig, err := parse(armored)
	if err != nil {
		return "", fmt.Errorf("SSH signature: %w", err)
	}
	if sig.namespace != namespace {
		return "", fmt.Errorf("SSH signature: got namespace %q, want %q", clip(sig.namespace), namespace)
	}
	signed, err := sig.signed(message)
	if err != nil {
		return "", fmt.Errorf("SSH signature: %w", err)
	}
	if err := sig.key.verify(signed, sig.value); err != nil {
		return "", fmt.Errorf("SSH signature: %w", err)
	}
	return signers.find(sig.key, namespace, at)
}

// parse reads the armor and the blob in it.
func parse(armored []byte) (signature, error) {
	if len(armored) > MaxSize {
		return signature{}, fmt.Errorf("got %d bytes, want at most %d", len(armored), MaxSize)
	}
	block, rest := pem.Decode(armored)
	if block == nil || block.Type != armor || len(block.Headers) != 0 || len(rest) != 0 {
		return signature{}, fmt.Errorf("want one block of %q and nothing else", armor)
	}
	in := reader{rest: block.Bytes}
	if got := in.take(len(magic)); string(got) != magic {
		return signature{}, fmt.Errorf("got magic %q, want %q", got, magic)
	}
	if got := in.uint32(); got != version {
		return signature{}, fmt.Errorf("got version %d, want %d", got, version)
	}
	blob := in.string()
	sig := signature{
		namespace:     string(in.string()),
		reserved:      in.string(),
		hashAlgorithm: string(in.string()),
		value:         in.string(),
	}
	if err := in.end(); err != nil {
		return signature{}, err
	}
	var err error
	sig.key, err = parsePublicKey(blob)
	return sig, err
}

// signed returns the bytes that the key signs.
func (s signature) signed(message []byte) ([]byte, error) {
	var digest []byte
	switch s.hashAlgorithm {
	case "sha256":
		sum := sha256.Sum256(message)
		digest = sum[:]
	case "sha512":
		sum := sha512.Sum512(message)
		digest = sum[:]
	default:
		return nil, fmt.Errorf("got hash algorithm %q, want sha256 or sha512", clip(s.hashAlgorithm))
	}
	if s.namespace == "" {
		return nil, errors.New("no namespace")
	}
	out := []byte(magic)
	for _, field := range [][]byte{[]byte(s.namespace), s.reserved, []byte(s.hashAlgorithm), digest} {
		out = appendString(out, field)
	}
	return out, nil
}

// clip shortens what an error quotes.
func clip(s string) string {
	const limit = 64
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
