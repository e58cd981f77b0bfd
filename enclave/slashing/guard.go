package slashing

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// GuardOptions describe a Guard. Store, Schedule and Clock are needed.
type GuardOptions struct {
	Store    Archive
	Schedule Schedule
	Clock    Clock

	// Floor bounds what is signed after a start; nil if the store is known to be
	// current. Schedule.Floor computes it.
	Floor *Floor

	// HighWatermark is where a planned move stops this signer; nil if there is none.
	HighWatermark *HighWatermark
}

// Guard is a store with what time forbids. It denies a duty at or above the high
// watermark, one that lies beyond now, and one that the floor forbids; what is left
// it gives to the store. The zero value answers Failed.
//
// No time passes a denied duty on to the store, so a duty that was asked for too
// soon can be asked for again.
type Guard struct {
	store    Archive
	schedule Schedule
	clock    Clock
	high     *HighWatermark
	floor    atomic.Pointer[Floor]
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
	g := &Guard{store: o.Store, schedule: o.Schedule, clock: o.Clock, high: o.HighWatermark}
	if o.Floor != nil {
		floor := *o.Floor
		g.floor.Store(&floor)
	}
	return g, nil
}

// Record implements Store.
func (g *Guard) Record(ctx context.Context, genesisValidatorsRoot Root, key PublicKey, duty Duty) Decision {
	if d := g.check(duty); d.Answer != Allowed {
		return d
	}
	return g.store.Record(ctx, genesisValidatorsRoot, key, duty)
}

// check applies what does not depend on the key.
func (g *Guard) check(duty Duty) Decision {
	if g.store == nil {
		return Fail(errNotOpened)
	}
	if g.high != nil {
		if d := g.high.Check(duty); d.Answer != Allowed {
			return d
		}
	}
	now, err := g.clock.Now()
	if err != nil {
		return Fail(fmt.Errorf("trusted time is not known: %w", err))
	}
	if d := g.schedule.CheckNow(now, duty); d.Answer != Allowed {
		return d
	}
	if floor := g.floor.Load(); floor != nil {
		return g.schedule.CheckFloor(*floor, duty)
	}
	return allow()
}

// Import implements Archive. Neither time nor floor bound it: history only ever
// forbids.
func (g *Guard) Import(ctx context.Context, history Interchange) error {
	if g.store == nil {
		return errNotOpened
	}
	return g.store.Import(ctx, history)
}

// Export implements Archive.
func (g *Guard) Export(ctx context.Context, keys []PublicKey) (Interchange, error) {
	if g.store == nil {
		return Interchange{}, errNotOpened
	}
	return g.store.Export(ctx, keys)
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

// Floor returns a copy of the floor, or nil if there is none or it was lifted.
func (g *Guard) Floor() *Floor {
	floor := g.floor.Load()
	if floor == nil {
		return nil
	}
	copied := *floor
	return &copied
}

// Lift removes the floor. The caller has verified a Statement that the journal, as
// this enclave read it at its start, is current.
func (g *Guard) Lift() { g.floor.Store(nil) }
