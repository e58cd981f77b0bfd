package slashing_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"

	"holdfast/enclave/slashing"
)

var chain = slashing.Root{1}

func TestAnUnopenedStoreFails(t *testing.T) {
	var store slashing.Memory
	if d := store.Record(t.Context(), slashing.Root{}, slashing.PublicKey{}, proposal(1, 1)); d.Answer != slashing.Failed || d.Err == nil {
		t.Errorf("got %v, %v; want a failure", d.Answer, d.Err)
	}
	if err := store.Import(t.Context(), slashing.Interchange{}); err == nil {
		t.Error("an unopened store imported")
	}
}

func TestAnEndedContextFails(t *testing.T) {
	store := slashing.NewMemory(chain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d := store.Record(ctx, chain, slashing.PublicKey{1}, proposal(1, 1)); d.Answer != slashing.Failed {
		t.Errorf("got %v, want a failure", d.Answer)
	}
	if d := store.Record(t.Context(), chain, slashing.PublicKey{1}, proposal(1, 2)); d.Answer != slashing.Allowed {
		t.Errorf("the failed duty was recorded: %v", d.Err)
	}
}

func TestAnotherNetworkIsDenied(t *testing.T) {
	store := slashing.NewMemory(chain)
	if d := store.Record(t.Context(), slashing.Root{2}, slashing.PublicKey{1}, proposal(1, 1)); d.Answer != slashing.Denied || d.Reason != slashing.WrongNetwork {
		t.Errorf("got %v %q, want a denial for the network", d.Answer, d.Reason)
	}
}

func TestOfConflictingDutiesOneIsAllowed(t *testing.T) {
	store := slashing.NewMemory(chain)
	const keys, twins = 20, 20
	var allowed [keys]int
	var mu sync.Mutex
	var group sync.WaitGroup
	for i := range keys * twins {
		key, twin := i%keys, byte(i/keys)
		group.Go(func() {
			d := store.Record(t.Context(), chain, slashing.PublicKey{byte(key)}, vote(1, 2, twin))
			mu.Lock()
			defer mu.Unlock()
			if d.Answer == slashing.Allowed {
				allowed[key]++
			} else if d.Reason != slashing.DoubleVote {
				t.Errorf("got %v %q, want a double vote", d.Answer, d.Reason)
			}
		})
	}
	group.Wait()
	for key, n := range allowed {
		if n != 1 {
			t.Errorf("key %d: %d of %d conflicting votes allowed, want 1", key, n, twins)
		}
	}
}

func TestAnExportForbidsElsewhereWhatWasSigned(t *testing.T) {
	first, second := slashing.NewMemory(chain), slashing.NewMemory(chain)
	for key := range byte(5) {
		for _, duty := range []slashing.Duty{proposal(10+uint64(key), key), vote(3, 4+uint64(key), key)} {
			if d := first.Record(t.Context(), chain, slashing.PublicKey{key}, duty); d.Answer != slashing.Allowed {
				t.Fatal(d.Err)
			}
		}
	}
	document, err := export(t, first).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	history, err := slashing.ReadInterchange(bytes.NewReader(document))
	if err != nil {
		t.Fatalf("own export: %v\n%s", err, document)
	}
	if err := second.Import(t.Context(), history); err != nil {
		t.Fatal(err)
	}
	for key := range byte(5) {
		for duty, want := range map[slashing.Duty]slashing.Answer{
			proposal(10+uint64(key), key): slashing.Denied,
			vote(3, 4+uint64(key), 99):    slashing.Denied,
			vote(2, 5+uint64(key), key):   slashing.Denied,
			proposal(11+uint64(key), key): slashing.Allowed,
		} {
			if d := second.Record(t.Context(), chain, slashing.PublicKey{key}, duty); d.Answer != want {
				t.Errorf("key %d, %v: got %v, want %v", key, duty, d.Answer, want)
			}
		}
	}
}

func TestExportsAreOrderedByKey(t *testing.T) {
	store := slashing.NewMemory(chain)
	for _, key := range []byte{9, 3, 7} {
		store.Record(t.Context(), chain, slashing.PublicKey{key}, proposal(1, 1))
	}
	first, _ := export(t, store).MarshalJSON()
	second, _ := export(t, store).MarshalJSON()
	if !bytes.Equal(first, second) {
		t.Error("two exports differ")
	}
	positions := []int{}
	for _, key := range []byte{3, 7, 9} {
		positions = append(positions, bytes.Index(first, fmt.Appendf(nil, `"0x%02x`, key)))
	}
	if positions[0] < 0 || positions[0] > positions[1] || positions[1] > positions[2] {
		t.Errorf("keys at %v in %s", positions, first)
	}
}

func BenchmarkRecord(b *testing.B) {
	store := slashing.NewMemory(chain)
	target := uint64(0)
	for b.Loop() {
		target++
		if d := store.Record(b.Context(), chain, slashing.PublicKey{1}, vote(target-1, target, 1)); d.Answer != slashing.Allowed {
			b.Fatal(d.Err)
		}
	}
}

// export returns what a store remembers of some keys, or of all.
func export(t *testing.T, store slashing.Archive, keys ...slashing.PublicKey) slashing.Interchange {
	t.Helper()
	history, err := store.Export(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	return history
}

func TestAnExportHasTheKeysAskedFor(t *testing.T) {
	store := slashing.NewMemory(slashing.Root{1})
	for n := range byte(3) {
		if d := store.Record(t.Context(), slashing.Root{1}, slashing.PublicKey{n}, slashing.Block{Slot: uint64(n) + 1}); d.Answer != slashing.Allowed {
			t.Fatal(d.Err)
		}
	}
	if all := export(t, store); len(all.States) != 3 {
		t.Errorf("got %d keys, want all 3", len(all.States))
	}
	some := export(t, store, slashing.PublicKey{1}, slashing.PublicKey{9})
	if len(some.States) != 1 || some.States[slashing.PublicKey{1}].Block.Slot != 2 || some.GenesisValidatorsRoot != (slashing.Root{1}) {
		t.Errorf("got %+v, want key 1 alone", some)
	}
	none, err := store.Export(t.Context(), []slashing.PublicKey{})
	if err != nil || len(none.States) != 0 {
		t.Errorf("got %+v, %v, want an empty history", none, err)
	}
}

func TestAStoreThatWasNotOpenedSaysSo(t *testing.T) {
	store := new(slashing.Memory)
	if store.Probe(t.Context()) == nil {
		t.Error("it probes well")
	}
	if _, err := store.Export(t.Context(), nil); err == nil {
		t.Error("it exports")
	}
	if err := slashing.NewMemory(slashing.Root{1}).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}
