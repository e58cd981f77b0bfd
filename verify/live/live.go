// Package live asks a running enclave for an attestation document.
//
// [Fetch] collects evidence over a channel that is not trusted yet, with a nonce
// that the enclave cannot have seen before. What package evidence makes of it is
// the same now and long after: everything the verdict depends on, the time
// included, is in the evidence, the trust and the published measurements.
package live

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"holdfast/verify/channel"
	"holdfast/verify/evidence"
)

// NonceSize is what the enclave asks of a nonce.
const NonceSize = evidence.NonceSize

// NewNonce returns a nonce that nobody can have foreseen.
func NewNonce() []byte {
	nonce := make([]byte, NonceSize)
	_, _ = rand.Read(nonce) // never fails
	return nonce
}

// ErrMalformed says that the enclave's answer is not what the protocol has.
var ErrMalformed = errors.New("malformed answer")

// Fetch asks for a document that contains nonce. An answer that cannot be read
// is [ErrMalformed].
func Fetch(ctx context.Context, c *channel.Channel, nonce []byte) (evidence.Evidence, error) {
	if len(nonce) != NonceSize {
		return evidence.Evidence{}, fmt.Errorf("nonce: got %d bytes, want %d", len(nonce), NonceSize)
	}
	status, body, err := c.Get(ctx, "/attestation?nonce="+hex.EncodeToString(nonce), evidence.MaxAnswerSize)
	if err != nil {
		return evidence.Evidence{}, err
	}
	if status != http.StatusOK {
		return evidence.Evidence{}, fmt.Errorf("GET /attestation: got status %d: %s", status, ServerError(body))
	}
	e := evidence.Evidence{URL: c.URL(), Time: time.Now().UTC(), Nonce: nonce, Certificate: c.Peer().Raw}
	if e.Document, e.Binding, err = evidence.ParseAnswer(body); err != nil {
		return evidence.Evidence{}, fmt.Errorf("GET /attestation: %w: %w", ErrMalformed, err)
	}
	return e, nil
}

// ServerError returns what the enclave says about a refused request, quoted:
// the text is not to be trusted.
func ServerError(body []byte) string {
	var e struct {
		Error string `json:"error"`
	}
	const limit = 200
	text := string(body)
	if json.Unmarshal(body, &e) == nil && e.Error != "" {
		text = e.Error
	}
	if len(text) > limit {
		text = text[:limit]
	}
	return fmt.Sprintf("%q", text)
}
