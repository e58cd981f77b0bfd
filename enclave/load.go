package main

import (
	"context"
	"log/slog"
	"time"

	"holdfast/enclave/attest"
	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/nsm"
	"holdfast/enclave/serve"
	"holdfast/enclave/serve/access"
	"holdfast/enclave/slashing"
	"holdfast/verify/binding"
)

// An application is what a release goes to.
type application struct {
	module   *nsm.Device
	log      *slog.Logger
	identity serve.Identity // of this start
	bound    binding.Binding
	signer   *ethereum.Service
	server   *serve.Server
	opener   *keystore.Opener
}

// unreleased are the settings before a release: anybody may attest, release, and
// be told that there are no keys. Whoever that is has no policy, so a request that
// comes before a release and is judged after it is refused.
func (a *application) unreleased(attester serve.Attester) (serve.Settings, error) {
	clients, err := access.NewList([]access.Client{{Policy: policy.Client{Name: "unreleased"}, Any: true}})
	return serve.Settings{Identity: a.identity, Attester: attester, Clients: clients}, err
}

// load gives a released bundle to the signer and the server. A bundle that either
// does not take leaves both as they were. It is an [unseal.Loader].
func (a *application) load(plaintext []byte) ([]string, error) {
	released, err := bundle.Parse(plaintext)
	if err != nil {
		return nil, err
	}
	defer released.Wipe()
	settings, err := a.configure(released, time.Now())
	if err != nil {
		return nil, err
	}
	keys, err := openKeys(context.Background(), a.opener, released.Validators)
	if err != nil {
		return nil, err
	}
	if err := a.signer.Load(ethereum.Config{
		Network:   released.Settings.Network,
		Keys:      keys,
		Slashing:  slashing.NewMemory(released.Settings.Network.GenesisValidatorsRoot),
		Client:    serve.Policy,
		Keystores: a.opener,
		Batch:     released.Settings.API.Batch,
		Generic:   released.Settings.API.Generic,
	}); err != nil {
		wipe(keys)
		return nil, err
	}
	a.report(released)
	var publicKeys []string
	for _, key := range a.signer.PublicKeys() {
		publicKeys = append(publicKeys, key.String())
	}
	// The settings were checked, so nothing can fail any more.
	return publicKeys, a.server.Apply(settings)
}

// configure makes the server's settings of a bundle, and checks them.
func (a *application) configure(b *bundle.Bundle, now time.Time) (serve.Settings, error) {
	identity, err := a.identityOf(b, now)
	if err != nil {
		return serve.Settings{}, err
	}
	// The binding's configuration stays zero while keys are released after the
	// attestation: whoever released them knew no configuration to compare. Once
	// the configuration comes first, b.Configuration() goes here.
	bound := a.bound
	bound.TLSKey = identity.PublicKey()
	attester, err := attest.New(a.module, bound)
	if err != nil {
		return serve.Settings{}, err
	}
	settings := serve.Settings{
		Identity:   identity,
		Attester:   attester,
		Clients:    b.Settings.Clients,
		KeyManager: b.Settings.API.KeyManager,
		Token:      b.Token,
		Limits:     serve.Limits(b.Settings.Limits),
	}
	return settings, a.server.Check(settings)
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

// report says under which configuration the signer signs.
func (a *application) report(b *bundle.Bundle) {
	digest := b.Configuration()
	a.log.Info("configuration", "sha384", digest[:], "network", b.Settings.Network.Name)
	if b.Settings.Implied {
		a.log.Warn("THE KEY FILE HAS NO CONFIGURATION AND NAMES NO CLIENT, so any client may ask for ordinary duties with any key")
	}
}
