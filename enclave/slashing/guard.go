package slashing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// GuardOptions describe a Guard. Store, Schedule and Clock are needed.
type GuardOptions struct {
	Store    Archive
	Schedule Schedule
	Clock    Clock

	// Floor bounds what is signed after this start; nil if the store is known to be
	// current. Schedule.Floor computes it.
	Floor *Floor

	// HighWatermark is where a planned move stops this signer; nil if there is none.
	HighWatermark *HighWatermark
}

// Guard is a store with what time forbids. It denies a duty at or above the high
// watermark, one that lies beyond now, and one that a floor forbids: that of this
// start, or one that stands in the store (see Floors). What is left it gives to the
// store. A duty that time denies leaves no mark, so it can be asked for again later.
//
// Nothing else may use the store beside its guard. The zero value answers Failed.
type Guard struct {
	store    Archive
	schedule Schedule
	clock    Clock
	high     *HighWatermark

	floor *Floor        // of this start; nil if it has none
	turn  chan struct{} // holds a token while floors are read or written

	mu       sync.Mutex // guards what follows, and is held for no input or output
	lifted   bool       // a statement about this start holds
	complete bool       // and says so of all that was ever signed
	opened   bool       // network and floors were read
	network  Root       // of the store
	floors   Floors     // as the store had them at this start
	tried    bool       // the store may have this start's floor
	settled  bool       // the store has all that the next duty rests on
}

var (
	_ Archive = (*Guard)(nil)
	_ Prober  = (*Guard)(nil)
)

// NewGuard makes a guard of complete options.
func NewGuard(o GuardOptions) (*Guard, error) {
	if o.Store == nil || o.Clock == nil {
		return nil, errors.New("slashing guard needs a store and a clock")
	}
	if err := o.Schedule.Check(); err != nil {
		return nil, fmt.Errorf("slashing guard: %w", err)
	}
	return &Guard{
		store:    o.Store,
		schedule: o.Schedule,
		clock:    o.Clock,
		high:     o.HighWatermark,
		floor:    copied(o.Floor),
		turn:     make(chan struct{}, 1),
	}, nil
}

// Record implements Store.
func (g *Guard) Record(ctx context.Context, genesisValidatorsRoot Root, key PublicKey, duty Duty) Decision {
	if g.store == nil {
		return Fail(errNotOpened)
	}
	if slices.Contains(floorKeys(), key) {
		return Fail(errNoValidator)
	}
	if d := g.checkTime(duty); d.Answer != Allowed {
		return d
	}
	if d := g.checkFloor(ctx, duty); d.Answer != Allowed {
		return d
	}
	return g.store.Record(ctx, genesisValidatorsRoot, key, duty)
}

var errNoValidator = errors.New("no validator has this public key")

// checkTime applies the high watermark and the clock.
func (g *Guard) checkTime(duty Duty) Decision {
	if g.high != nil {
		if d := g.high.Check(duty); d.Answer != Allowed {
			return d
		}
	}
	now, err := g.clock.Now()
	if err != nil {
		return Fail(fmt.Errorf("trusted time is not known: %w", err))
	}
	return g.schedule.CheckNow(now, duty)
}

// checkFloor applies the floors, and makes durable what a duty under them rests on.
func (g *Guard) checkFloor(ctx context.Context, duty Duty) Decision {
	if d, known := g.checkFloors(duty); known && (d.Answer != Allowed || g.isSettled()) {
		return d
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return Fail(fmt.Errorf("waiting for the floor of this start to be recorded: %w", ctx.Err()))
	}
	if err := g.open(ctx); err != nil {
		return Fail(err)
	}
	if d, _ := g.checkFloors(duty); d.Answer != Allowed {
		return d
	}
	if err := g.settle(ctx); err != nil {
		return Fail(err)
	}
	return allow()
}

func (g *Guard) isSettled() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.settled
}

// What an operator can do about a floor.
const (
	vouching = "an operator's statement that the journal is current lifts this sooner (parent slashing vouch)"
	standing = "an earlier start imposed this on the journal and nobody vouched for that start, so only an operator's statement that the journal is complete lifts it sooner"
)

