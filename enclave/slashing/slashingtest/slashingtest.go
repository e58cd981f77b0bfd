// Package slashingtest holds what every slashing store must do, as a suite that a
// store's own tests run: the interchange tests of EIP-3076, conflicting duties side
// by side, imports that are all or nothing, and bundle versions that only rise.
//
// Only tests link this package.
package slashingtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"holdfast/enclave/slashing"
)

// A Store is all that a store is asked to be.
type Store interface {
	slashing.Archive
	slashing.Prober
	slashing.Versioner
}

// network is that of every test but the interchange tests, which bring their own.
var network = slashing.Root{31: 1}

// RunStore holds a store to its contract. Open returns a new, empty store for a
// network's genesis validators root, and has it closed when the test ends. A store
// that must know its keys beforehand finds them in Keys.
func RunStore(t *testing.T, open func(t *testing.T, genesisValidatorsRoot slashing.Root) slashing.Archive) {
	opened := func(t *testing.T) Store { return opened(t, open(t, network)) }
	for name, test := range map[string]func(*testing.T, Store){
		"of conflicting votes one is allowed":                 ofConflictingVotesOneIsAllowed,
		"of conflicting blocks one is allowed":                ofConflictingBlocksOneIsAllowed,
		"of votes that surround each other one is allowed":    ofSurroundingVotesOneIsAllowed,
		"the same duty may be signed again":                   theSameDutyMayBeSignedAgain,
		"a denied duty leaves no mark":                        aDeniedDutyLeavesNoMark,
		"keys do not share marks":                             keysDoNotShareMarks,
		"another network is denied":                           anotherNetworkIsDenied,
		"no duty fails":                                       noDutyFails,
		"an ended context is never allowed":                   anEndedContextIsNeverAllowed,
		"another network's history is refused whole":          anotherNetworksHistoryIsRefusedWhole,
		"an interrupted import is all or nothing":             anInterruptedImportIsAllOrNothing,
		"an import only ever forbids":                         anImportOnlyEverForbids,
		"an import among duties loses neither":                anImportAmongDutiesLosesNeither,
		"an export has the keys asked for":                    anExportHasTheKeysAskedFor,
		"bundle versions only rise":                           bundleVersionsOnlyRise,
		"of versions side by side the highest stays":          ofVersionsSideBySideTheHighestStays,
		"an opened store probes well":                         anOpenedStoreProbesWell,
		"the highest numbers are recorded as they are":        theHighestNumbersAreRecorded,
		"histories of many keys are imported and exported":    manyKeysAreImportedAndExported,
		"versions and duties of the same name do not collide": versionsAndDutiesDoNotCollide,
	} {
		t.Run(name, func(t *testing.T) { test(t, opened(t)) })
	}
	t.Run("an export forbids elsewhere what was signed", func(t *testing.T) {
		anExportForbidsElsewhere(t, opened(t), opened(t))
	})
	t.Run("interchange", func(t *testing.T) { runVectors(t, open) })
}

// opened demands all of Store.
func opened(t *testing.T, store slashing.Archive) Store {
	t.Helper()
	whole, ok := store.(Store)
	if !ok {
		t.Fatalf("%T lacks Probe or Advance", store)
	}
	return whole
}

// Keys returns every key that RunStore and RunReopen use.
func Keys() [][48]byte {
	keys := make([][48]byte, 0, manyKeys)
	for n := range manyKeys {
		keys = append(keys, key(n))
	}
	return append(keys, vectorKeys()...)
}

// manyKeys is more than any batch of a store is likely to hold.
const manyKeys = 300

// key returns one of manyKeys keys.
func key(n int) slashing.PublicKey {
	return slashing.PublicKey{0: 0xa0, 46: byte(n >> 8), 47: byte(n)}
}

// Vote makes an attestation whose signing root ends in root.
func Vote(source, target uint64, root byte) slashing.Attestation {
	return slashing.Attestation{Source: source, Target: target, SigningRoot: slashing.Root{31: root}}
}

// Proposal makes a block whose signing root ends in root.
func Proposal(slot uint64, root byte) slashing.Block {
	return slashing.Block{Slot: slot, SigningRoot: slashing.Root{31: root}}
}

