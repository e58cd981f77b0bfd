package slashing_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

var chain = slashing.Root{1}

func TestMemoryIsAStore(t *testing.T) {
	slashingtest.RunStore(t, func(_ *testing.T, network slashing.Root) slashing.Archive { return slashingtest.NewMemory(network) })
}

func TestAnUnopenedStoreFails(t *testing.T) {
	var store slashingtest.Memory
	if d := store.Record(t.Context(), slashing.Root{}, slashing.PublicKey{}, proposal(1, 1)); d.Answer != slashing.Failed || d.Err == nil {
		t.Errorf("got %v, %v; want a failure", d.Answer, d.Err)
	}
	if err := store.Import(t.Context(), slashing.Interchange{}); err == nil {
		t.Error("an unopened store imported")
	}
}

func TestAnEndedContextFails(t *testing.T) {
	store := slashingtest.NewMemory(chain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d := store.Record(ctx, chain, slashing.PublicKey{1}, proposal(1, 1)); d.Answer != slashing.Failed {
		t.Errorf("got %v, want a failure", d.Answer)
	}
	if d := store.Record(t.Context(), chain, slashing.PublicKey{1}, proposal(1, 2)); d.Answer != slashing.Allowed {
		t.Errorf("the failed duty was recorded: %v", d.Err)
	}
}

func TestExportsAreOrderedByKey(t *testing.T) {
	store := slashingtest.NewMemory(chain)
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
	store := slashingtest.NewMemory(chain)
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

func TestAStoreThatWasNotOpenedSaysSo(t *testing.T) {
	store := new(slashingtest.Memory)
	if store.Probe(t.Context()) == nil {
		t.Error("it probes well")
	}
	if _, err := store.Export(t.Context(), nil); err == nil {
		t.Error("it exports")
	}
	if err := slashingtest.NewMemory(slashing.Root{1}).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}
