package main

import (
	"sync"

	"holdfast/enclave/bundle"
	"holdfast/enclave/clock"
	"holdfast/enclave/control"
	"holdfast/enclave/control/message"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/nsm"
	"holdfast/enclave/serve"
	"holdfast/enclave/serve/access"
	"holdfast/enclave/unseal"
	"holdfast/verify/binding"
	"holdfast/verify/envelope"
)

// An application is one start of the enclave, from nothing to signing:
//
//	a bundle is presented      its configuration goes into PCR16 and the attestation
//	its data key comes         from KMS, or by a release; the bundle opens
//	its store opens            the signing history is read, and a floor set
//	it serves                  until a newer bundle comes, which passes the same way
type application struct {
	platform
	identity serve.Identity // of this start
	key      *unseal.Key
	signer   *ethereum.Service
	server   *serve.Server
	opener   *keystore.Opener
	clock    *clock.Clock
	roles    *unseal.Credentials // the parent's, for KMS
	unsealer unsealer

	// change is held by whoever takes a step. It guards the fields below.
	change        sync.Mutex
	pinned        *nsm.Digest           // what PCR16 was extended with
	configuration *bundle.Configuration // the one in force, once PCR16 is locked
	bound         binding.Binding       // what the attestation in force binds
	store         *store                // once the first bundle was opened

	mu  sync.Mutex
	was situation
}

// A situation is how far a start has come, for whoever asks meanwhile.
type situation struct {
	pending *envelope.Envelope // waits for its data key
	serving *envelope.Envelope // the signer signs with its keys
	problem error              // why the pending bundle is not open
	store   *store
}

// now returns the situation.
func (a *application) now() situation {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.was
}

// set changes the situation.
func (a *application) set(change func(*situation)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change(&a.was)
}

// nobody is the list of clients before a bundle is open.
func nobody() (*access.List, error) {
	return access.NewList([]access.Client{{Policy: policy.Client{Name: "unreleased"}, Any: true}})
}

// Status is part of [control.Enclave].
func (a *application) Status() message.Status {
	s := a.now()
	status := message.Status{State: message.WaitingForBundle, Bundle: describe(s.serving), Pending: describe(s.pending)}
	switch {
	case s.serving != nil:
		status.State = message.Serving
	case s.pending != nil:
		status.State = message.WaitingForKey
	}
	if s.problem != nil {
		status.Problem = s.problem.Error()
	}
	if until, ok := a.roles.Expiration(); ok {
		status.CredentialsUntil = &until
	}
	if s.store != nil {
		status.Slashing = s.store.status()
	}
	return status
}

func describe(e *envelope.Envelope) *message.Bundle {
	if e == nil {
		return nil
	}
	digest := e.ConfigurationDigest()
	described := &message.Bundle{
		Name: e.Name, Version: e.Version, Configuration: hexadecimal(digest[:]),
		Keys: len(e.PublicKeys), Age: e.Age != nil,
	}
	if e.KMS != nil {
		described.KMSKey = e.KMS.Key
	}
	return described
}

// SetCredentials is part of [control.Enclave].
func (a *application) SetCredentials(c message.Credentials) error {
	if err := a.roles.Set(c.AccessKeyID, c.SecretAccessKey, c.SessionToken, c.Expiration); err != nil {
		return err
	}
	a.unsealer.wake()
	return nil
}

var _ control.Enclave = (*application)(nil)