// expect records a duty and compares the answer.
func expect(t *testing.T, store slashing.Store, key slashing.PublicKey, duty slashing.Duty, want slashing.Answer) {
	t.Helper()
	d := store.Record(t.Context(), network, key, duty)
	if d.Answer != want {
		t.Errorf("%v: got answer %d, %q, %v; want answer %d", duty, d.Answer, d.Reason, d.Err, want)
	}
	if (d.Err == nil) != (d.Answer == slashing.Allowed) || (d.Reason != "") != (d.Answer == slashing.Denied) {
		t.Errorf("%v: answer %d with reason %q and error %v", duty, d.Answer, d.Reason, d.Err)
	}
}

// oneOf asks for duties of several keys at once, all of a key in conflict, and
// demands that of each key exactly one is allowed and the rest denied.
func oneOf(t *testing.T, store Store, duties func(n int) slashing.Duty) {
	const keys, twins = 8, 12
	var mu sync.Mutex
	var allowed [keys]int
	var group sync.WaitGroup
	for i := range keys * twins {
		group.Go(func() {
			d := store.Record(t.Context(), network, key(i%keys), duties(i/keys))
			mu.Lock()
			defer mu.Unlock()
			switch d.Answer {
			case slashing.Allowed:
				allowed[i%keys]++
			case slashing.Failed:
				t.Errorf("%v failed: %v", duties(i/keys), d.Err)
			}
		})
	}
	group.Wait()
	for k, n := range allowed {
		if n != 1 {
			t.Errorf("key %d: %d of %d conflicting duties allowed, want 1", k, n, twins)
		}
	}
}

func ofConflictingVotesOneIsAllowed(t *testing.T, store Store) {
	oneOf(t, store, func(n int) slashing.Duty { return Vote(1, 2, byte(n)) })
}

func ofConflictingBlocksOneIsAllowed(t *testing.T, store Store) {
	oneOf(t, store, func(n int) slashing.Duty { return Proposal(7, byte(n)) })
}

func ofSurroundingVotesOneIsAllowed(t *testing.T, store Store) {
	oneOf(t, store, func(n int) slashing.Duty { return Vote(uint64(n), 100-uint64(n), byte(n)) })
}

func theSameDutyMayBeSignedAgain(t *testing.T, store Store) {
	for range 2 {
		expect(t, store, key(0), Vote(1, 2, 3), slashing.Allowed)
		expect(t, store, key(0), Proposal(9, 4), slashing.Allowed)
	}
	expect(t, store, key(0), Vote(1, 2, 4), slashing.Denied)
	expect(t, store, key(0), Proposal(9, 5), slashing.Denied)
}

func aDeniedDutyLeavesNoMark(t *testing.T, store Store) {
	expect(t, store, key(0), Vote(5, 6, 1), slashing.Allowed)
	expect(t, store, key(0), Vote(4, 90, 1), slashing.Denied)
	expect(t, store, key(0), Vote(90, 90, 1), slashing.Denied)
	expect(t, store, key(0), Vote(6, 7, 1), slashing.Allowed)
}

func keysDoNotShareMarks(t *testing.T, store Store) {
	for n := range 3 {
		expect(t, store, key(n), Vote(1, 2, byte(n)), slashing.Allowed)
		expect(t, store, key(n), Proposal(1, byte(n)), slashing.Allowed)
	}
}

func anotherNetworkIsDenied(t *testing.T, store Store) {
	d := store.Record(t.Context(), slashing.Root{31: 2}, key(0), Proposal(1, 1))
	if d.Answer != slashing.Denied || d.Reason != slashing.WrongNetwork {
		t.Errorf("got answer %d, %q, %v; want a denial for the network", d.Answer, d.Reason, d.Err)
	}
}

func noDutyFails(t *testing.T, store Store) { expect(t, store, key(0), nil, slashing.Failed) }

func anEndedContextIsNeverAllowed(t *testing.T, store Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d := store.Record(ctx, network, key(0), Proposal(1, 1)); d.Answer != slashing.Failed || d.Err == nil {
		t.Errorf("got answer %d, %v; want a failure", d.Answer, d.Err)
	}
	if store.Advance(ctx, "bundle", 1) == nil {
		t.Error("a version was taken")
	}
	expect(t, store, key(0), Proposal(2, 2), slashing.Allowed)
}

