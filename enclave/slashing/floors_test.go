package slashing_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// starts runs one start after the other on stores that the test chooses.
type starts struct {
	t     *testing.T
	clock *clockAt
}

// strict starts an enclave in strict on a store, at an epoch.
func (s starts) strict(store slashing.Archive, epoch uint64) *slashing.Guard {
	s.clock.time = at(epoch, 0)
	return newGuard(s.t, slashing.GuardOptions{Store: store, Clock: s.clock, Floor: schedule().Floor(s.clock.time)})
}

// The host takes a journal back, a start goes on with it for other keys, and then the
// operator vouches for the head that this start left: nothing was signed after it.
func TestVouchingDoesNotHideAnEarlierRollback(t *testing.T) {
	for name, other := range map[string]slashing.Duty{"a vote of another key": vote(6, 7, 9), "a block of another key": proposal(26, 9)} {
		t.Run(name, func(t *testing.T) {
			s := starts{t, new(clockAt)}
			s.clock.time = at(5, 0)
			first := newGuard(t, slashing.GuardOptions{Clock: s.clock})
			allowed(t, first, vote(3, 5, 1))

			rolledBack := slashingtest.NewMemory(chain)
			second := s.strict(rolledBack, 6)
			s.clock.time = at(7, 0)
			if d := second.Record(t.Context(), chain, slashing.PublicKey{2}, other); d.Answer != slashing.Allowed {
				t.Fatal(d.Err)
			}

			third := s.strict(rolledBack, 7)
			third.Lift()
			denied(t, third, vote(3, 5, 2), slashing.TargetAtFloor)
			denied(t, third, vote(2, 7, 2), slashing.SourceBelowFloor)
			allowed(t, third, vote(6, 7, 2))
		})
	}
}

func TestAStatementAboutTheSameStartTakesItsFloorBack(t *testing.T) {
	s := starts{t, new(clockAt)}
	store := slashingtest.NewMemory(chain)
	guard := s.strict(store, 6)
	s.clock.time = at(7, 0)
	allowed(t, guard, proposal(28, 1)) // imposes the floor
	denied(t, guard, vote(2, 7, 1), slashing.SourceBelowFloor)
	guard.Lift()
	allowed(t, guard, vote(2, 7, 1))

	next := s.strict(store, 7)
	next.Lift()
	s.clock.time = at(8, 0)
	allowed(t, next, vote(2, 8, 1)) // nothing stands
}

func TestAStatementBeforeTheFirstDutyLeavesNothing(t *testing.T) {
	s := starts{t, new(clockAt)}
	store := slashingtest.NewMemory(chain)
	guard := s.strict(store, 6)
	guard.Lift()
	allowed(t, guard, vote(2, 6, 1))
	next := s.strict(store, 6)
	next.Lift()
	s.clock.time = at(7, 0)
	allowed(t, next, vote(2, 7, 1))
}

func TestWhatStoodBeforeALiftStandsAfterIt(t *testing.T) {
	s := starts{t, new(clockAt)}
	store := slashingtest.NewMemory(chain)
	first := s.strict(store, 6)
	s.clock.time = at(7, 0)
	allowed(t, first, proposal(28, 1)) // its floor, epoch 6, stays

	second := s.strict(store, 8)
	s.clock.time = at(9, 0)
	allowed(t, second, proposal(36, 1))
	second.Lift()
	allowed(t, second, proposal(37, 1)) // lifted, which the store now knows

	for range 2 { // the second start finds nothing new imposed
		guard := s.strict(store, 10)
		guard.Lift()
		denied(t, guard, vote(4, 10, 1), slashing.SourceBelowFloor)
		d := record(t, guard, vote(4, 10, 1))
		if !strings.Contains(d.Err.Error(), "complete") {
			t.Errorf("the refusal %q does not say what lifts it", d.Err)
		}
	}
	guard := s.strict(store, 10)
	guard.LiftAll()
	if guard.Floor() != nil {
		t.Error("a floor is left")
	}
	allowed(t, guard, vote(4, 10, 1))
}

func TestAFloorThatStandsOutlivesStrict(t *testing.T) {
	s := starts{t, new(clockAt)}
	store := slashingtest.NewMemory(chain)
	strict := s.strict(store, 6)
	s.clock.time = at(7, 0)
	allowed(t, strict, proposal(28, 1))
	relaxed := newGuard(t, slashing.GuardOptions{Store: store, Clock: s.clock})
	denied(t, relaxed, vote(3, 6, 1), slashing.TargetAtFloor)
}

// sick is a store whose imports and exports fail while told to; the import that fails
// is recorded or not.
type sick struct {
	*slashingtest.Memory
	exports, imports, recorded bool
}

var errSick = errors.New("disk is full")

func (s *sick) Export(ctx context.Context, keys []slashing.PublicKey) (slashing.Interchange, error) {
	if s.exports {
		return slashing.Interchange{}, errSick
	}
	return s.Memory.Export(ctx, keys)
}

func (s *sick) Import(ctx context.Context, history slashing.Interchange) error {
	if !s.imports {
		return s.Memory.Import(ctx, history)
	}
	if s.recorded {
		if err := s.Memory.Import(ctx, history); err != nil {
			return err
		}
	}
	return errSick
}

