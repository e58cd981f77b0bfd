// Package live asks a running enclave for an attestation document and verifies
// it.
//
// [Fetch] collects [Evidence] over a channel that is not trusted yet, with a
// nonce that the enclave cannot have seen before. [Evidence.Verify] judges it,
// now or long after: everything the verdict depends on, the time included, is
// in the evidence, the trust and the published measurements.
package live

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/report"
)

// NonceSize is what the enclave asks of a nonce.
const NonceSize = 32

// maxAnswerSize bounds the answer of /attestation: both parts in base64, and
// the JSON around them.
const maxAnswerSize = int64(document.MaxSize+binding.MaxSize)*4/3 + 1024

// Evidence is what an enclave answered, and how it was asked.
type Evidence struct {
	URL   string
	Time  time.Time // when the answer had arrived
	Nonce []byte    // what was asked with

	// Document and Binding are as served.
	Document, Binding []byte

	// Certificate is the DER of the certificate that the TLS peer presented.
	Certificate []byte
}

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
func Fetch(ctx context.Context, c *channel.Channel, nonce []byte) (Evidence, error) {
	if len(nonce) != NonceSize {
		return Evidence{}, fmt.Errorf("nonce: got %d bytes, want %d", len(nonce), NonceSize)
	}
	status, body, err := c.Get(ctx, "/attestation?nonce="+hex.EncodeToString(nonce), maxAnswerSize)
	if err != nil {
		return Evidence{}, err
	}
	if status != http.StatusOK {
		return Evidence{}, fmt.Errorf("GET /attestation: got status %d: %s", status, ServerError(body))
	}
	e := Evidence{URL: c.URL(), Time: time.Now().UTC(), Nonce: nonce, Certificate: c.Peer().Raw}
	if e.Document, e.Binding, err = parseAnswer(body); err != nil {
		return Evidence{}, fmt.Errorf("GET /attestation: %w: %w", ErrMalformed, err)
	}
	return e, nil
}

// parseAnswer reads {"document": base64, "binding": base64}.
func parseAnswer(body []byte) (doc, bind []byte, err error) {
	var answer struct {
		Document *string `json:"document"`
		Binding  *string `json:"binding"`
	}
	if err := DecodeStrict(body, &answer); err != nil {
		return nil, nil, err
	}
	if answer.Document == nil || answer.Binding == nil {
		return nil, nil, errors.New("want the members document and binding")
	}
	if doc, err = decodeBase64(*answer.Document); err != nil {
		return nil, nil, fmt.Errorf("document: %w", err)
	}
	if bind, err = decodeBase64(*answer.Binding); err != nil {
		return nil, nil, fmt.Errorf("binding: %w", err)
	}
	return doc, bind, nil
}

func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err == nil && base64.StdEncoding.EncodeToString(b) != s {
		err = errors.New("base64 with line feeds")
	}
	return b, err
}

// DecodeStrict decodes one JSON value without unknown members and without
// anything after it.
func DecodeStrict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("malformed JSON: more after the value")
	}
	return nil
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

// Verify judges the evidence as of the time it was collected. Nonce, time,
// binding and TLS key of the policy are taken from the evidence.
func (e Evidence) Verify(options attestation.Options) attestation.Result {
	r := &report.Report{}
	r.Pass(report.A2, "base64 in JSON", "base64 in JSON")
	options.Policy.Nonce = e.Nonce
	options.Policy.Now = e.Time
	options.Policy.Binding = e.Binding
	options.Policy.AtDocumentTime = false
	if certificate, err := x509.ParseCertificate(e.Certificate); err == nil {
		options.Policy.TLSKey = certificate.RawSubjectPublicKeyInfo
	} else {
		r.Fail(report.E9, "the certificate of the TLS peer", err.Error())
	}
	return attestation.Verify(e.Document, options, r)
}
