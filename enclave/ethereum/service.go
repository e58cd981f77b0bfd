// Package ethereum answers validator clients over Web3Signer's HTTP interface.
//
// A Service starts empty: it lists no keys and signs nothing. Load gives it, once,
// a network, keys and a slashing store, all of which come with a release of keys
// to the enclave and none of which a client or the host can choose. Afterwards
// keys come and go while it signs: Replace with a newer bundle, Import and Delete
// through the key manager. A key that is taken away signs nothing once the call
// has returned; what it signed stays recorded.
//
// Register adds the routes of validator clients and operators to a mux. The key
// manager, whose callers must be authenticated by whoever mounts it, is a handler
// of its own: KeyManager.
//
// Every signature follows the same order: the request is parsed and its signing
// root computed, the client's policy judges it, the duty is recorded by the
// slashing store if it is slashable, and only then is the key touched.
package ethereum

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
)

// ErrLoaded is Load's answer once a Service has its keys.
var ErrLoaded = errors.New("the signer has its keys already")

var errNotLoaded = errors.New("no keys are released to this signer yet")

// Config is what a release brings. Network, Keys and Slashing are needed.
type Config struct {
	Network network.Network
	Keys    []*bls.SecretKey

	// Slashing records what is signed. The key manager moves keys with their
	// history only if it is a slashing.Archive, and health is its own if it is
	// a slashing.Prober.
	Slashing slashing.Store

	// HighWatermark, if not nil, is where this signer stops.
	HighWatermark *slashing.HighWatermark

	// Client returns the policy of whoever sent a request. Without it everyone
	// who reaches the signer may have ordinary duties signed, but no exits and
	// no deposits.
	Client func(*http.Request) policy.Client

	// Reload is what POST /reload starts, in the background and never twice at
	// once. ErrPartly in its error says that the rest was done. Without it a
	// reload completes at once.
	Reload func(context.Context) error

	// Keystores opens what the key manager is given. Without it one at a time
	// is opened, in as much memory as the usual parameters need.
	Keystores *keystore.Opener

	// Batch turns on POST /api/v1/eth2/sign, and Generic the type GENERIC:
	// both are proposals to ethereum/remote-signing-api, and not part of it.
	Batch   bool
	Generic bool
}

// Service is a signer. Make one with New.
type Service struct {
	logger *slog.Logger
	loaded atomic.Pointer[signer]
	reload reloader
	meter  *meter
}

// New returns a Service without keys. A nil logger discards.
func New(logger *slog.Logger) *Service {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{logger: logger}
	s.meter = newMeter(s)
	return s
}

// Load gives the service its keys. It succeeds once; later it returns ErrLoaded
// and changes nothing. Keys belong to the service afterwards.
func (s *Service) Load(config Config) error {
	made, err := newSigner(config)
	if err != nil {
		return err
	}
	made.meter = s.meter
	if !s.loaded.CompareAndSwap(nil, made) {
		return ErrLoaded
	}
	return nil
}

// PublicKeys returns the keys the service signs with, in order; none before Load.
func (s *Service) PublicKeys() []bls.PublicKey {
	if signer := s.loaded.Load(); signer != nil {
		return slices.Clone(signer.keys.current.Load().order)
	}
	return nil
}

// signer is a loaded Service. Only its keys change.
type signer struct {
	Config
	keys  keys
	meter *meter

	// places is one for each processor. More signatures at once would only add
	// threads, and make all of them late.
	places chan struct{}
}

