package slashingtest_test

import (
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

func TestAStoreThatKeepsItsMemoryPassesAsReopened(t *testing.T) {
	slashingtest.RunReopen(t, func(_ *testing.T, network slashing.Root) func(*testing.T) slashing.Archive {
		store := slashingtest.NewMemory(network)
		return func(*testing.T) slashing.Archive { return store }
	})
}

func TestKeysAreDistinct(t *testing.T) {
	seen := make(map[[48]byte]bool)
	for _, key := range slashingtest.Keys() {
		if seen[key] {
			t.Errorf("key %x comes twice", key)
		}
		seen[key] = true
	}
}
