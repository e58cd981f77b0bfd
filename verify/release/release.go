// Package release opens the data key of a sealed bundle with its holder's age
// identity, seals it to a verified enclave, and sends it there.
//
// It starts where a verification ends: the judgement that it seals to must have found
// the bundle's configuration in the enclave, and the channel must be the one on which
// the document was fetched, which holds to the TLS key of its first connection.
package release

import (
	"bytes"
	"context"
	"crypto/hpke"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"filippo.io/age"

	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/envelope"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
)

const (
	// maxAnswerSize bounds the list of public keys: 101 bytes each, for as many
	// keys as a bundle may have.
	maxAnswerSize = 2 << 20

	publicKeySize = 48 // BLS12-381 G1, compressed
)

// A DataKey opens a bundle. It does not show itself: formatting it in any way gives
// "[redacted]".
type DataKey []byte

// Format implements [fmt.Formatter].
func (DataKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// MarshalText refuses: a data key is written nowhere.
func (DataKey) MarshalText() ([]byte, error) { return nil, errors.New("data key: [redacted]") }

// Clear overwrites the secret.
func (k DataKey) Clear() { clear(k) }

var (
	// ErrNoAge says that a bundle's data key is wrapped to nobody but KMS.
	ErrNoAge = errors.New("AWS KMS opens this bundle, so no release is needed or possible")

	// ErrIdentity says that none of the identities opens a bundle.
	ErrIdentity = errors.New("none of the identities opens this bundle")
)

// OpenDataKey opens a bundle's data key, and holds it against the commitment, so that
// an enclave is not given a key that is no use to it.
func OpenDataKey(e *envelope.Envelope, identities []age.Identity) (DataKey, error) {
	if e.Age == nil {
		return nil, ErrNoAge
	}
	opened, err := age.Decrypt(bytes.NewReader(e.Age), identities...)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrIdentity
	}
	if err != nil {
		return nil, fmt.Errorf("age file of the bundle: %w", err)
	}
	key, err := io.ReadAll(io.LimitReader(opened, envelope.DataKeySize+1))
	if err != nil {
		return nil, fmt.Errorf("age file of the bundle: %w", err)
	}
	ours, err := e.Commits(key)
	if err == nil && !ours {
		err = errors.New("the age file holds another bundle's data key")
	}
	if err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

// Seal encrypts a bundle's data key to the HPKE key of the enclave that was judged:
// MLKEM768-X25519, HKDF-SHA256 and AES-256-GCM, with [binding.ReleaseInfo] as info,
// over [envelope.EncodeRelease]. The result is the encapsulated key followed by the
// ciphertext (RFC 9180 section 6.1). A judgement that has not found the bundle's
// configuration is refused.
func Seal(k DataKey, e *envelope.Envelope, j judgement.Judgement) ([]byte, error) {
	if j.Configuration != e.ConfigurationDigest() {
		return nil, errors.New("the enclave was not found to have this bundle's configuration")
	}
	key, err := hpke.MLKEM768X25519().NewPublicKey(j.Binding.HPKEKey)
	if err != nil {
		return nil, fmt.Errorf("HPKE key of the binding: %w", err)
	}
	message, err := envelope.EncodeRelease(e.Digest(), k)
	if err != nil {
		return nil, err
	}
	defer clear(message)
	info := binding.ReleaseInfo(j.Binding.Digest())
	return hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, message)
}

var (
	// ErrReleased says that the enclave waits for no data key.
	ErrReleased = errors.New("the enclave has been given its data key already")

	// ErrUncertain says that the data key may have arrived or not: the
	// connection broke, or the answer makes no sense.
	ErrUncertain = errors.New("the release may have arrived or not")
)

// Send posts a sealed data key, once, and returns the validators' public keys that
// the enclave then signs for.
func Send(ctx context.Context, c *channel.Channel, sealed []byte) ([]string, error) {
	if c.Peer() == nil {
		return nil, errors.New("release: the channel has verified nothing yet")
	}
	status, body, err := c.Post(ctx, "/release", sealed, maxAnswerSize)
	switch {
	case err != nil:
		return nil, fmt.Errorf("POST /release: %w: %w", ErrUncertain, err)
	case status == http.StatusConflict:
		return nil, fmt.Errorf("%w: %s", ErrReleased, live.ServerError(body))
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
		if b, err := hex.DecodeString(digits); !ok || err != nil || len(b) != publicKeySize || digits != strings.ToLower(digits) {
			return nil, fmt.Errorf("got public key %q, want 0x and %d lower-case hexadecimal digits", key[:min(len(key), 100)], 2*publicKeySize)
		}
	}
	return answer.PublicKeys, nil
}

// Compare holds the public keys that an enclave names against a bundle's list.
func Compare(e *envelope.Envelope, keys []string) error {
	got := slices.Sorted(slices.Values(keys))
	for i := range min(len(got), len(e.PublicKeys)) {
		if want := fmt.Sprintf("%#x", e.PublicKeys[i]); got[i] != want {
			return fmt.Errorf("the enclave took the data key and signs for other keys than the bundle lists: got %s, want %s", got[i], want)
		}
	}
	if len(got) != len(e.PublicKeys) {
		return fmt.Errorf("the enclave took the data key and signs for %d keys, but the bundle lists %d", len(got), len(e.PublicKeys))
	}
	return nil
}

// Digest identifies a sealed data key in a receipt.
func Digest(sealed []byte) [sha512.Size384]byte { return sha512.Sum384(sealed) }