// history returns that of the first keys, each with its own marks.
func history(keys int) slashing.Interchange {
	states := make(map[slashing.PublicKey]slashing.State, keys)
	for n := range keys {
		at := uint64(n) + 10
		states[key(n)] = slashing.State{
			Block:       slashing.BlockMark{Signed: true, Slot: at, Root: slashing.SignedRoot{Root: slashing.Root{31: 1}, Known: true}},
			Attestation: slashing.AttestationMark{Signed: true, Source: at, Target: at + 1},
		}
	}
	return slashing.Interchange{GenesisValidatorsRoot: network, States: states}
}

// export returns what a store remembers of keys, or of all.
func export(t *testing.T, store Store, keys []slashing.PublicKey) slashing.Interchange {
	t.Helper()
	all, err := store.Export(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if all.GenesisValidatorsRoot != network {
		t.Errorf("export is of network %x", all.GenesisValidatorsRoot)
	}
	return all
}

func anotherNetworksHistoryIsRefusedWhole(t *testing.T, store Store) {
	foreign := history(3)
	foreign.GenesisValidatorsRoot = slashing.Root{31: 2}
	if store.Import(t.Context(), foreign) == nil {
		t.Error("it was taken")
	}
	if all := export(t, store, nil); len(all.States) != 0 {
		t.Errorf("the store remembers %d of its keys", len(all.States))
	}
	expect(t, store, key(0), Proposal(1, 1), slashing.Allowed)
}

func anInterruptedImportIsAllOrNothing(t *testing.T, store Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if store.Import(ctx, history(20)) == nil {
		t.Error("an import whose context ended succeeded")
	}
	if all := export(t, store, nil); len(all.States) != 0 && len(all.States) != 20 {
		t.Errorf("the store remembers %d of 20 keys", len(all.States))
	}
}

func anImportOnlyEverForbids(t *testing.T, store Store) {
	expect(t, store, key(0), Vote(20, 30, 1), slashing.Allowed)
	expect(t, store, key(0), Proposal(5, 1), slashing.Allowed)
	if err := store.Import(t.Context(), history(2)); err != nil { // key 0: slot 10, source 10, target 11
		t.Fatal(err)
	}
	expect(t, store, key(0), Vote(20, 30, 1), slashing.Allowed) // the import says nothing of it
	expect(t, store, key(0), Vote(15, 31, 1), slashing.Denied)
	expect(t, store, key(0), Proposal(9, 1), slashing.Denied)
	expect(t, store, key(0), Proposal(11, 1), slashing.Allowed)
	expect(t, store, key(1), Vote(11, 12, 1), slashing.Denied)
}

func anImportAmongDutiesLosesNeither(t *testing.T, store Store) {
	const keys, last = 4, 40
	imported := slashing.Interchange{GenesisValidatorsRoot: network, States: make(map[slashing.PublicKey]slashing.State)}
	for n := range keys {
		imported.States[key(n)] = slashing.State{Block: slashing.BlockMark{Signed: true, Slot: 20}}
	}
	var group sync.WaitGroup
	for n := range keys {
		group.Go(func() {
			for slot := uint64(1); slot <= last; slot++ {
				if d := store.Record(t.Context(), network, key(n), Vote(slot, slot+1, 1)); d.Answer != slashing.Allowed {
					t.Errorf("vote %d of key %d: %v", slot, n, d.Err)
				}
			}
		})
	}
	group.Go(func() {
		if err := store.Import(t.Context(), imported); err != nil {
			t.Error(err)
		}
	})
	group.Wait()
	for n := range keys {
		expect(t, store, key(n), Vote(last, last+1, 2), slashing.Denied)
		expect(t, store, key(n), Proposal(20, 1), slashing.Denied)
		expect(t, store, key(n), Proposal(21, 1), slashing.Allowed)
	}
}

func anExportHasTheKeysAskedFor(t *testing.T, store Store) {
	for n := range 3 {
		expect(t, store, key(n), Proposal(uint64(n)+1, 1), slashing.Allowed)
	}
	if all := export(t, store, nil); len(all.States) != 3 {
		t.Errorf("got %d keys, want all 3", len(all.States))
	}
	some := export(t, store, []slashing.PublicKey{key(1), key(9)})
	if len(some.States) != 1 || some.States[key(1)].Block.Slot != 2 {
		t.Errorf("got %+v, want key 1 alone", some.States)
	}
	if none := export(t, store, []slashing.PublicKey{}); len(none.States) != 0 {
		t.Errorf("got %+v, want no key", none.States)
	}
}

func anExportForbidsElsewhere(t *testing.T, first, second Store) {
	for n := range 5 {
		expect(t, first, key(n), Proposal(10+uint64(n), byte(n)), slashing.Allowed)
		expect(t, first, key(n), Vote(3, 4+uint64(n), byte(n)), slashing.Allowed)
	}
	document, err := export(t, first, nil).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	read, err := slashing.ReadInterchange(bytes.NewReader(document))
	if err != nil {
		t.Fatalf("own export: %v\n%s", err, document)
	}
	if err := second.Import(t.Context(), read); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		at := uint64(n)
		expect(t, second, key(n), Proposal(10+at, 99), slashing.Denied)
		expect(t, second, key(n), Vote(3, 4+at, 99), slashing.Denied)
		expect(t, second, key(n), Vote(2, 5+at, 1), slashing.Denied)
		expect(t, second, key(n), Proposal(11+at, 1), slashing.Allowed)
		expect(t, second, key(n), Vote(4, 5+at, 1), slashing.Allowed)
	}
}

