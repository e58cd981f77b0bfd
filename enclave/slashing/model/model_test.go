package model

import (
	"testing"
	"time"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// limit is more states than any of these models has.
const limit = 2_000_000

// duties are what clients ask for: of key 0 with two roots, because slashing is looked
// for there; of key 1 with one, because what key 1 signs matters to key 0 only by
// having been recorded.
var duties = map[string][keys][]slashing.Duty{
	"votes":               {votes(epochs, 2), votes(epochs, 1)},
	"blocks":              {proposals(moments, 2), proposals(moments, 1)},
	"votes beside blocks": {votes(epochs, 2), proposals(moments, 1)},
	"blocks beside votes": {proposals(moments, 2), votes(epochs, 1)},
}

// votes returns every attestation with a target below epochs, with some roots each.
func votes(epochs uint64, roots byte) []slashing.Duty {
	var duties []slashing.Duty
	for target := range epochs {
		for source := uint64(0); source <= target; source++ {
			for root := range roots {
				duties = append(duties, slashingtest.Vote(source, target, root+1))
			}
		}
	}
	return duties
}

// proposals returns every block with a slot below slots, with some roots each.
func proposals(slots uint64, roots byte) []slashing.Duty {
	var duties []slashing.Duty
	for slot := range slots {
		for root := range roots {
			duties = append(duties, slashingtest.Proposal(slot, root+1))
		}
	}
	return duties
}

func run(t *testing.T, model interface{ Explore(limit int) Result }) Result {
	t.Helper()
	start := time.Now()
	r := model.Explore(limit)
	t.Logf("%v in %v", r, time.Since(start).Round(time.Millisecond))
	if r.Stopped {
		t.Fatalf("more than %d states", limit)
	}
	return r
}

// safe demands that everything was explored and nothing found.
func safe(t *testing.T, r Result, states int) {
	t.Helper()
	if r.Trace != nil {
		t.Fatalf("two slashable signatures left")
	}
	if r.States < states || r.Signed == 0 {
		t.Errorf("got %d states and %d signatures: the model does too little", r.States, r.Signed)
	}
}

func TestAHostileHostGetsNoSlashableSignaturesInStrict(t *testing.T) {
	for name, duties := range duties {
		t.Run(name, func(t *testing.T) {
			safe(t, run(t, NewJournal(JournalOptions{Freshness: Strict, Duties: duties})), 100_000)
		})
	}
}

func TestCrashesLoseNothingThatWasSigned(t *testing.T) {
	for name, duties := range duties {
		t.Run(name, func(t *testing.T) {
			safe(t, run(t, NewJournal(JournalOptions{Freshness: JournalFreshness, Duties: duties})), 1000)
		})
	}
}

func TestCopiesOnOneTableSignNothingSlashable(t *testing.T) {
	for name, duties := range map[string][keys][]slashing.Duty{
		"votes":  duties["votes"],
		"blocks": {proposals(epochs, 2), proposals(epochs, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			safe(t, run(t, NewTable(TableOptions{Duties: duties})), 10_000)
		})
	}
}

// What the models are worth: each rule left out is found out.
func TestARuleLeftOutIsFoundOut(t *testing.T) {
	for _, c := range []struct {
		name      string
		freshness Freshness
		fault     Fault
		duties    []string
	}{
		{"no floor", Strict, NoFloor, []string{"votes", "blocks"}},
		{"no rule for sources", Strict, NoSourceRule, []string{"votes"}},
		{"no slot ahead in the floor", Strict, NoSlotAhead, []string{"votes", "blocks"}},
		{"no bound on the future", Strict, NoBoundOnTheFuture, []string{"votes", "blocks"}},
		{"a floor that does not stand", Strict, FloorNotImposed, []string{"votes", "blocks"}},
		{"a floor lifted unasked", Strict, LiftedUnasked, []string{"votes", "blocks"}},
		{"signed before durable", JournalFreshness, SignedBeforeDurable, []string{"votes", "blocks"}},
	} {
		for _, name := range c.duties {
			t.Run(c.name+", "+name, func(t *testing.T) {
				if r := run(t, NewJournal(JournalOptions{c.freshness, duties[name], c.fault})); r.Trace == nil {
					t.Error("nothing was found")
				}
			})
		}
	}
	for _, name := range []string{"votes", "blocks"} {
		t.Run("a write without condition, "+name, func(t *testing.T) {
			if r := run(t, NewTable(TableOptions{Duties: duties[name], Unconditional: true})); r.Trace == nil {
				t.Error("nothing was found")
			}
		})
	}
}

// Blocks and attestations are explored one kind a key. That is no loss: neither kind
// reads or changes what the other left.
func TestBlocksAndAttestationsDoNotMeetInAState(t *testing.T) {
	votes, blocks := newRules(votes(epochs, 2)), newRules(proposals(moments, 2))
	for v, voted := range votes.states {
		for b, proposed := range blocks.states {
			both := slashing.State{Block: proposed.Block, Attestation: voted.Attestation}
			for i, duty := range votes.duties {
				after, d := slashing.Check(both, duty)
				if after.Block != proposed.Block || (d.Answer == slashing.Allowed) != (votes.next[v][i] != none) {
					t.Fatalf("%v after %+v: %+v, %+v", duty, both, after, d)
				}
			}
			for i, duty := range blocks.duties {
				after, d := slashing.Check(both, duty)
				if after.Attestation != voted.Attestation || (d.Answer == slashing.Allowed) != (blocks.next[b][i] != none) {
					t.Fatalf("%v after %+v: %+v, %+v", duty, both, after, d)
				}
			}
		}
	}
}