// checkFloors applies this start's floor and the one that stands, which is known once
// the store's floors were read.
func (g *Guard) checkFloors(duty Duty) (d Decision, known bool) {
	floor, stands, known := g.inForce()
	d = allow()
	hint := vouching
	if floor != nil {
		d = g.schedule.CheckFloor(*floor, duty)
	}
	if d.Answer == Allowed && stands != nil {
		d, hint = g.schedule.CheckFloor(*stands, duty), standing
	}
	if d.Answer == Denied {
		d.Err = fmt.Errorf("%w; %s", d.Err, hint)
	}
	return d, known
}

// inForce returns this start's floor and the one that stands; nil where there is none
// or it was lifted.
func (g *Guard) inForce() (floor, stands *Floor, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.lifted {
		floor = g.floor
	}
	if !g.complete {
		stands = g.floors.Standing()
	}
	return floor, stands, g.opened
}

// open reads the floors that the store has, once. Callers have the turn.
func (g *Guard) open(ctx context.Context) error {
	if _, _, known := g.inForce(); known {
		return nil
	}
	history, err := g.store.Export(ctx, floorKeys())
	if err != nil {
		return fmt.Errorf("floors of earlier starts could not be read: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.network, g.floors, g.opened = history.GenesisValidatorsRoot, floorsOf(history.States), true
	return nil
}

// settle has the store know this start's floor before a duty is recorded under it, and
// that it was lifted once it was. Doing so twice is the same as once. Callers have the
// turn.
func (g *Guard) settle(ctx context.Context) error {
	wanted, lifted := g.wanted()
	if wanted != nil {
		if err := g.store.Import(ctx, *wanted); err != nil {
			return fmt.Errorf("the floor of this start could not be recorded: %w", err)
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settled = lifted == g.lifted
	return nil
}

// wanted returns what the store must know, nil if that is nothing new, and whether
// that includes a lift.
func (g *Guard) wanted() (*Interchange, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.settled || g.floor == nil || g.lifted && !g.tried {
		return nil, g.lifted
	}
	g.tried = true
	floors := g.floors.Impose(*g.floor)
	if g.lifted {
		floors = floors.Lift(g.floors.Standing())
	}
	return &Interchange{GenesisValidatorsRoot: g.network, States: floors.states()}, g.lifted
}

// Import implements Archive. Neither time nor floor bound it: history only ever
// forbids.
func (g *Guard) Import(ctx context.Context, history Interchange) error {
	if g.store == nil {
		return errNotOpened
	}
	for _, key := range floorKeys() {
		if _, ok := history.States[key]; ok {
			return fmt.Errorf("interchange has key %#x: %w", key, errNoValidator)
		}
	}
	return g.store.Import(ctx, history)
}

// Export implements Archive.
func (g *Guard) Export(ctx context.Context, keys []PublicKey) (Interchange, error) {
	if g.store == nil {
		return Interchange{}, errNotOpened
	}
	history, err := g.store.Export(ctx, keys)
	for _, key := range floorKeys() {
		delete(history.States, key)
	}
	return history, err
}

// Probe implements Prober: the clock must tell the time, and the store must work if
// it can say so.
func (g *Guard) Probe(ctx context.Context) error {
	if g.store == nil {
		return errNotOpened
	}
	if _, err := g.clock.Now(); err != nil {
		return fmt.Errorf("trusted time is not known: %w", err)
	}
	if prober, ok := g.store.(Prober); ok {
		return prober.Probe(ctx)
	}
	return ctx.Err()
}

// Floor returns a copy of this start's floor, or nil if there is none or it was
// lifted. What stands in the store is not part of it.
func (g *Guard) Floor() *Floor {
	floor, _, _ := g.inForce()
	return copied(floor)
}

// Lift removes this start's floor. The caller has verified a Statement that the
// journal, as this enclave read it at its start, is current. Floors that earlier
// starts imposed on the journal stand.
func (g *Guard) Lift() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lifted, g.settled = true, false
}

// LiftAll removes this start's floor, and for this start those that stand as well. The
// caller has verified a Statement that the journal is complete.
func (g *Guard) LiftAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lifted, g.complete, g.settled = true, true, false
}

func copied(floor *Floor) *Floor {
	if floor == nil {
		return nil
	}
	f := *floor
	return &f
}
