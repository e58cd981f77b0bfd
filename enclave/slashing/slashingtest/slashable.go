package slashingtest

import "holdfast/enclave/slashing"

// Slashable tells whether the chain slashes a key that signed both duties: two blocks
// of one slot, or attestations as in is_slashable_attestation_data, in either order
// (phase0 beacon-chain.md). It is written from the chain's rules, not from the
// signer's.
func Slashable(a, b slashing.Duty) bool {
	if a == b {
		return false
	}
	switch a := a.(type) {
	case slashing.Block:
		b, ok := b.(slashing.Block)
		return ok && a.Slot == b.Slot
	case slashing.Attestation:
		b, ok := b.(slashing.Attestation)
		return ok && (a.Target == b.Target || surrounds(a, b) || surrounds(b, a))
	}
	return false
}

func surrounds(outer, inner slashing.Attestation) bool {
	return outer.Source < inner.Source && inner.Target < outer.Target
}