func TestNothingIsRecordedUnderAFloorThatIsNotDurable(t *testing.T) {
	for _, recorded := range []bool{false, true} {
		s := starts{t, new(clockAt)}
		store := &sick{Memory: slashingtest.NewMemory(chain), exports: true, recorded: recorded}
		guard := s.strict(store, 6)
		s.clock.time = at(7, 0)
		failed := func() {
			t.Helper()
			if d := record(t, guard, vote(6, 7, 1)); d.Answer != slashing.Failed || !errors.Is(d.Err, errSick) {
				t.Errorf("got answer %d, %v; want a failure", d.Answer, d.Err)
			}
		}
		failed()
		store.exports, store.imports = false, true
		failed()
		failed()
		if state := exportOf(t, store, slashing.PublicKey{1}); state.Attestation.Signed {
			t.Error("the vote was recorded")
		}
		store.imports = false
		allowed(t, guard, vote(6, 7, 1))
		guard.Lift()
		store.imports = true
		if d := record(t, guard, proposal(28, 1)); d.Answer != slashing.Failed {
			t.Errorf("got answer %d after a lift that is not durable", d.Answer)
		}
		store.imports = false
		allowed(t, guard, proposal(28, 1))
	}
}

func exportOf(t *testing.T, store slashing.Archive, key slashing.PublicKey) slashing.State {
	t.Helper()
	return export(t, store, key).States[key]
}

func TestFloorsDoNotShowAsValidators(t *testing.T) {
	s := starts{t, new(clockAt)}
	store := slashingtest.NewMemory(chain)
	guard := s.strict(store, 6)
	s.clock.time = at(7, 0)
	allowed(t, guard, vote(6, 7, 1))
	guard.Lift()
	allowed(t, guard, vote(6, 7, 1))
	if all := export(t, store); len(all.States) != 3 {
		t.Fatalf("the store has %d keys, want one validator and two of floors", len(all.States))
	}
	if all := export(t, guard); len(all.States) != 1 {
		t.Errorf("the guard exports %d keys, want 1", len(all.States))
	}
	for key := range export(t, store).States {
		if key == (slashing.PublicKey{1}) {
			continue
		}
		if d := guard.Record(t.Context(), chain, key, vote(7, 8, 1)); d.Answer != slashing.Failed {
			t.Errorf("a vote of %x: got answer %d", key, d.Answer)
		}
		history := slashing.Interchange{GenesisValidatorsRoot: chain, States: map[slashing.PublicKey]slashing.State{key: {}}}
		if guard.Import(t.Context(), history) == nil {
			t.Errorf("history of %x was imported", key)
		}
		if len(export(t, guard, key).States) != 0 {
			t.Errorf("%x is exported when asked for", key)
		}
	}
}

func TestAnotherNetworkIsDeniedUnderAFloor(t *testing.T) {
	s := starts{t, new(clockAt)}
	guard := s.strict(slashingtest.NewMemory(chain), 6)
	s.clock.time = at(7, 0)
	d := guard.Record(t.Context(), slashing.Root{9}, slashing.PublicKey{1}, vote(6, 7, 1))
	if d.Reason != slashing.WrongNetwork {
		t.Errorf("got answer %d, %q, %v", d.Answer, d.Reason, d.Err)
	}
}

// slowImport is a store whose imports wait.
type slowImport struct {
	*slashingtest.Memory
	imports chan struct{} // one token lets one import through
	count   chan struct{}
}

func (s slowImport) Import(ctx context.Context, history slashing.Interchange) error {
	s.count <- struct{}{}
	select {
	case <-s.imports:
		return s.Memory.Import(ctx, history)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestDutiesShareOneRecordOfTheFloorAndWaitNoLongerThanTheyMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &clockAt{at(6, 0)}
		store := slowImport{slashingtest.NewMemory(chain), make(chan struct{}), make(chan struct{}, 100)}
		guard := newGuard(t, slashing.GuardOptions{Store: store, Clock: clock, Floor: schedule().Floor(clock.time)})
		clock.time = at(7, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var group sync.WaitGroup
		answers := make([]slashing.Decision, 20)
		for i := range answers {
			group.Go(func() {
				waits := ctx
				if i == 0 {
					waits = t.Context() // has the time
				}
				answers[i] = guard.Record(waits, chain, slashing.PublicKey{byte(i + 1)}, vote(6, 7, 1))
			})
			synctest.Wait() // the first has the turn
		}
		denied(t, guard, vote(5, 6, 1), slashing.TargetAtFloor) // waits for nobody
		guard.Lift()                                            // nor does this
		time.Sleep(2 * time.Second)
		store.imports <- struct{}{}
		group.Wait()
		for i, d := range answers {
			if want := map[bool]slashing.Answer{true: slashing.Allowed, false: slashing.Failed}[i == 0]; d.Answer != want {
				t.Errorf("duty %d: got answer %d, %v; want %d", i, d.Answer, d.Err, want)
			}
		}
		if len(store.count) != 1 {
			t.Errorf("%d imports, want 1", len(store.count))
		}
		close(store.imports)
		for range 3 { // the lift, which came during the first import, is recorded once
			allowed(t, guard, vote(6, 7, 1))
		}
		if len(store.count) != 2 {
			t.Errorf("%d imports, want 2", len(store.count))
		}
	})
}
