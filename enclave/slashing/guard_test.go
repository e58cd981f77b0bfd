package slashing_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// clockAt is a clock that a test sets; one that was never set fails.
type clockAt struct{ time time.Time }

func (c *clockAt) Now() (time.Time, error) {
	if c.time.IsZero() {
		return time.Time{}, errors.New("nobody answers")
	}
	return c.time, nil
}

func newGuard(t *testing.T, o slashing.GuardOptions) *slashing.Guard {
	t.Helper()
	if o.Store == nil {
		o.Store = slashingtest.NewMemory(chain)
	}
	if o.Clock == nil {
		o.Clock = &clockAt{at(100, 0)}
	}
	o.Schedule = schedule()
	guard, err := slashing.NewGuard(o)
	if err != nil {
		t.Fatal(err)
	}
	return guard
}

func record(t *testing.T, store slashing.Store, duty slashing.Duty) slashing.Decision {
	t.Helper()
	return store.Record(t.Context(), chain, slashing.PublicKey{1}, duty)
}

func denied(t *testing.T, store slashing.Store, duty slashing.Duty, reason slashing.Reason) {
	t.Helper()
	if d := record(t, store, duty); d.Answer != slashing.Denied || d.Reason != reason || d.Err == nil {
		t.Errorf("%v: got answer %d, %q, %v; want a denial, %q", duty, d.Answer, d.Reason, d.Err, reason)
	}
}

func allowed(t *testing.T, store slashing.Store, duty slashing.Duty) {
	t.Helper()
	if d := record(t, store, duty); d.Answer != slashing.Allowed {
		t.Errorf("%v: got answer %d, %q, %v; want it allowed", duty, d.Answer, d.Reason, d.Err)
	}
}

// patient is a store behind a guard that time does not get in the way of.
type patient struct {
	*slashing.Guard
	*slashingtest.Memory
}

func (p patient) Record(ctx context.Context, network slashing.Root, key slashing.PublicKey, duty slashing.Duty) slashing.Decision {
	d := p.Guard.Record(ctx, network, key, duty)
	if d.Reason == slashing.BeyondNow {
		return p.Memory.Record(ctx, network, key, duty)
	}
	return d
}

func (p patient) Import(ctx context.Context, h slashing.Interchange) error {
	return p.Guard.Import(ctx, h)
}
func (p patient) Export(ctx context.Context, keys []slashing.PublicKey) (slashing.Interchange, error) {
	return p.Guard.Export(ctx, keys)
}
func (p patient) Probe(ctx context.Context) error { return p.Guard.Probe(ctx) }

func TestAGuardedStoreIsAStore(t *testing.T) {
	slashingtest.RunStore(t, func(t *testing.T, network slashing.Root) slashing.Archive {
		memory := slashingtest.NewMemory(network)
		return patient{newGuard(t, slashing.GuardOptions{Store: memory}), memory}
	})
}

