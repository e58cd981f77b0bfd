package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"holdfast/enclave/attest"
	"holdfast/enclave/bundle"
	"holdfast/enclave/control"
	"holdfast/enclave/control/message"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/nsm"
	"holdfast/enclave/secret"
	"holdfast/verify/binding"
	"holdfast/verify/envelope"
)

// maxGenerated bounds the keys of one request.
const maxGenerated = 1024

// A ceremony makes a bundle inside the enclave: nobody outside has ever seen its
// keys. Its configuration becomes this enclave's, so that the key policy can demand
// PCR16 of the enclave that makes keys as of the one that uses them.
type ceremony struct {
	name          string
	version       uint64
	configuration *bundle.Configuration
	nonce         [attest.NonceSize]byte
}

// begin reads what a ceremony is asked with, and pins its configuration.
func (a *application) begin(ctx context.Context, name string, version uint64, configuration []byte, nonce string) (*ceremony, error) {
	c := &ceremony{name: name, version: version}
	if !envelope.IsName(name) || version == 0 {
		return nil, fmt.Errorf("got name %.80q and version %d, want 1 to %d of a-z, 0-9 and hyphen, and at least 1", name, version, envelope.MaxNameSize)
	}
	if n, err := hex.Decode(c.nonce[:], []byte(nonce[:min(len(nonce), 2*len(c.nonce))])); err != nil || n != len(c.nonce) || len(nonce) != 2*n {
		return nil, fmt.Errorf("want a nonce of %d hexadecimal digits", 2*len(c.nonce))
	}
	var err error
	if c.configuration, err = bundle.ParseConfiguration(configuration); err != nil {
		return nil, err
	}
	switch {
	case c.configuration.KMS == nil:
		return nil, errors.New(`want a configuration with "kms": what is made inside leaves only under a KMS key`)
	case c.configuration.Slashing.Store == bundle.DynamoDB:
		return nil, errors.New("the credentials of a slashing table cannot be made inside: use the journal, or keys seal")
	}
	a.change.Lock()
	defer a.change.Unlock()
	if a.pinned != nil && *a.pinned != c.configuration.Digest() {
		return nil, fmt.Errorf("%w: this enclave runs under another configuration", control.ErrConflict)
	}
	if err := a.pin(ctx, c.configuration); err != nil {
		return nil, fmt.Errorf("%w: %w", control.ErrFailed, err)
	}
	return c, nil
}

// Generate is part of [control.Enclave]: validators' keys made inside.
func (a *application) Generate(ctx context.Context, asked message.Generate) (message.Generated, error) {
	if asked.Count < 1 || asked.Count > maxGenerated {
		return message.Generated{}, fmt.Errorf("got count %d, want 1 to %d", asked.Count, maxGenerated)
	}
	c, err := a.begin(ctx, asked.Name, asked.Version, asked.Configuration, asked.Nonce)
	if err != nil {
		return message.Generated{}, err
	}
	var secrets bundle.Secrets
	defer secrets.Wipe()
	for range asked.Count {
		secrets.Validators = append(secrets.Validators, bls.GenerateScalar())
	}
	return a.finish(ctx, c, &secrets)
}

// finish adds what every bundle has, seals it under a new data key of KMS, and
// attests to what was sealed.
func (a *application) finish(ctx context.Context, c *ceremony, secrets *bundle.Secrets) (message.Generated, error) {
	var fresh [32]byte
	_, _ = rand.Read(fresh[:]) // never fails
	secrets.SlashingKey = secret.New(fresh[:])
	keys, err := a.kmsOf(c.configuration)
	if err != nil {
		return message.Generated{}, err
	}
	dataKey, wrapped, err := keys.GenerateDataKey(ctx, envelope.Context(c.name, c.version, c.configuration.Digest()))
	if err != nil {
		return message.Generated{}, fmt.Errorf("%w: %w", control.ErrFailed, err)
	}
	defer dataKey.Wipe()
	sealed, err := bundle.Seal(bundle.Draft{
		Name: c.name, Version: c.version, Configuration: c.configuration.Canonical(), Secrets: *secrets,
		KMS: &envelope.KMSWrap{Key: c.configuration.KMS.Key, Ciphertext: wrapped},
	}, dataKey)
	if err != nil {
		return message.Generated{}, err
	}
	return a.attestTo(ctx, c, sealed)
}

// attestTo makes the document that says which keys a bundle holds and under which
// KMS key it is sealed.
func (a *application) attestTo(ctx context.Context, c *ceremony, sealed *envelope.Envelope) (message.Generated, error) {
	made := binding.Generation{
		Bundle:        sealed.Digest(),
		KMSKey:        c.configuration.KMS.Key,
		Configuration: c.configuration.Digest(),
		PublicKeys:    sealed.PublicKeys,
	}
	digest := made.Digest()
	document, err := a.module.Attest(ctx, nsm.Request{UserData: digest[:], Nonce: c.nonce[:]})
	if err != nil {
		return message.Generated{}, fmt.Errorf("%w: %w", control.ErrFailed, err)
	}
	a.log.Info("keys were made and sealed", "bundle", c.name, "version", c.version, "keys", len(sealed.PublicKeys))
	return message.Generated{
		Bundle: sealed.Bytes(), PublicKeys: publicKeys(sealed), Document: document, Bound: made.Encode(),
	}, nil
}
