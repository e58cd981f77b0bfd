package slashing_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

func mark(b byte) slashing.Root { return slashing.Root{31: b} }

func vote(source, target uint64, root byte) slashing.Attestation {
	return slashing.Attestation{Source: source, Target: target, SigningRoot: mark(root)}
}

func proposal(slot uint64, root byte) slashing.Block {
	return slashing.Block{Slot: slot, SigningRoot: mark(root)}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name   string
		signed []slashing.Duty
		duty   slashing.Duty
		answer slashing.Answer
		reason slashing.Reason
	}{
		{"first block", nil, proposal(0, 1), slashing.Allowed, ""},
		{"next block", []slashing.Duty{proposal(5, 1)}, proposal(6, 1), slashing.Allowed, ""},
		{"same block", []slashing.Duty{proposal(5, 1)}, proposal(5, 1), slashing.Allowed, ""},
		{"twin block", []slashing.Duty{proposal(5, 1)}, proposal(5, 2), slashing.Denied, slashing.DoubleBlock},
		{"lower block", []slashing.Duty{proposal(5, 1)}, proposal(4, 1), slashing.Denied, slashing.BlockBelow},
		{"first block again after the next", []slashing.Duty{proposal(5, 1), proposal(6, 2)}, proposal(5, 1), slashing.Denied, slashing.BlockBelow},

		{"genesis vote", nil, vote(0, 0, 1), slashing.Allowed, ""},
		{"first vote", nil, vote(3, 4, 1), slashing.Allowed, ""},
		{"next vote", []slashing.Duty{vote(3, 4, 1)}, vote(4, 5, 1), slashing.Allowed, ""},
		{"same source", []slashing.Duty{vote(3, 4, 1)}, vote(3, 5, 1), slashing.Allowed, ""},
		{"same vote", []slashing.Duty{vote(3, 4, 1)}, vote(3, 4, 1), slashing.Allowed, ""},
		{"twin vote", []slashing.Duty{vote(3, 4, 1)}, vote(3, 4, 2), slashing.Denied, slashing.DoubleVote},
		{"surrounding", []slashing.Duty{vote(3, 4, 1)}, vote(2, 5, 1), slashing.Denied, slashing.SourceBelow},
		{"surrounded", []slashing.Duty{vote(1, 6, 1)}, vote(2, 5, 1), slashing.Denied, slashing.TargetBelow},
		{"source after target", nil, vote(5, 4, 1), slashing.Denied, slashing.SourceAfterTarget},
		{"source at target", nil, vote(4, 4, 1), slashing.Denied, slashing.SourceAfterTarget},
		{"block does not bar votes", []slashing.Duty{proposal(500, 1)}, vote(0, 1, 1), slashing.Allowed, ""},
		{"vote does not bar blocks", []slashing.Duty{vote(8, 9, 1)}, proposal(1, 1), slashing.Allowed, ""},
		{"highest numbers", []slashing.Duty{vote(0, 1<<64-1, 1)}, vote(1<<64-2, 1<<64-1, 2), slashing.Denied, slashing.DoubleVote},
		{"no duty", nil, nil, slashing.Failed, ""},
	} {
		var state slashing.State
		for _, duty := range c.signed {
			next, d := slashing.Check(state, duty)
			if d.Answer != slashing.Allowed {
				t.Fatalf("%s: %v: %v", c.name, duty, d.Err)
			}
			state = next
		}
		next, d := slashing.Check(state, c.duty)
		if d.Answer != c.answer || d.Reason != c.reason || (d.Err == nil) != (c.answer == slashing.Allowed) {
			t.Errorf("%s: got %v %q %v, want %v %q", c.name, d.Answer, d.Reason, d.Err, c.answer, c.reason)
		}
		if d.Answer != slashing.Allowed && next != state {
			t.Errorf("%s: a refusal changed the state", c.name)
		}
	}
}

func TestTheZeroDecisionIsARefusal(t *testing.T) {
	if (slashing.Decision{}).Answer == slashing.Allowed {
		t.Error("the zero decision allows")
	}
}

// TestNoSequenceOfVotesIsSlashable tries every sequence of four votes out of all
// sources and targets below 4 and two roots.
func TestNoSequenceOfVotesIsSlashable(t *testing.T) {
	var all []slashing.Attestation
	for source := range uint64(4) {
		for target := range uint64(4) {
			all = append(all, vote(source, target, 1), vote(source, target, 2))
		}
	}
	var explore func(state slashing.State, signed []slashing.Attestation)
	explore = func(state slashing.State, signed []slashing.Attestation) {
		for _, next := range all {
			after, d := slashing.Check(state, next)
			if d.Answer != slashing.Allowed {
				continue
			}
			for _, before := range signed {
				if slashingtest.Slashable(before, next) {
					t.Fatalf("after %v, %v was signed", signed, next)
				}
			}
			if len(signed) < 3 {
				explore(after, append(signed[:len(signed):len(signed)], next))
			}
		}
	}
	explore(slashing.State{}, nil)
}

// TestMergedHistoriesForbidWhatEitherForbids signs at random under two states and
// then tries everything against their merger.
func TestMergedHistoriesForbidWhatEitherForbids(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	duty := func() slashing.Duty {
		if random.IntN(3) == 0 {
			return proposal(random.Uint64N(6), byte(random.IntN(3)))
		}
		return vote(random.Uint64N(6), random.Uint64N(6), byte(random.IntN(3)))
	}
	for range 20000 {
		var states [2]slashing.State
		for i := range states {
			for range random.IntN(4) {
				states[i], _ = slashing.Check(states[i], duty())
			}
		}
		merged := slashing.Merge(states[0], states[1])
		if other := slashing.Merge(states[1], states[0]); other != merged {
			t.Fatalf("merging %+v and %+v depends on the order", states[0], states[1])
		}
		if again := slashing.Merge(merged, states[0]); again != merged {
			t.Fatalf("merging twice: got %+v, want %+v", again, merged)
		}
		try := duty()
		if _, d := slashing.Check(merged, try); d.Answer != slashing.Allowed {
			continue
		}
		for _, state := range states {
			if conflict := conflicts(state, try); conflict != "" {
				t.Fatalf("merger of %+v and %+v allows %v: %s", states[0], states[1], try, conflict)
			}
		}
	}
}

// conflicts says how a duty breaks EIP-3076's conditions against a state, unless
// it is the very message at the state's mark.
func conflicts(state slashing.State, duty slashing.Duty) string {
	switch d := duty.(type) {
	case slashing.Block:
		same := state.Block.Root == slashing.SignedRoot{Root: d.SigningRoot, Known: true}
		if state.Block.Signed && (d.Slot < state.Block.Slot || d.Slot == state.Block.Slot && !same) {
			return fmt.Sprintf("slot not above %d", state.Block.Slot)
		}
	case slashing.Attestation:
		m := state.Attestation
		same := m.Root == slashing.SignedRoot{Root: d.SigningRoot, Known: true}
		if m.Signed && !(same && d.Source == m.Source && d.Target == m.Target) && (d.Source < m.Source || d.Target <= m.Target) {
			return fmt.Sprintf("not above %d, %d", m.Source, m.Target)
		}
	}
	return ""
}
