package main

import (
	"context"
	"net"
	"runtime"

	"golang.org/x/sync/errgroup"

	"holdfast/enclave/attest"
	"holdfast/enclave/clock"
	"holdfast/enclave/control"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/serve"
	"holdfast/enclave/unseal"
	"holdfast/verify/binding"
)

// An enclave is an application with the two servers that speak for it. Make one
// with [assemble].
type enclave struct {
	application *application
	control     *control.Server
}

// assemble makes this start's keys and what rests on them. logs is where the parent
// reads what p's log says.
func assemble(ctx context.Context, p platform, logs *control.Ring) (*enclave, error) {
	described, err := p.module.Describe(ctx)
	if err != nil {
		return nil, err
	}
	p.log.Info("module", "id", described.ModuleID, "version", described.Version, "locked", described.Locked)
	a, err := newApplication(ctx, p)
	if err != nil {
		return nil, err
	}
	port, err := control.New(control.Config{Enclave: a, Metrics: a.signer.Handler(), Logs: logs, Log: p.log})
	if err != nil {
		return nil, err
	}
	return &enclave{a, port}, nil
}

func newApplication(ctx context.Context, p platform) (*application, error) {
	identity, err := serve.NewIdentity(p.started)
	if err != nil {
		return nil, err
	}
	key, err := unseal.GenerateKey()
	if err != nil {
		return nil, err
	}
	a := &application{
		platform: p,
		identity: identity,
		key:      key,
		bound:    binding.Binding{TLSKey: identity.PublicKey(), HPKEKey: key.PublicKey()},
		signer:   ethereum.New(p.log),
		opener:   keystore.NewOpener(keystoreMemory(), runtime.GOMAXPROCS(0)),
		unsealer: newUnsealer(),
	}
	if a.clock, err = clock.New(clock.Options{Module: p.module, Log: p.log}); err != nil {
		return nil, err
	}
	if err := a.clock.Sync(ctx); err != nil {
		return nil, err
	}
	a.roles = unseal.NewCredentials(a.trusted)
	attester, err := attest.New(p.module, a.bound)
	if err != nil {
		return nil, err
	}
	settings, err := a.unreleased(attester)
	if err != nil {
		return nil, err
	}
	a.server, err = serve.New(serve.Config{
		Settings:   settings,
		Releaser:   a,
		Enclave:    func() any { return a.Status() },
		Signer:     a.signer.Handler(),
		KeyManager: a.signer.KeyManager(),
		Log:        p.log,
	})
	return a, err
}

// serve runs until ctx ends, when it returns nil, or a server fails.
func (e *enclave) serve(ctx context.Context, clients, parent net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return e.application.server.Serve(ctx, clients) })
	group.Go(func() error { return e.control.Serve(ctx, parent) })
	group.Go(func() error { e.application.clock.Run(ctx); return nil })
	group.Go(func() error { e.application.unseal(ctx); return nil })
	err := group.Wait()
	e.application.close()
	return err
}

// close lets go of the store.
func (a *application) close() {
	a.change.Lock()
	defer a.change.Unlock()
	if a.store != nil {
		a.store.close()
	}
}
