package serve

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"

	"holdfast/enclave/secret"
	"holdfast/enclave/serve/access"
)

// Settings are what may change while a server runs.
type Settings struct {
	// Identity is the TLS key, and Attester vouches for it.
	Identity Identity
	Attester Attester

	// Clients are those who may ask.
	Clients *access.List

	// KeyManager turns on the key manager's routes, for clients that may use
	// it and for whoever sends Token, unless that is empty. The server keeps a
	// digest of the token alone.
	KeyManager bool
	Token      secret.Bytes

	Limits Limits
}

// Limits bound what may be under way at once. Zero stands for a default.
type Limits struct {
	Connections       int
	InFlight          int // requests
	InFlightPerClient int
}

func (l Limits) complete() Limits {
	return Limits{
		Connections:       cmp.Or(l.Connections, defaultConnections),
		InFlight:          cmp.Or(l.InFlight, defaultInFlight),
		InFlightPerClient: cmp.Or(l.InFlightPerClient, defaultInFlightPerClient),
	}
}

// A generation is one state of the settings. It never changes.
type generation struct {
	Settings
	tls         *tls.Config
	attestation *attestationHandler
	hasToken    bool
	token       [sha256.Size]byte
}

func (s *Server) newGeneration(settings Settings) (*generation, error) {
	switch {
	case len(settings.Identity.publicKey) == 0:
		return nil, errors.New("serve: no identity")
	case settings.Attester == nil:
		return nil, errors.New("serve: no attester")
	case settings.Clients == nil:
		return nil, errors.New("serve: no list of clients")
	}
	limits := settings.Limits
	if limits.Connections < 0 || limits.InFlight < 0 || limits.InFlightPerClient < 0 {
		return nil, fmt.Errorf("serve: got limits %+v, want none below 0", limits)
	}
	g := &generation{
		Settings:    settings,
		tls:         settings.Identity.tlsConfig(),
		attestation: newAttestationHandler(settings.Attester, s.log),
		hasToken:    settings.Token.Len() > 0,
		token:       sha256.Sum256(settings.Token.Reveal()),
	}
	g.Token = secret.Bytes{}
	g.Limits = limits.complete()
	return g, nil
}

// hasSent reports whether token is the key manager's, in a time that tells nothing
// of how much of it is right.
func (g *generation) hasSent(token string) bool {
	sum := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1 && g.hasToken
}

// Apply changes the settings in one step, without losing a request: handshakes
// from now on use them, and every request from now on is judged by them, whatever
// its connection. Connections that were made before end, each with the answer to
// its next request. An error leaves the settings as they were.
func (s *Server) Apply(settings Settings) error {
	g, err := s.newGeneration(settings)
	if err != nil {
		return err
	}
	s.current.Store(g)
	if l := s.listener.Load(); l != nil {
		l.wake()
	}
	s.announce(g)
	return nil
}

// Check returns the error that [Server.Apply] would return.
func (s *Server) Check(settings Settings) error {
	_, err := s.newGeneration(settings)
	return err
}

// announce says what an operator should not overlook.
func (s *Server) announce(g *generation) {
	if name, ok := g.Clients.Any(); ok {
		s.log.Warn("ANY CLIENT MAY ASK, with a certificate or without: whoever reaches this signer is a client of it", "client", name)
	}
}
