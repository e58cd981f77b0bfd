// Package attest obtains attestation documents that bind this enclave's keys.
//
// A document alone proves that some instance of a measured image exists. Its
// user_data here is the digest of a [binding.Binding]: the key that ends TLS,
// the key to which secrets are sealed, and the configuration. Whoever verifies
// the document and compares the binding with the connection it came through
// knows that nobody stands between.
package attest

import (
	"context"
	"crypto/sha512"
	"fmt"

	"holdfast/enclave/nsm"
	"holdfast/verify/binding"
)

// NonceSize is that of the nonce, which the verifier draws for each document.
const NonceSize = 32

// A Module makes documents. [nsm.Device] is one.
type Module interface {
	Attest(context.Context, nsm.Request) ([]byte, error)
}

// An Attester makes documents that carry one binding. Make one with [New].
type Attester struct {
	module  Module
	encoded []byte
	digest  [sha512.Size384]byte
}

// New makes an attester of a module and a binding, which must be complete.
func New(module Module, b binding.Binding) (*Attester, error) {
	encoded := b.Encode()
	if _, err := binding.Parse(encoded); err != nil {
		return nil, fmt.Errorf("attest: %w", err)
	}
	return &Attester{module: module, encoded: encoded, digest: b.Digest()}, nil
}

// Evidence is a document and the binding whose digest is its user_data.
type Evidence struct {
	Document []byte
	Binding  []byte
}

// Attest obtains a fresh document with this nonce. None is ever kept: an old
// one proves nothing to a new verifier.
func (a *Attester) Attest(ctx context.Context, nonce [NonceSize]byte) (Evidence, error) {
	document, err := a.module.Attest(ctx, nsm.Request{UserData: a.digest[:], Nonce: nonce[:]})
	if err != nil {
		return Evidence{}, fmt.Errorf("attest: %w", err)
	}
	return Evidence{Document: document, Binding: a.encoded}, nil
}
