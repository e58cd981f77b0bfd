package slashingtest

import (
	"testing"

	"holdfast/enclave/slashing"
)

// RunReopen holds a store to what it says is durable. Create makes new, empty
// storage for a network's genesis validators root and returns a function that opens
// a store on it, after it has ended the store opened before without a farewell.
func RunReopen(t *testing.T, create func(t *testing.T, genesisValidatorsRoot slashing.Root) (open func(t *testing.T) slashing.Archive)) {
	for name, test := range map[string]func(*testing.T, func() Store){
		"duties are remembered":   dutiesAreRemembered,
		"imports are remembered":  importsAreRemembered,
		"versions are remembered": versionsAreRemembered,
		"every start adds":        everyStartAdds,
	} {
		t.Run(name, func(t *testing.T) {
			open := create(t, network)
			test(t, func() Store { return opened(t, open(t)) })
		})
	}
}

func dutiesAreRemembered(t *testing.T, open func() Store) {
	store := open()
	for n := range 50 {
		expect(t, store, key(n), Vote(3, 4, 1), slashing.Allowed)
		expect(t, store, key(n), Proposal(9, 1), slashing.Allowed)
	}
	store = open()
	for n := range 50 {
		expect(t, store, key(n), Vote(3, 4, 2), slashing.Denied)
		expect(t, store, key(n), Proposal(9, 2), slashing.Denied)
		expect(t, store, key(n), Vote(3, 4, 1), slashing.Allowed)
		expect(t, store, key(n), Proposal(9, 1), slashing.Allowed)
		expect(t, store, key(n), Vote(4, 5, 1), slashing.Allowed)
	}
}

func importsAreRemembered(t *testing.T, open func() Store) {
	want := history(manyKeys)
	if err := open().Import(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got := export(t, open(), nil)
	if len(got.States) != len(want.States) {
		t.Fatalf("got %d keys, want %d", len(got.States), len(want.States))
	}
	for key, state := range want.States {
		if got.States[key] != state {
			t.Errorf("got %+v, want %+v", got.States[key], state)
		}
	}
}

func versionsAreRemembered(t *testing.T, open func() Store) {
	if err := open().Advance(t.Context(), "bundle", 5); err != nil {
		t.Fatal(err)
	}
	store := open()
	if store.Advance(t.Context(), "bundle", 4) == nil {
		t.Error("an older bundle was taken")
	}
	if err := store.Advance(t.Context(), "bundle", 5); err != nil {
		t.Error(err)
	}
}

func everyStartAdds(t *testing.T, open func() Store) {
	for start := range uint64(5) {
		store := open()
		if start > 0 {
			expect(t, store, key(0), Proposal(start-1, 9), slashing.Denied)
		}
		expect(t, store, key(0), Proposal(start, 1), slashing.Allowed)
	}
	if got := export(t, open(), nil).States[key(0)].Block.Slot; got != 4 {
		t.Errorf("got slot %d, want 4", got)
	}
}
