// Package watch keeps a restarted enclave supplied with its keys.
//
// A [Watch] asks every address of a bundle's enclaves in turn. Each answer is a
// full verification. An instance that has not been given its keys gets them
// after another one, and only if the [Ledger] allows it: one live instance of a
// bundle at a time, because two that sign with the same keys can be made to
// sign two different duties. When a check fails, or when an instance that was
// replaced shows itself again, the watch gives up; it never goes on as if
// nothing had been.
//
// What the rule can hold: an instance is replaced only when its address shows
// another attested instance, several times over, or nothing for a while. What
// it cannot: a host that hides a live instance from the watcher and shows it to
// validator clients looks like one whose instance died. Against that stand the
// slashing rules inside the enclave and a store that both copies share; docs/
// verification.md says so to the operator.
package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Confirmations is how often, over new connections, an address must show no
// instance but the new one before the one it showed last counts as replaced.
const Confirmations = 3

// The defaults of a [Config].
const (
	DefaultInterval = 15 * time.Second

	// DefaultDeadline is how long no enclave may answer. A restart with the
	// parent instance takes a few minutes.
	DefaultDeadline = 15 * time.Minute

	// DefaultSilence is two epochs of Ethereum, and a little.
	DefaultSilence = 13 * time.Minute
)

// Trouble of a watch.
var (
	// ErrNoAnswer says that nobody answered a check. Enclaves restart, so the
	// watch goes on.
	ErrNoAnswer = errors.New("no answer")

	// ErrSilent says that nobody answered for longer than the deadline.
	ErrSilent = errors.New("no enclave answers")

	// ErrCopies says that two supplied instances are alive.
	ErrCopies = errors.New("two instances with the same keys are alive")

	// ErrUncertain says that a release may have arrived or not.
	ErrUncertain = errors.New("the release may have arrived or not")

	// ErrHasKeys says that the instance had been given keys before.
	ErrHasKeys = errors.New("the enclave has been given its keys already")
)

// A Gate verifies enclaves.
type Gate interface {
	// Check verifies whoever answers at an address. An error that is
	// [ErrNoAnswer] means that nobody does; any other is a failed check.
	Check(ctx context.Context, url string) (Enclave, error)
}

// An Enclave passed a full check on a connection that it still holds.
type Enclave interface {
	// Instance names this run of the enclave.
	Instance() Instance

	// Release gives it the keys. An error that is [ErrUncertain] means that
	// they may have arrived, [ErrHasKeys] that it has some, and any other
	// that it has none.
	Release(ctx context.Context) error

	// Close gives up the connection.
	Close()
}

// Config says what to watch. Durations must be positive.
type Config struct {
	URLs     []string
	Interval time.Duration // between two rounds
	Deadline time.Duration // after which, without any answer, the watch gives up

	// Silence is how long an address must not answer before another address
	// may take its place.
	Silence time.Duration

	// AllowCopies supplies every instance, however many live. Only a store
	// that all of them share keeps them from signing against each other.
	AllowCopies bool
}

// A Kind says what happened.
type Kind string

// The kinds of events.
const (
	Released Kind = "released" // an instance was given its keys
	Alive    Kind = "alive"    // a supplied instance passed, for the first time since the start or a silence
	Waiting  Kind = "waiting"  // an instance passed, and is not supplied for the reason given
	Silent   Kind = "silent"   // an address stopped answering
	Failed   Kind = "failed"   // the watch gives up
)

// An Event is something worth a line. The same state is not reported twice.
type Event struct {
	Time     time.Time `json:"time"`
	Kind     Kind      `json:"event"`
	URL      string    `json:"url,omitempty"`
	Instance string    `json:"instance,omitempty"`
	Text     string    `json:"text,omitempty"`
}

// A Watch is one run over a list of addresses.
type Watch struct {
	config Config
	gate   Gate
	ledger *Ledger
	report func(Event)

	answered time.Time        // when somebody answered last
	state    map[string]Event // what was reported last of each address
}

// New makes a watch. The ledger says what was supplied before; report is called
// for each event, on the goroutine of [Watch.Run].
func New(config Config, gate Gate, ledger *Ledger, report func(Event)) (*Watch, error) {
	if len(config.URLs) == 0 {
		return nil, errors.New("nothing to watch")
	}
	seen := map[string]bool{}
	for _, url := range config.URLs {
		if seen[url] {
			return nil, fmt.Errorf("%s is named twice", url)
		}
		seen[url] = true
	}
	for name, d := range map[string]time.Duration{"interval": config.Interval, "deadline": config.Deadline, "silence": config.Silence} {
		if d <= 0 {
			return nil, fmt.Errorf("%s of %v, want more than 0", name, d)
		}
	}
	ledger.allowCopies = config.AllowCopies
	return &Watch{config: config, gate: gate, ledger: ledger, report: report, state: map[string]Event{}}, nil
}