func TestAnIncompleteGuardIsNotMade(t *testing.T) {
	whole := slashing.GuardOptions{Store: slashingtest.NewMemory(chain), Clock: new(clockAt), Schedule: schedule()}
	for name, change := range map[string]func(*slashing.GuardOptions){
		"no store":    func(o *slashing.GuardOptions) { o.Store = nil },
		"no clock":    func(o *slashing.GuardOptions) { o.Clock = nil },
		"no schedule": func(o *slashing.GuardOptions) { o.Schedule = slashing.Schedule{} },
	} {
		o := whole
		change(&o)
		if _, err := slashing.NewGuard(o); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

func TestTheZeroGuardFails(t *testing.T) {
	guard := new(slashing.Guard)
	if d := record(t, guard, proposal(1, 1)); d.Answer != slashing.Failed || d.Err == nil {
		t.Errorf("got %+v", d)
	}
	if _, err := guard.Export(t.Context(), nil); err == nil || guard.Import(t.Context(), slashing.Interchange{}) == nil || guard.Probe(t.Context()) == nil {
		t.Error("it works")
	}
}

func TestWithoutTimeNothingIsRecorded(t *testing.T) {
	clock := new(clockAt)
	guard := newGuard(t, slashing.GuardOptions{Clock: clock})
	if d := record(t, guard, proposal(1, 1)); d.Answer != slashing.Failed || !strings.Contains(d.Err.Error(), "nobody answers") {
		t.Errorf("got answer %d, %v", d.Answer, d.Err)
	}
	if guard.Probe(t.Context()) == nil {
		t.Error("it probes well")
	}
	clock.time = at(9, 0)
	allowed(t, guard, proposal(1, 2)) // the failed one left no mark
	if err := guard.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNothingBeyondNowPlusOneSlotIsSigned(t *testing.T) {
	clock := &clockAt{at(5, 2)}
	guard := newGuard(t, slashing.GuardOptions{Clock: clock})
	denied(t, guard, vote(4, 6, 1), slashing.BeyondNow)
	denied(t, guard, proposal(24, 1), slashing.BeyondNow)
	allowed(t, guard, proposal(23, 1))
	clock.time = at(5, 3).Add(-1)
	denied(t, guard, vote(4, 6, 1), slashing.BeyondNow)
	clock.time = at(5, 3)
	allowed(t, guard, vote(4, 6, 1))
	denied(t, guard, vote(4, 7, 1), slashing.BeyondNow)
	denied(t, guard, vote(4, 1<<64-1, 1), slashing.BeyondNow)
	denied(t, guard, proposal(1<<64-1, 1), slashing.BeyondNow)
	allowed(t, guard, proposal(24, 1))
}

func TestBeforeGenesisNothingIsSignedUntilItsSlotIsNext(t *testing.T) {
	clock := &clockAt{genesis.Add(-12*time.Second - 1)}
	guard := newGuard(t, slashing.GuardOptions{Clock: clock, Floor: schedule().Floor(genesis.Add(-time.Hour))})
	denied(t, guard, vote(0, 0, 1), slashing.BeyondNow)
	denied(t, guard, proposal(0, 1), slashing.BeyondNow)
	clock.time = genesis.Add(-12 * time.Second)
	allowed(t, guard, vote(0, 0, 1))
	denied(t, guard, vote(0, 1, 1), slashing.BeyondNow)
	clock.time = genesis
	allowed(t, guard, proposal(1, 1))
}

func TestAFloorBeforeGenesisIsNone(t *testing.T) {
	s := schedule()
	none := genesis.Add(-s.SlotDuration - slashing.ClockMargin - 1)
	if floor := s.Floor(none); floor != nil {
		t.Errorf("got %+v", floor)
	}
	if floor := s.Floor(none.Add(1)); floor == nil || *floor != (slashing.Floor{}) {
		t.Errorf("got %+v, want epoch 0", floor)
	}
}

func TestAFloorCoversTheSlotAheadAndTheMargin(t *testing.T) {
	s := schedule()
	ahead := s.SlotDuration + slashing.ClockMargin
	for now, want := range map[time.Time]slashing.Floor{
		at(5, 0):                  {Epoch: 5, Slot: 21},
		at(6, 0).Add(-ahead - 1):  {Epoch: 5, Slot: 23},
		at(6, 0).Add(-ahead):      {Epoch: 6, Slot: 24},
		at(6, 0).Add(-1):          {Epoch: 6, Slot: 25},
		genesis.Add(-time.Second): {Epoch: 0, Slot: 1},
	} {
		if got := s.Floor(now); got == nil || *got != want {
			t.Errorf("%v: got %+v, want %+v", now, got, want)
		}
	}
}

func TestAFloorForbidsUntilItHasPassed(t *testing.T) {
	clock := &clockAt{at(5, 0)}
	guard := newGuard(t, slashing.GuardOptions{Clock: clock, Floor: &slashing.Floor{Epoch: 5, Slot: 21}})
	denied(t, guard, vote(4, 5, 1), slashing.TargetAtFloor)
	denied(t, guard, vote(3, 4, 1), slashing.TargetAtFloor)
	denied(t, guard, proposal(21, 1), slashing.BlockAtFloor)
	denied(t, guard, proposal(20, 1), slashing.BlockAtFloor)
	clock.time = at(6, 0)
	denied(t, guard, vote(3, 6, 1), slashing.SourceBelowFloor)
	allowed(t, guard, vote(4, 6, 1))
	allowed(t, guard, proposal(22, 1))
}

func TestAFloorAtEpochZeroNeedsNoSource(t *testing.T) {
	clock := &clockAt{at(1, 0)}
	guard := newGuard(t, slashing.GuardOptions{Clock: clock, Floor: &slashing.Floor{}})
	denied(t, guard, vote(0, 0, 1), slashing.TargetAtFloor)
	allowed(t, guard, vote(0, 1, 1))
}

func TestARefusalAtTheFloorSaysWhenAndHowItGoesOn(t *testing.T) {
	clock := &clockAt{at(7, 0)}
	guard := newGuard(t, slashing.GuardOptions{Clock: clock, Floor: &slashing.Floor{Epoch: 6, Slot: 25}})
	for duty, parts := range map[slashing.Duty][]string{
		vote(5, 6, 1):   {"target 6", "epoch 7", at(7, 0).Format(time.RFC3339), "parent slashing vouch"},
		vote(1, 7, 1):   {"source 1 is below 5", "justified epoch 5", "parent slashing vouch"},
		proposal(24, 1): {"slot 24", "slot 26", at(6, 2).Format(time.RFC3339), "parent slashing vouch"},
	} {
		d := record(t, guard, duty)
		for _, part := range parts {
			if d.Err == nil || !strings.Contains(d.Err.Error(), part) {
				t.Errorf("%v: %v lacks %q", duty, d.Err, part)
			}
		}
	}
}

func TestALiftedFloorForbidsNothing(t *testing.T) {
	floor := slashing.Floor{Epoch: 5, Slot: 21}
	guard := newGuard(t, slashing.GuardOptions{Clock: &clockAt{at(5, 1)}, Floor: &floor})
	if got := guard.Floor(); got == nil || *got != (slashing.Floor{Epoch: 5, Slot: 21}) {
		t.Errorf("got %+v", got)
	}
	floor.Epoch, guard.Floor().Epoch = 0, 0 // neither is the guard's
	denied(t, guard, vote(4, 5, 1), slashing.TargetAtFloor)
	guard.Lift()
	if guard.Floor() != nil {
		t.Error("the floor is still there")
	}
	allowed(t, guard, vote(4, 5, 1))
	allowed(t, guard, proposal(21, 1))
	denied(t, guard, vote(4, 5, 2), slashing.DoubleVote)
}

func TestTheHighWatermarkIsAskedFirst(t *testing.T) {
	guard := newGuard(t, slashing.GuardOptions{
		Clock:         &clockAt{at(5, 0)},
		Floor:         &slashing.Floor{Epoch: 5, Slot: 21},
		HighWatermark: &slashing.HighWatermark{Epoch: 5, Slot: 10},
	})
	denied(t, guard, vote(4, 5, 1), slashing.AboveHighWatermark)
	denied(t, guard, vote(4, 50, 1), slashing.AboveHighWatermark)
	denied(t, guard, proposal(10, 1), slashing.AboveHighWatermark)
	denied(t, guard, proposal(9, 1), slashing.BlockAtFloor)
}

func TestNoDutyIsNeverAllowed(t *testing.T) {
	floor := &slashing.Floor{}
	for name, d := range map[string]slashing.Decision{
		"guard": record(t, newGuard(t, slashing.GuardOptions{Floor: floor}), nil),
		"now":   schedule().CheckNow(at(5, 0), nil),
		"floor": schedule().CheckFloor(*floor, nil),
	} {
		if d.Answer != slashing.Failed || d.Err == nil {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

// The proof at Floor, tried out: an enclave that forgets all at every start, on clocks
// that disagree by as much as the margin allows.
func TestNoSlashablePairStraddlesAStart(t *testing.T) {
	const rounds, starts, asked = 60, 6, 60
	signatures := 0
	for seed := range uint64(rounds) {
		random := rand.New(rand.NewPCG(seed, 7))
		var signed []slashing.Duty
		truth := genesis.Add(time.Duration(random.Int64N(int64(time.Minute))) - 30*time.Second)
		for range starts {
			// The module of this start reads up to half the margin less than the one
			// before, and its clock up to half the margin more than the module.
			clock := &clockAt{truth.Add(-time.Duration(random.Int64N(int64(slashing.ClockMargin / 2))))}
			guard := newGuard(t, slashing.GuardOptions{Clock: clock, Floor: schedule().Floor(clock.time)})
			for n := range asked {
				truth = truth.Add(time.Duration(random.Int64N(int64(5 * time.Second))))
				clock.time = truth.Add(time.Duration(random.Int64N(int64(slashing.ClockMargin / 2))))
				epoch := schedule().Epoch(truth)
				var duty slashing.Duty = vote(max(epoch, 4)-random.Uint64N(4), epoch+random.Uint64N(4)-min(epoch, 1), byte(n))
				if random.IntN(2) == 0 {
					duty = proposal(schedule().Slot(truth)+random.Uint64N(5)-min(schedule().Slot(truth), 2), byte(n))
				}
				if record(t, guard, duty).Answer != slashing.Allowed {
					continue
				}
				for _, old := range signed {
					if slashingtest.Slashable(old, duty) {
						t.Fatalf("seed %d: %v and %v", seed, old, duty)
					}
				}
				signed = append(signed, duty)
			}
		}
		signatures += len(signed)
	}
	if signatures < 1000 {
		t.Errorf("only %d signatures: the test asks for too little", signatures)
	}
}
