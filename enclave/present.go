package main

import (
	"context"
	"crypto/sha512"
	"fmt"

	"holdfast/enclave/attest"
	"holdfast/enclave/bundle"
	"holdfast/enclave/control"
	"holdfast/enclave/nsm"
	"holdfast/enclave/serve"
	"holdfast/verify/envelope"
)

// configurationRegister holds the digest of the configuration, extended and locked
// before any key is asked for: a key policy and an auditor can demand it.
const configurationRegister = 16

// Present takes an envelope from the parent. The first one's configuration is this
// enclave's until it ends; another bundle with the same name and configuration, and
// a higher version, replaces the keys once its data key has come. It is part of
// [control.Enclave].
func (a *application) Present(ctx context.Context, data []byte) error {
	presented, err := envelope.Parse(data)
	if err != nil {
		return err
	}
	configuration, err := bundle.ConfigurationOf(presented)
	if err != nil {
		return err
	}
	a.change.Lock()
	defer a.change.Unlock()
	if a.isKnown(presented) {
		return nil
	}
	if err := a.check(presented); err != nil {
		return fmt.Errorf("%w: %w", control.ErrConflict, err)
	}
	if err := a.pin(ctx, configuration); err != nil {
		return fmt.Errorf("%w: %w", control.ErrFailed, err)
	}
	a.log.Info("a bundle was presented", "name", presented.Name, "version", presented.Version, "keys", len(presented.PublicKeys))
	a.set(func(s *situation) { s.pending, s.problem = presented, nil })
	a.unsealer.wake()
	return nil
}

// isKnown reports whether the enclave signs with a bundle already, or waits for its
// data key: a parent that starts anew presents it again.
func (a *application) isKnown(presented *envelope.Envelope) bool {
	s := a.now()
	for _, known := range []*envelope.Envelope{s.pending, s.serving} {
		if known != nil && known.Digest() == presented.Digest() {
			return true
		}
	}
	return false
}

// check holds a bundle to the one before it.
func (a *application) check(presented *envelope.Envelope) error {
	s := a.now()
	if want, got := a.pinned, presented.ConfigurationDigest(); want != nil && got != *want {
		return fmt.Errorf("this enclave runs under configuration %x…, and the bundle has %x…: a changed configuration takes a restart of the enclave", want[:8], got[:8])
	}
	before := s.serving
	switch {
	case before == nil:
		return nil
	case presented.Name != before.Name:
		return fmt.Errorf("this enclave signs for bundle %q, and this one is %q: another bundle takes a restart of the enclave", before.Name, presented.Name)
	case presented.Version <= before.Version:
		return fmt.Errorf("bundle %q of version %d is in force, and this one is version %d: want a higher one", before.Name, before.Version, presented.Version)
	}
	return nil
}

// pin makes a configuration this enclave's: in the register, and in whatever it
// attests from now on. After a failure it can be tried again with the same one.
func (a *application) pin(ctx context.Context, c *bundle.Configuration) error {
	digest := c.Digest()
	if a.configuration != nil {
		return nil
	}
	if a.pinned == nil {
		if _, err := a.module.ExtendPCR(ctx, configurationRegister, nsm.Digest(digest)); err != nil {
			return err
		}
		a.pinned = &digest
	}
	if err := a.lock(ctx); err != nil {
		return err
	}
	bound := a.bound
	bound.Configuration = digest
	attester, err := attest.New(a.module, bound)
	if err != nil {
		return err
	}
	settings, err := a.unreleased(attester)
	if err != nil {
		return err
	}
	if len(c.Names) > 0 {
		if settings.Identity, err = a.identity.WithNames(c.Names, a.started); err != nil {
			return err
		}
	}
	if err := a.server.Apply(settings); err != nil {
		return err
	}
	a.bound, a.configuration = bound, c
	a.log.Info("configuration", "sha384", fmt.Sprintf("%x", digest), "network", c.Network.Name)
	return nil
}

// lock locks the register, if an earlier try has not, and reads it back.
func (a *application) lock(ctx context.Context) error {
	register, err := a.module.DescribePCR(ctx, configurationRegister)
	if err != nil {
		return err
	}
	if !register.Locked {
		if err := a.module.LockPCR(ctx, configurationRegister); err != nil {
			return err
		}
	}
	// SHA-384 of the register's first value, zero, and what it was extended with.
	want := nsm.Digest(sha512.Sum384(append(make([]byte, sha512.Size384), a.pinned[:]...)))
	if register.Value != want {
		return fmt.Errorf("PCR%d is %x after it was extended, want %x", configurationRegister, register.Value, want)
	}
	return nil
}

// unreleased are the settings before a bundle is opened: anybody may attest,
// release, and be told that there are no keys. Whoever that is has no policy, so a
// request that comes before and is judged after is refused.
func (a *application) unreleased(attester serve.Attester) (serve.Settings, error) {
	clients, err := nobody()
	return serve.Settings{Identity: a.identity, Attester: attester, Clients: clients}, err
}
