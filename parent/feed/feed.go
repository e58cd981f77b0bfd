// Package feed keeps a running enclave supplied over its control port: with its bundle, with each newer bundle
// that takes the old one's place, and with credentials for KMS before the last ones expire.
//
// A [Feeder] looks at what the enclave says of itself, decides on one step, takes it, and looks again. It knows
// no other state than the enclave's, so it does not matter which of the two began first, or began anew. It
// never gives up: whatever fails is tried again, later each time up to a minute. It says each change once.
package feed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/parent/credentials"
	"holdfast/parent/source"
	"holdfast/verify/envelope"
)

// Enclave is what a feeder needs of a control port. [client.Client] is one.
type Enclave interface {
	Status(ctx context.Context) (message.Status, error)
	PutBundle(ctx context.Context, bundle []byte) (message.Status, error)
	PutCredentials(ctx context.Context, credentials message.Credentials) error
}

var _ Enclave = (*client.Client)(nil)

// DefaultPoll is how often a source of bundles is asked.
const DefaultPoll = 30 * time.Second

// How often the enclave is asked how it is.
const (
	watchfulPause = time.Second     // until it serves
	servingPause  = 5 * time.Second // then
)

// Config says what is fed.
type Config struct {
	Enclave     Enclave            // required
	Bundles     source.Source      // nil: no bundle is offered
	Credentials credentials.Source // nil: the enclave gets none
	Poll        time.Duration      // zero is DefaultPoll

	// OnBundle sees every new bundle before the enclave does. Nil sees none.
	OnBundle func(*envelope.Envelope) error

	Log *slog.Logger // required
}

// A Feeder feeds one enclave, through as many starts of it as there may be. Make one with [New].
type Feeder struct {
	Config
	found chan source.Revised // by the watch; the newest only
	said  map[string]string   // by topic, what was said last

	bundle                  []byte // the newest that parses
	offered, taken          digest
	bundles, creds, contact backoff
	bundleAfter, credsAfter time.Time

	mu       sync.Mutex
	snapshot Snapshot
}

// Snapshot is what a feeder saw last.
type Snapshot struct {
	Reachable bool
	Status    message.Status // of the enclave; zero if it is not reachable
	Offered   uint64         // version of the newest bundle that the source has; zero if none
}

// New makes a feeder. It does nothing before Run.
func New(c Config) (*Feeder, error) {
	if c.Enclave == nil || c.Log == nil {
		return nil, errors.New("feed: incomplete configuration")
	}
	c.Poll = cmp.Or(c.Poll, DefaultPoll)
	return &Feeder{Config: c, found: make(chan source.Revised, 1), said: map[string]string{}}, nil
}

// Snapshot returns what the feeder saw last. It may be called at any time.
func (f *Feeder) Snapshot() Snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.snapshot
}