func bundleVersionsOnlyRise(t *testing.T, store Store) {
	for _, step := range []struct {
		name    string
		version uint64
		seen    uint64 // that refuses it, 0 if none
	}{
		{"one", 3, 0}, {"one", 3, 0}, {"one", 2, 3}, {"one", 4, 0}, {"one", 3, 4}, {"one", 1, 4},
		{"two", 1, 0}, {"two", 1<<64 - 1, 0}, {"two", 1<<64 - 2, 1<<64 - 1}, {"one", 4, 0},
	} {
		err := store.Advance(t.Context(), step.name, step.version)
		if step.seen == 0 {
			if err != nil {
				t.Errorf("%s %d: %v", step.name, step.version, err)
			}
			continue
		}
		older, ok := errors.AsType[*slashing.OlderError](err)
		if !ok || *older != (slashing.OlderError{Name: step.name, Seen: step.seen, Got: step.version}) {
			t.Errorf("%s %d: got error %v, want it older than %d", step.name, step.version, err, step.seen)
		}
	}
}

func ofVersionsSideBySideTheHighestStays(t *testing.T, store Store) {
	var group sync.WaitGroup
	for version := uint64(1); version <= 16; version++ {
		group.Go(func() {
			err := store.Advance(t.Context(), "bundle", version)
			if _, older := errors.AsType[*slashing.OlderError](err); err != nil && !older {
				t.Errorf("version %d: %v", version, err)
			}
		})
	}
	group.Wait()
	if err := store.Advance(t.Context(), "bundle", 15); err == nil {
		t.Error("version 15 was taken after 16")
	}
	if err := store.Advance(t.Context(), "bundle", 16); err != nil {
		t.Error(err)
	}
}

func anOpenedStoreProbesWell(t *testing.T, store Store) {
	if err := store.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

func theHighestNumbersAreRecorded(t *testing.T, store Store) {
	const highest = 1<<64 - 1
	expect(t, store, key(0), Proposal(highest, 1), slashing.Allowed)
	expect(t, store, key(0), Vote(highest-1, highest, 1), slashing.Allowed)
	expect(t, store, key(0), Proposal(highest-1, 1), slashing.Denied)
	expect(t, store, key(0), Vote(highest-1, highest, 2), slashing.Denied)
	state := export(t, store, nil).States[key(0)]
	if state.Block.Slot != highest || state.Attestation.Source != highest-1 || state.Attestation.Target != highest {
		t.Errorf("got %+v", state)
	}
}

func manyKeysAreImportedAndExported(t *testing.T, store Store) {
	want := history(manyKeys)
	if err := store.Import(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got := export(t, store, nil)
	if len(got.States) != manyKeys {
		t.Fatalf("got %d keys, want %d", len(got.States), manyKeys)
	}
	for key, state := range want.States {
		if got.States[key] != state {
			t.Errorf("got %+v, want %+v", got.States[key], state)
		}
	}
}

func versionsAndDutiesDoNotCollide(t *testing.T, store Store) {
	if err := store.Advance(t.Context(), "bundle", 7); err != nil {
		t.Fatal(err)
	}
	if all := export(t, store, nil); len(all.States) != 0 {
		t.Errorf("a version is exported as a key: %+v", all.States)
	}
	expect(t, store, key(0), Proposal(1, 1), slashing.Allowed)
	if all := export(t, store, nil); len(all.States) != 1 {
		t.Errorf("got %d keys, want 1", len(all.States))
	}
}