// Run watches until ctx ends, and then returns nil, or until something fails.
func (w *Watch) Run(ctx context.Context) error {
	w.answered = time.Now()
	w.ledger.start(w.answered)
	tick := time.NewTicker(w.config.Interval)
	defer tick.Stop()
	for {
		err := w.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			w.report(Event{Time: time.Now(), Kind: Failed, Text: err.Error()})
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// round asks every address once.
func (w *Watch) round(ctx context.Context) error {
	for _, url := range w.config.URLs {
		e, err := w.check(ctx, url)
		switch {
		case errors.Is(err, ErrNoAnswer):
			w.note(Event{Kind: Silent, URL: url, Text: err.Error()})
		case err != nil:
			return fmt.Errorf("%s: %w", url, err)
		default:
			err := w.met(ctx, url, e)
			e.Close()
			if err != nil {
				return fmt.Errorf("%s: %w", url, err)
			}
		}
	}
	if quiet := time.Since(w.answered); quiet > w.config.Deadline {
		return fmt.Errorf("%w, for %v", ErrSilent, quiet.Round(time.Second))
	}
	return nil
}

// check verifies an address and enters what it showed into the ledger.
func (w *Watch) check(ctx context.Context, url string) (Enclave, error) {
	e, err := w.gate.Check(ctx, url)
	if err != nil {
		return nil, err
	}
	w.answered = time.Now()
	if err := w.ledger.Saw(e.Instance(), url, w.answered); err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// met decides what an instance that passed gets.
func (w *Watch) met(ctx context.Context, url string, e Enclave) error {
	i := e.Instance()
	if w.ledger.Has(i) {
		w.note(Event{Kind: Alive, URL: url, Instance: i.String()})
		return nil
	}
	if why := w.ledger.Refuse(i, url, time.Now(), w.config.Silence); why != "" {
		w.note(Event{Kind: Waiting, URL: url, Instance: i.String(), Text: why})
		return nil
	}
	return w.replace(ctx, url, i)
}

// replace makes sure that the last supplied instance does not show itself, and
// then supplies another, after one more full check of it.
func (w *Watch) replace(ctx context.Context, url string, i Instance) error {
	why, err := w.gone(ctx, i)
	if err != nil {
		return err
	}
	e, err := w.check(ctx, url)
	if errors.Is(err, ErrNoAnswer) {
		return nil
	}
	if err != nil {
		return err
	}
	defer e.Close()
	if why == "" {
		why = w.ledger.Refuse(i, url, time.Now(), w.config.Silence)
	}
	if e.Instance() != i {
		why = "another instance answered a moment later"
	}
	if why != "" {
		w.note(Event{Kind: Waiting, URL: url, Instance: i.String(), Text: why})
		return nil
	}
	return w.supply(ctx, url, e)
}

// gone asks every address again, that of the last supplied instance several
// times, and says why that is not gone.
func (w *Watch) gone(ctx context.Context, i Instance) (why string, err error) {
	last, ok := w.ledger.Last()
	if !ok || last.Instance == i || w.config.AllowCopies {
		return "", nil
	}
	for _, url := range append(slices.Repeat([]string{last.URL}, Confirmations), w.config.URLs...) {
		e, err := w.check(ctx, url)
		if errors.Is(err, ErrNoAnswer) {
			continue
		}
		if err != nil {
			return "", err
		}
		e.Close()
		if e.Instance() == last.Instance {
			return fmt.Sprintf("instance %v has the keys and answers at %s", last.Instance, url), nil
		}
	}
	return "", nil
}

// supply releases. The ledger has the instance before the keys leave.
func (w *Watch) supply(ctx context.Context, url string, e Enclave) error {
	i := e.Instance()
	again := w.ledger.Attempted(i)
	w.ledger.Attempt(i, url, time.Now())
	err := e.Release(ctx)
	switch {
	case err == nil:
		w.ledger.Confirm(i)
		w.note(Event{Kind: Released, URL: url, Instance: i.String()})
	case again && errors.Is(err, ErrHasKeys):
		w.ledger.Confirm(i)
		w.note(Event{Kind: Released, URL: url, Instance: i.String(), Text: "the release before had arrived"})
	case errors.Is(err, ErrUncertain):
		w.note(Event{Kind: Waiting, URL: url, Instance: i.String(), Text: err.Error()})
	default:
		return err
	}
	return nil
}

// note reports an event unless it says what was reported last of its address.
func (w *Watch) note(e Event) {
	last, ok := w.state[e.URL]
	w.state[e.URL] = e
	if ok && last == e {
		return
	}
	// That an instance lives is news after silence, not after its release.
	if ok && e.Kind == Alive && last.Kind == Released && last.Instance == e.Instance {
		return
	}
	e.Time = time.Now()
	w.report(e)
}
