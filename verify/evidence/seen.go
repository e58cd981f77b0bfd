package evidence

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// MaxAnswerSize bounds the answer to GET /attestation: both parts in base64, and
// the JSON around them.
const MaxAnswerSize = int64(document.MaxSize+binding.MaxSize)*4/3 + 1024

// NonceSize is what the enclave asks of a nonce.
const NonceSize = 32

// Evidence is what an enclave answered, and how it was asked.
type Evidence struct {
	URL   string
	Time  time.Time // when the answer had arrived
	Nonce []byte    // what was asked with

	// Document and Binding are as served.
	Document, Binding []byte

	// Certificate is the DER of the certificate that the TLS peer presented.
	Certificate []byte

	// Configuration is that of the bundle that the enclave had to have, and zero
	// where none was named.
	Configuration pcrs.Digest
}

// Verify judges the evidence as of the time it was collected. Nonce, time,
// binding and TLS key of the policy are taken from the evidence.
func (e Evidence) Verify(options attestation.Options) attestation.Result {
	r := &report.Report{}
	r.Pass(report.A2, "base64 in JSON", "base64 in JSON")
	options.Policy.Nonce = e.Nonce
	options.Policy.Now = e.Time
	options.Policy.Binding = e.Binding
	options.Policy.Configuration = e.Configuration
	options.Policy.AtDocumentTime = false
	if certificate, err := x509.ParseCertificate(e.Certificate); err == nil {
		options.Policy.TLSKey = certificate.RawSubjectPublicKeyInfo
	} else {
		r.Fail(report.E9, "the certificate of the TLS peer", err.Error())
	}
	return attestation.Verify(e.Document, options, r)
}

// VerifyInput verifies a document that somebody else fetched: in one of the
// encodings of [document.Decode], or as the answer to GET /attestation. The
// answer's binding is used unless the policy has one.
func VerifyInput(input []byte, options attestation.Options) attestation.Result {
	r := &report.Report{}
	raw, bind, err := Decode(input, r)
	if err != nil {
		raw = nil // rule A1 fails as well
	}
	if len(options.Policy.Binding) == 0 {
		options.Policy.Binding = bind
	}
	return attestation.Verify(raw, options, r)
}

// Decode returns the document of an input in its binary form, and the binding
// where the input has one. It notes rule A2.
func Decode(input []byte, r *report.Report) (raw, bind []byte, err error) {
	if len(input) == 0 || input[0] != '{' {
		raw, err = document.Decode(input, r)
		return raw, nil, err
	}
	if int64(len(input)) > MaxAnswerSize {
		err = fmt.Errorf("%d bytes of input", len(input))
	} else {
		raw, bind, err = ParseAnswer(input)
	}
	got := "base64 in JSON"
	if err != nil {
		got = err.Error()
	}
	r.Record(report.A2, err == nil, "binary, base64, hexadecimal, or JSON", got)
	return raw, bind, err
}

// ParseAnswer reads the enclave's answer to GET /attestation,
// {"document": base64, "binding": base64}.
func ParseAnswer(body []byte) (doc, bind []byte, err error) {
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
