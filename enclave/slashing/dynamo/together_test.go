package dynamo_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/dynamo"
	"holdfast/internal/dynamodblocal"
)

// A ledger holds what stores allowed, which is what could have been signed.
type ledger struct {
	mu      sync.Mutex
	allowed map[slashing.PublicKey][]slashing.Duty
	failed  int
	denied  int
}

func (l *ledger) note(k slashing.PublicKey, duty slashing.Duty, d slashing.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch d.Answer {
	case slashing.Allowed:
		if l.allowed == nil {
			l.allowed = make(map[slashing.PublicKey][]slashing.Duty)
		}
		l.allowed[k] = append(l.allowed[k], duty)
	case slashing.Denied:
		l.denied++
	default:
		l.failed++
	}
}

func (l *ledger) count() (allowed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, duties := range l.allowed {
		allowed += len(duties)
	}
	return allowed
}

// slashable is the chain's rule for two signed messages of one key, stated apart from the rules that are tested
// (consensus specification, is_slashable_attestation_data and process_proposer_slashing).
func slashable(a, b slashing.Duty) bool {
	switch a := a.(type) {
	case slashing.Block:
		b, ok := b.(slashing.Block)
		return ok && a.Slot == b.Slot && a.SigningRoot != b.SigningRoot
	case slashing.Attestation:
		b, ok := b.(slashing.Attestation)
		if !ok || a == b {
			return false
		}
		return a.Target == b.Target || a.Source < b.Source && b.Target < a.Target || b.Source < a.Source && a.Target < b.Target
	}
	return true
}

func (l *ledger) check(t *testing.T) {
	t.Helper()
	for k, duties := range l.allowed {
		for i, a := range duties {
			for _, b := range duties[:i] {
				if slashable(a, b) {
					t.Errorf("key %x: both %#v and %#v were allowed", k[46:], b, a)
				}
			}
		}
	}
}

// durable demands that a store opened afresh forbids everything that conflicts with what was allowed.
func (l *ledger) durable(t *testing.T, s *dynamo.Store) {
	t.Helper()
	all, err := s.Export(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, duties := range l.allowed {
		state := all.States[k]
		for _, duty := range duties {
			switch d := duty.(type) {
			case slashing.Block:
				if !state.Block.Signed || state.Block.Slot < d.Slot {
					t.Errorf("key %x: %v was allowed, and the table has %+v", k[46:], d, state.Block)
				}
			case slashing.Attestation:
				if m := state.Attestation; !m.Signed || m.Source < d.Source || m.Target < d.Target {
					t.Errorf("key %x: %v was allowed, and the table has %+v", k[46:], d, m)
				}
			}
		}
	}
}

// randomDuty asks for something near the number at, often in conflict with what others ask for.
func randomDuty(r *rand.Rand, at uint64) slashing.Duty {
	n := at + r.Uint64N(4)
	if r.IntN(4) == 0 {
		return proposal(n, byte(r.IntN(3)))
	}
	return vote(n-min(n, r.Uint64N(4)), n+r.Uint64N(3), byte(r.IntN(3)))
}

func TestStoresOnOneTableNeverAllowASlashablePairBetweenThem(t *testing.T) {
	const stores, workers, keys, duties = 4, 6, 3, 60
	tab := newTable(t, local.Server(t).Endpoint())
	var l ledger
	var group sync.WaitGroup
	for range stores {
		s := open(t, tab.config(key(0), key(1), key(2)))
		for range workers {
			r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			group.Go(func() {
				for n := range uint64(duties) {
					k, duty := key(r.IntN(keys)), randomDuty(r, n/2)
					l.note(k, duty, record(t.Context(), s, k, duty))
				}
			})
		}
	}
	group.Wait()
	l.check(t)
	l.durable(t, open(t, tab.config()))
	t.Logf("%d allowed, %d denied, %d failed", l.count(), l.denied, l.failed)
	if l.count() < 20*keys {
		t.Errorf("only %d duties were allowed", l.count())
	}
}

// With a network that loses requests and answers at random as well.
func TestStoresOnALossyNetworkNeverAllowASlashablePairBetweenThem(t *testing.T) {
	const stores, workers, keys, duties = 3, 4, 2, 40
	tab := newTable(t, local.Server(t).Endpoint())
	var l ledger
	var group sync.WaitGroup
	for range stores {
		s, w := openOn(t, tab.config(key(0), key(1)))
		w.set(lossy)
		for range workers {
			r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			group.Go(func() {
				for n := range uint64(duties) {
					k, duty := key(r.IntN(keys)), randomDuty(r, n/2)
					l.note(k, duty, record(t.Context(), s, k, duty))
				}
			})
		}
	}
	group.Wait()
	l.check(t)
	l.durable(t, open(t, tab.config()))
	t.Logf("%d allowed, %d denied, %d failed", l.count(), l.denied, l.failed)
	if l.count() < 10*keys {
		t.Errorf("only %d duties were allowed", l.count())
	}
}

func TestAfterAKillOfTheTableNothingAllowedIsLostAndServiceReturns(t *testing.T) {
	config := dynamodblocal.Prepared(t)
	config.Data = t.TempDir()
	server, err := dynamodblocal.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	tab := newTable(t, server.Endpoint())
	ctx, stop := context.WithCancel(t.Context())
	var l ledger
	var group sync.WaitGroup
	for range 2 {
		s := open(t, tab.config(key(0), key(1), key(2), key(3)))
		for worker := range 4 {
			group.Go(func() {
				r := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
				for n := uint64(0); ctx.Err() == nil; n++ {
					k, duty := key(worker), randomDuty(r, n/4)
					duty1, cancel := context.WithTimeout(ctx, 2*time.Second)
					l.note(k, duty, record(duty1, s, k, duty))
					cancel()
				}
			})
		}
	}
	for kill := range 3 {
		before := l.count()
		await(t, "duties are allowed", func() bool { return l.count() > before+20 })
		server.Kill()
		if kill == 1 {
			time.Sleep(500 * time.Millisecond) // down for a while
		}
		if err := server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := l.count()
	await(t, "service returned by itself", func() bool { return l.count() > before+20 })
	stop()
	group.Wait()
	l.check(t)
	l.durable(t, open(t, tab.config()))
	t.Logf("%d allowed, %d denied, %d failed", l.count(), l.denied, l.failed)
	if l.failed == 0 {
		t.Error("no duty failed: was the server ever away?")
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 60 s in vain until %s", what)
		}
	}
}
