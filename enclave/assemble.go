package main

import (
	"context"
	"log/slog"
	"time"

	"holdfast/enclave/attest"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/nsm"
	"holdfast/enclave/serve"
	"holdfast/enclave/unseal"
	"holdfast/verify/binding"
)

// assemble makes this start's keys and the server that rests on them. The
// binding has no configuration yet: a release brings keys, not policy.
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
	bound := binding.Binding{TLSKey: identity.PublicKey(), HPKEKey: key.PublicKey()}
	attester, err := attest.New(module, bound)
	if err != nil {
		return nil, err
	}
	signer := ethereum.New(log)
	return serve.New(serve.Config{
		Identity: identity,
		Attester: attester,
		Releaser: unseal.NewSlot(key, binding.ReleaseInfo(bound.Digest()), loader(signer)),
		Signer:   signer.Handler(),
		Log:      log,
	})
}
