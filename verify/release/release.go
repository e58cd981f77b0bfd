// Package release seals a key file to a verified enclave and sends it there.
//
// It starts where a verification ends: the binding it seals to must come from a
// judgement that passed, and the channel must be the one on which the document
// was fetched, which holds to the TLS key of its first connection.
package release

import (
	"context"
	"crypto/hpke"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
)

const (
	// MaxKeyFileSize is the enclave's limit for a sealed key file, less what
	// HPKE adds.
	MaxKeyFileSize = 1<<20 - 2048

	// maxAnswerSize bounds the list of public keys: 100 bytes each, for as
	// many keys as fit a key file.
	maxAnswerSize = 2 << 20

	publicKeySize = 48 // BLS12-381 G1, compressed
)

// A KeyFile is the secret to release. It does not show itself: formatting it
// in any way gives "[redacted]".
type KeyFile []byte

// Format implements [fmt.Formatter].
func (KeyFile) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// MarshalText refuses: a key file is written nowhere.
func (KeyFile) MarshalText() ([]byte, error) { return nil, errors.New("key file: [redacted]") }

// Clear overwrites the secret.
func (k KeyFile) Clear() { clear(k) }

// Seal encrypts a key file to the HPKE key of a binding: MLKEM768-X25519,
// HKDF-SHA256 and AES-256-GCM, with [binding.ReleaseInfo] as info. The result
// is the encapsulated key followed by the ciphertext (RFC 9180 section 6.1).
func Seal(k KeyFile, b binding.Binding) ([]byte, error) {
	if len(k) == 0 || len(k) > MaxKeyFileSize {
		return nil, fmt.Errorf("key file: got %d bytes, want 1 to %d", len(k), MaxKeyFileSize)
	}
	key, err := hpke.MLKEM768X25519().NewPublicKey(b.HPKEKey)
	if err != nil {
		return nil, fmt.Errorf("HPKE key of the binding: %w", err)
	}
	info := binding.ReleaseInfo(b.Digest())
	return hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, k)
}

var (
	// ErrReleased says that the enclave has a key file already.
	ErrReleased = errors.New("the enclave has been given its keys already")

	// ErrUncertain says that the key file may have arrived or not: the
	// connection broke, or the answer makes no sense.
	ErrUncertain = errors.New("the release may have arrived or not")
)

// Send posts a sealed key file, once, and returns the validators' public keys
// that the enclave found in it.
func Send(ctx context.Context, c *channel.Channel, sealed []byte) ([]string, error) {
	if c.Peer() == nil {
		return nil, errors.New("release: the channel has verified nothing yet")
	}
	status, body, err := c.Post(ctx, "/release", sealed, maxAnswerSize)
	switch {
	case err != nil:
		return nil, fmt.Errorf("POST /release: %w: %w", ErrUncertain, err)
	case status == http.StatusConflict:
		return nil, ErrReleased
	case status != http.StatusOK:
		return nil, fmt.Errorf("POST /release: got status %d: %s", status, live.ServerError(body))
	}
	keys, err := parsePublicKeys(body)
	if err != nil {
		return nil, fmt.Errorf("POST /release: %w: %w", ErrUncertain, err)
	}
	return keys, nil
}

// parsePublicKeys reads {"public_keys": ["0x…"]}.
func parsePublicKeys(body []byte) ([]string, error) {
	var answer struct {
		PublicKeys []string `json:"public_keys"`
	}
	if err := evidence.DecodeStrict(body, &answer); err != nil {
		return nil, err
	}
	if len(answer.PublicKeys) == 0 {
		return nil, errors.New("the enclave names no public key")
	}
	for _, key := range answer.PublicKeys {
		digits, ok := strings.CutPrefix(key, "0x")
		if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != publicKeySize {
			return nil, fmt.Errorf("got public key %q, want 0x and %d hexadecimal digits", key[:min(len(key), 100)], 2*publicKeySize)
		}
	}
	return answer.PublicKeys, nil
}

// Digest identifies a sealed key file in a receipt.
func Digest(sealed []byte) [sha512.Size384]byte { return sha512.Sum384(sealed) }

// Digest identifies a key file in a receipt. The keys in it are random, so
// nobody finds them by trying.
func (k KeyFile) Digest() [sha512.Size384]byte { return sha512.Sum384(k) }
