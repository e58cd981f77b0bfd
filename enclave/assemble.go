package main

import (
	"context"
	"log/slog"
	"runtime"
	"time"

	"holdfast/enclave/attest"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/nsm"
	"holdfast/enclave/serve"
	"holdfast/enclave/unseal"
	"holdfast/verify/binding"
)

// assemble makes this start's keys and the server that rests on them.
func assemble(ctx context.Context, module *nsm.Device, now time.Time, log *slog.Logger) (*serve.Server, error) {
	described, err := module.Describe(ctx)
	if err != nil {
		return nil, err
	}
	log.Info("module", "id", described.ModuleID, "version", described.Version, "locked", described.Locked)
	identity, err := serve.NewIdentity(now)
	if err != nil {
		return nil, err
	}
	key, err := unseal.GenerateKey()
	if err != nil {
		return nil, err
	}
	a := &application{
		module:   module,
		log:      log,
		identity: identity,
		bound:    binding.Binding{TLSKey: identity.PublicKey(), HPKEKey: key.PublicKey()},
		signer:   ethereum.New(log),
		opener:   keystore.NewOpener(keystoreMemory(), runtime.GOMAXPROCS(0)),
	}
	attester, err := attest.New(module, a.bound)
	if err != nil {
		return nil, err
	}
	settings, err := a.unreleased(attester)
	if err != nil {
		return nil, err
	}
	a.server, err = serve.New(serve.Config{
		Settings:   settings,
		Releaser:   unseal.NewSlot(key, binding.ReleaseInfo(a.bound.Digest()), a.load),
		Signer:     a.signer.Handler(),
		KeyManager: a.signer.KeyManager(),
		Log:        log,
	})
	return a.server, err
}
