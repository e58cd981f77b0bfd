package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/enclave/attest"
	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/secret"
	"holdfast/enclave/serve"
	"holdfast/enclave/slashing"
	"holdfast/enclave/unseal"
	"holdfast/verify/binding"
	"holdfast/verify/envelope"
)

// openTimeout bounds what a released data key waits for: the signing history is
// read before the enclave answers.
const openTimeout = 2 * time.Minute

// Release takes a data key that was sealed to this enclave and opens the pending
// bundle with it. It is a [serve.Releaser]. After an error the bundle waits on.
func (a *application) Release(ctx context.Context, sealed []byte) ([]string, error) {
	a.change.Lock()
	defer a.change.Unlock()
	pending := a.now().pending
	if pending == nil {
		return nil, unseal.ErrUnwanted
	}
	plaintext, err := a.key.Open(sealed, binding.ReleaseInfo(a.bound.Digest()))
	if err != nil {
		return nil, err
	}
	defer plaintext.Wipe()
	digest, dataKey, err := envelope.ParseRelease(plaintext.Reveal())
	if err != nil {
		return nil, err
	}
	if want := pending.Digest(); digest != want {
		return nil, fmt.Errorf("the data key is of bundle %x…, and the bundle that waits here is %x…: give the parent the one that you release", digest[:8], want[:8])
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := a.open(ctx, pending, secret.New(dataKey)); err != nil {
		a.set(func(s *situation) { s.problem = err })
		return nil, err
	}
	return publicKeys(pending), nil
}

func publicKeys(e *envelope.Envelope) []string {
	names := make([]string, len(e.PublicKeys))
	for i, key := range e.PublicKeys {
		names[i] = "0x" + hexadecimal(key[:])
	}
	return names
}

// open opens a bundle and puts it in force. A bundle that the signer, the server or
// the store does not take leaves all of them as they were. The caller holds change.
func (a *application) open(ctx context.Context, e *envelope.Envelope, dataKey secret.Bytes) error {
	opened, err := bundle.Open(e, dataKey)
	if err != nil {
		return err
	}
	defer opened.Wipe()
	settings, bound, err := a.configure(opened)
	if err != nil {
		return err
	}
	if err := a.openStore(ctx, opened); err != nil {
		return fmt.Errorf("slashing protection: %w", err)
	}
	if err := a.store.Advance(ctx, e.Name, e.Version); err != nil {
		return fmt.Errorf("slashing protection: %w", err)
	}
	if err := a.sign(opened); err != nil {
		return err
	}
	// The settings were checked, so nothing can fail any more.
	if err := a.server.Apply(settings); err != nil {
		return err
	}
	a.bound = bound
	a.set(func(s *situation) { s.pending, s.serving, s.problem, s.store = nil, e, nil, a.store })
	a.log.Info("serving", "bundle", e.Name, "version", e.Version, "keys", len(e.PublicKeys))
	return nil
}

// sign gives the signer the bundle's keys, which it owns if it takes them.
func (a *application) sign(b *bundle.Bundle) error {
	if a.now().serving != nil {
		if err := a.signer.Replace(b.Keys); err != nil {
			return err
		}
	} else if err := a.load(b); err != nil {
		return err
	}
	b.Keys = nil
	return nil
}

func (a *application) load(b *bundle.Bundle) error {
	return a.signer.Load(ethereum.Config{
		Network:       b.Settings.Network,
		Keys:          b.Keys,
		Slashing:      a.store.guard,
		HighWatermark: (*slashing.HighWatermark)(b.Settings.Slashing.HighWatermark),
		Client:        serve.Policy,
		Keystores:     a.opener,
		Batch:         b.Settings.API.Batch,
		Generic:       b.Settings.API.Generic,
	})
}

// configure makes the server's settings of a bundle, and checks them.
func (a *application) configure(b *bundle.Bundle) (serve.Settings, binding.Binding, error) {
	identity, err := a.identityOf(b, a.trusted())
	if err != nil {
		return serve.Settings{}, a.bound, err
	}
	bound := a.bound
	bound.TLSKey = identity.PublicKey()
	attester, err := attest.New(a.module, bound)
	if err != nil {
		return serve.Settings{}, bound, err
	}
	settings := serve.Settings{
		Identity:   identity,
		Attester:   attester,
		Clients:    b.Settings.Clients,
		KeyManager: b.Settings.API.KeyManager,
		Token:      b.Token,
		Limits:     serve.Limits(b.Settings.Limits),
	}
	return settings, bound, a.server.Check(settings)
}

// trusted is the time by the module, or where it does not tell, by the kernel.
func (a *application) trusted() time.Time {
	if now, err := a.clock.Now(); err == nil {
		return now
	}
	return time.Now()
}

// identityOf returns the bundle's TLS identity, or that of this start under the
// bundle's names.
func (a *application) identityOf(b *bundle.Bundle, now time.Time) (serve.Identity, error) {
	switch names := b.Settings.Names; {
	case b.Identity != nil:
		return serve.ParseIdentity(b.Identity.Certificate, b.Identity.Key, names, now)
	case len(names) > 0:
		return a.identity.WithNames(names, now)
	}
	return a.identity, nil
}

var errNoStore = errors.New("no bundle is open yet, so there is no signing history")