func newSigner(config Config) (*signer, error) {
	if err := config.Network.Validate(); err != nil {
		return nil, err
	}
	if config.Slashing == nil {
		return nil, errors.New("no slashing store")
	}
	held, err := released(config.Keys)
	if err != nil {
		return nil, err
	}
	ring, err := newKeyring(held)
	if err != nil {
		return nil, err
	}
	s := &signer{Config: config, places: make(chan struct{}, runtime.GOMAXPROCS(0))}
	s.Keys = nil // the ring has them, and not for ever
	s.keys.current.Store(ring)
	if s.Client == nil {
		duties := policy.Duties("any")
		s.Client = func(*http.Request) policy.Client { return duties }
	}
	if s.Keystores == nil {
		s.Keystores = keystore.NewOpener(keystore.UsualMemory, 1)
	}
	return s, nil
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

// parse reads a request that the signer's configuration allows.
func (s *signer) parse(request *jsontree.Object) (signing.Message, *refusal) {
	message, err := signing.Read(request, &s.Network)
	if err != nil {
		return message, refuse(http.StatusBadRequest, malformed, err)
	}
	if message.Type == signing.Generic && !s.Generic {
		return message, refuse(http.StatusBadRequest, malformed, errors.New("type GENERIC is not turned on for this signer"))
	}
	return message, nil
}

// sign answers a client's request for the key that identifier names. point gives
// the message's root on the curve.
func (s *signer) sign(ctx context.Context, client *policy.Client, identifier string, message *signing.Message, point func() bls.Point) (signature bls.Signature, no *refusal) {
	public, key, err := s.keys.find(identifier)
	if err != nil {
		return bls.Signature{}, refuse(http.StatusNotFound, unknownKey, err)
	}
	if no := client.Judge(public, message); no != nil {
		return bls.Signature{}, refuse(http.StatusForbidden, string(no.Rule), no)
	}
	held := key.use(func(secret *bls.SecretKey) {
		if no = s.permit(ctx, public, message); no == nil {
			signature, no = s.signPermitted(secret, point)
		}
	})
	if !held {
		return bls.Signature{}, refuse(http.StatusNotFound, unknownKey, noSuchKey(public))
	}
	return signature, no
}

// The reasons of refusals that no rule of policy or slashing protection names.
const (
	malformed   = "malformed"
	unknownKey  = "unknown_key"
	notReleased = "not_released"
	keyFailed   = "key_failed"
	storeFailed = "slashing_store_failed"
)

func (s *signer) signPermitted(secret *bls.SecretKey, point func() bls.Point) (bls.Signature, *refusal) {
	s.places <- struct{}{}
	defer func() { <-s.places }()
	start := time.Now()
	signature, err := secret.SignPoint(point())
	if err != nil {
		return bls.Signature{}, refuse(http.StatusInternalServerError, keyFailed, err)
	}
	s.meter.signed(time.Since(start))
	return signature, nil
}

// permit refuses messages of another network and has slashable duties recorded. It
// permits nothing but on a positive answer.
func (s *signer) permit(ctx context.Context, key bls.PublicKey, message *signing.Message) *refusal {
	if message.ForkInfo && message.GenesisValidatorsRoot != s.Network.GenesisValidatorsRoot {
		return refuse(http.StatusPreconditionFailed, string(slashing.WrongNetwork),
			fmt.Errorf("genesis validators root is %#x, but this signer serves %s with %#x",
				message.GenesisValidatorsRoot, s.Network.Name, s.Network.GenesisValidatorsRoot))
	}
	if message.Duty == nil {
		return nil
	}
	start := time.Now()
	decision := s.record(ctx, key, message)
	s.meter.recorded(message.Duty, decision.Answer, time.Since(start))
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
	return refuse(http.StatusInternalServerError, storeFailed,
		fmt.Errorf("slashing protection could not record the %v: %w", message.Duty, err))
}

// record asks the high watermark first: a duty that it denies is not recorded.
func (s *signer) record(ctx context.Context, key bls.PublicKey, message *signing.Message) slashing.Decision {
	if s.HighWatermark != nil {
		if decision := s.HighWatermark.Check(message.Duty); decision.Answer != slashing.Allowed {
			return decision
		}
	}
	return s.Slashing.Record(ctx, message.GenesisValidatorsRoot, slashing.PublicKey(key), message.Duty)
}
