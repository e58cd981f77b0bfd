// Package ethereum answers validator clients over Web3Signer's HTTP interface.
//
// A Service starts empty: it lists no keys and signs nothing. Load gives it, once,
// a network, keys and a slashing store, all of which come with a release of keys
// to the enclave and none of which a client or the host can choose.
//
// Every signature follows the same order: the request is parsed and its signing
// root computed, the client's policy judges it, the duty is recorded by the
// slashing store if it is slashable, and only then is the key touched.
package ethereum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
)

// ErrLoaded is Load's answer once a Service has its keys.
var ErrLoaded = errors.New("the signer has its keys already")

// Config is what a release brings. Every field but Client is needed.
type Config struct {
	Network  network.Network
	Keys     []*bls.SecretKey
	Slashing slashing.Store

	// Client returns the policy of whoever sent a request. Without it everyone
	// who reaches the signer may have ordinary duties signed, but no exits and
	// no deposits.
	Client func(*http.Request) policy.Client
}

// Service is a signer. Make one with New.
type Service struct {
	logger *slog.Logger
	loaded atomic.Pointer[signer]
}

// New returns a Service without keys. A nil logger discards.
func New(logger *slog.Logger) *Service {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Service{logger: logger}
}

// Load gives the service its keys. It succeeds once; later it returns ErrLoaded
// and changes nothing. Keys belong to the service afterwards.
func (s *Service) Load(config Config) error {
	made, err := newSigner(config)
	if err != nil {
		return err
	}
	if !s.loaded.CompareAndSwap(nil, made) {
		return ErrLoaded
	}
	return nil
}

// PublicKeys returns the keys the service signs with, in order; none before Load.
func (s *Service) PublicKeys() []bls.PublicKey {
	if signer := s.loaded.Load(); signer != nil {
		return slices.Clone(signer.order)
	}
	return nil
}

// signer is a loaded Service's immutable part.
type signer struct {
	network  network.Network
	slashing slashing.Store
	client   func(*http.Request) policy.Client
	keys     map[bls.PublicKey]*bls.SecretKey
	order    []bls.PublicKey
	listing  []byte // the answer to publicKeys
}

func newSigner(config Config) (*signer, error) {
	if err := config.Network.Validate(); err != nil {
		return nil, err
	}
	if config.Slashing == nil {
		return nil, errors.New("no slashing store")
	}
	s := &signer{
		network:  config.Network,
		slashing: config.Slashing,
		client:   config.Client,
		keys:     make(map[bls.PublicKey]*bls.SecretKey, len(config.Keys)),
	}
	if s.client == nil {
		duties := policy.Duties("any")
		s.client = func(*http.Request) policy.Client { return duties }
	}
	for i, key := range config.Keys {
		if key == nil || key.PublicKey() == (bls.PublicKey{}) {
			return nil, fmt.Errorf("key %d: %w", i, bls.ErrNoKey)
		}
		if _, ok := s.keys[key.PublicKey()]; ok {
			return nil, fmt.Errorf("key %d: %v comes twice", i, key.PublicKey())
		}
		s.keys[key.PublicKey()] = key
		s.order = append(s.order, key.PublicKey())
	}
	slices.SortFunc(s.order, func(a, b bls.PublicKey) int { return slices.Compare(a[:], b[:]) })
	listing, err := listKeys(s.order)
	s.listing = listing
	return s, err
}

func listKeys(keys []bls.PublicKey) ([]byte, error) {
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.String()
	}
	return json.Marshal(names)
}

// refusal is an answer other than a signature.
type refusal struct {
	status int
	reason string // short and of bounded variety, for logs and metrics
	err    error
}

func refuse(status int, reason string, err error) *refusal {
	return &refusal{status, reason, err}
}

// sign answers one request of a client for the key that identifier names.
func (s *signer) sign(ctx context.Context, client policy.Client, identifier string, body []byte) (bls.Signature, signing.Message, *refusal) {
	message, err := signing.Parse(body, &s.network)
	if err != nil {
		return bls.Signature{}, message, refuse(http.StatusBadRequest, "malformed", err)
	}
	key, err := s.find(identifier)
	if err != nil {
		return bls.Signature{}, message, refuse(http.StatusNotFound, "unknown_key", err)
	}
	if no := client.Judge(key.PublicKey(), &message); no != nil {
		return bls.Signature{}, message, refuse(http.StatusForbidden, string(no.Rule), no)
	}
	if no := s.permit(ctx, key.PublicKey(), &message); no != nil {
		return bls.Signature{}, message, no
	}
	signature, err := key.Sign(message.SigningRoot)
	if err != nil {
		return bls.Signature{}, message, refuse(http.StatusInternalServerError, "key_failed", err)
	}
	return signature, message, nil
}

func (s *signer) find(identifier string) (*bls.SecretKey, error) {
	public, err := bls.ParsePublicKey(identifier)
	if err != nil {
		return nil, err
	}
	key, ok := s.keys[public]
	if !ok {
		return nil, fmt.Errorf("no key %v here", public)
	}
	return key, nil
}

// permit refuses messages of another network and has slashable duties recorded. It
// permits nothing but on a positive answer.
func (s *signer) permit(ctx context.Context, key bls.PublicKey, message *signing.Message) *refusal {
	if message.ForkInfo && message.GenesisValidatorsRoot != s.network.GenesisValidatorsRoot {
		return refuse(http.StatusPreconditionFailed, string(slashing.WrongNetwork),
			fmt.Errorf("genesis validators root is %#x, but this signer serves %s with %#x",
				message.GenesisValidatorsRoot, s.network.Name, s.network.GenesisValidatorsRoot))
	}
	if message.Duty == nil {
		return nil
	}
	decision := s.slashing.Record(ctx, message.GenesisValidatorsRoot, slashing.PublicKey(key), message.Duty)
	switch decision.Answer {
	case slashing.Allowed:
		return nil
	case slashing.Denied:
		return refuse(http.StatusPreconditionFailed, string(decision.Reason), decision.Err)
	}
	err := decision.Err
	if err == nil {
		err = errors.New("the store gave no answer")
	}
	return refuse(http.StatusInternalServerError, "slashing_store_failed",
		fmt.Errorf("slashing protection could not record the %v: %w", message.Duty, err))
}