// Run feeds until ctx ends, and returns when nothing of it runs any more.
func (f *Feeder) Run(ctx context.Context) {
	var watch sync.WaitGroup
	defer watch.Wait()
	if f.Bundles != nil {
		watch.Go(func() { source.Watch(ctx, f.Bundles, f.Poll, func(r source.Revised) { f.replace(ctx, r) }) })
	}
	for ctx.Err() == nil {
		pause := time.NewTimer(f.round(ctx))
		select {
		case r := <-f.found:
			f.take(r)
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// replace leaves the newest finding for the loop, in place of one that it has not taken yet.
func (f *Feeder) replace(ctx context.Context, r source.Revised) {
	select {
	case <-f.found:
	default:
	}
	select {
	case f.found <- r:
	case <-ctx.Done():
	}
}

// take looks at what the source has. What is no bundle changes nothing: the last one stays.
func (f *Feeder) take(r source.Revised) {
	if r.Err != nil {
		f.say("source", slog.LevelWarn, r.Err.Error())
		return
	}
	e, err := envelope.Parse(r.Data)
	if err == nil && f.OnBundle != nil {
		err = f.OnBundle(e)
	}
	if err != nil {
		f.say("source", slog.LevelWarn, fmt.Sprintf("bundle from %v: %v", f.Bundles, err))
		return
	}
	f.say("source", slog.LevelInfo, fmt.Sprintf("bundle %q version %d with %d keys, from %v", e.Name, e.Version, len(e.PublicKeys), f.Bundles))
	f.bundle, f.offered = r.Data, e.Digest()
	f.bundles, f.bundleAfter = backoff{}, time.Time{}
	f.see(func(s *Snapshot) { s.Offered = e.Version })
}

// round asks the enclave how it is and takes at most one step. It returns how long to rest.
func (f *Feeder) round(ctx context.Context) time.Duration {
	status, err := f.Enclave.Status(ctx)
	if err != nil {
		if ctx.Err() == nil {
			f.see(func(s *Snapshot) { s.Reachable, s.Status = false, message.Status{} })
			f.say("enclave", slog.LevelWarn, err.Error())
		}
		return min(f.contact.failed(), servingPause)
	}
	f.contact.succeeded()
	f.look(status)
	switch f.situation(status).next() {
	case giveBundle:
		f.offer(ctx)
		return 0
	case giveCredentials:
		f.lend(ctx, status)
		return 0
	}
	if status.State == message.Serving {
		return servingPause
	}
	return watchfulPause
}

// look notes what the enclave says of itself. One that has begun anew has taken nothing yet.
func (f *Feeder) look(status message.Status) {
	f.see(func(s *Snapshot) { s.Reachable, s.Status = true, status })
	level, text := describe(status)
	f.say("enclave", level, text)
	if isFresh(status) && f.taken != (digest{}) {
		f.taken = digest{}
		f.bundles, f.creds = backoff{}, backoff{}
		soon := time.Now().Add(watchfulPause) // an enclave that keeps beginning anew is not flooded
		f.bundleAfter, f.credsAfter = earlier(f.bundleAfter, soon), earlier(f.credsAfter, soon)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (f *Feeder) situation(status message.Status) situation {
	return situation{
		status: status, now: time.Now(),
		offered: f.offered, taken: f.taken,
		hasSource: f.Bundles != nil, hasCredentials: f.Credentials != nil,
		bundleAfter: f.bundleAfter, credentialsAfter: f.credsAfter,
	}
}

// offer hands the bundle over. A refusal is final only as long as the enclave runs and the source has nothing
// newer, so it is tried again, seldom.
func (f *Feeder) offer(ctx context.Context) {
	status, err := f.Enclave.PutBundle(ctx, f.bundle)
	if err != nil {
		f.bundleAfter = time.Now().Add(f.bundles.failed())
		f.sayUnlessOver(ctx, "bundle", err)
		return
	}
	f.taken = f.offered
	f.bundles.succeeded()
	f.bundleAfter = time.Now().Add(watchfulPause)
	f.say("bundle", slog.LevelInfo, "the enclave has taken the bundle")
	f.look(status)
}

// lend hands credentials over.
func (f *Feeder) lend(ctx context.Context, status message.Status) {
	c, err := f.Credentials.Get(ctx)
	if err == nil {
		err = f.Enclave.PutCredentials(ctx, c)
	}
	if err != nil {
		f.credsAfter = time.Now().Add(f.creds.failed())
		f.sayUnlessOver(ctx, "credentials", err)
		return
	}
	f.creds.succeeded()
	f.credsAfter = time.Now().Add(watchfulPause)
	if time.Until(c.Expiration) < renewal { // there are no better ones yet
		f.credsAfter = time.Now().Add(longestPause)
	}
	if status.CredentialsUntil == nil {
		f.say("credentials", slog.LevelInfo, "the enclave has credentials for KMS")
	} else {
		f.say("credentials", slog.LevelInfo, "the enclave's credentials are renewed")
	}
}

func (f *Feeder) see(change func(*Snapshot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.snapshot)
}
