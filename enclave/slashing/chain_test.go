package slashing_test

import (
	"strings"
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// network simulates a chain's justification: in epoch e every validator is asked for
// the vote from the latest justified epoch to e, and if two thirds of all cast it, e is
// justified when the next epoch begins (phase0 beacon-chain.md,
// weigh_justification_and_finalization, with every vote included in its epoch).
type network struct {
	t         *testing.T
	clock     *clockAt
	epoch     uint64
	justified uint64
	signers   []*signer
}

// signer has some of the validators' keys behind one guard. While it is down it is nil.
type signer struct {
	validators int
	memory     *slashingtest.Memory
	guard      *slashing.Guard
	refusals   []slashing.Decision // of the latest epoch
}

func newNetwork(t *testing.T, validators ...int) *network {
	n := &network{t: t, clock: new(clockAt)}
	for _, count := range validators {
		s := &signer{validators: count, memory: slashingtest.NewMemory(chain)}
		s.guard = newGuard(t, slashing.GuardOptions{Store: s.memory, Clock: n.clock})
		n.signers = append(n.signers, s)
	}
	n.pass(10)
	return n
}

// pass lets whole epochs pass; votes are asked for in the epoch's third slot.
func (n *network) pass(epochs int) {
	n.t.Helper()
	for range epochs {
		n.clock.time = at(n.epoch, 2)
		cast, all := 0, 0
		for _, s := range n.signers {
			all += s.validators
			cast += s.vote(n)
		}
		if 3*cast >= 2*all {
			n.justified = n.epoch
		}
		n.epoch++
	}
}

// vote returns how many votes the signer casts.
func (s *signer) vote(n *network) int {
	s.refusals = nil
	if s.guard == nil {
		return 0
	}
	cast := 0
	for i := range s.validators {
		d := s.guard.Record(n.t.Context(), chain, slashing.PublicKey{1, byte(i)}, vote(n.justified, n.epoch, 1))
		if d.Answer == slashing.Allowed {
			cast++
			continue
		}
		s.refusals = append(s.refusals, d)
	}
	return cast
}

// restart starts a signer at a slot of the epoch to come, before its vote is asked for,
// in strict: with a floor.
func (n *network) restart(s *signer, slot uint64) {
	n.clock.time = at(n.epoch, slot)
	s.guard = newGuard(n.t, slashing.GuardOptions{Store: s.memory, Clock: n.clock, Floor: schedule().Floor(n.clock.time)})
}

// wantAll demands that the latest epoch was justified, with every vote cast.
func (n *network) wantAll() {
	n.t.Helper()
	if n.justified != n.epoch-1 {
		n.t.Errorf("epoch %d: justified is %d", n.epoch-1, n.justified)
	}
	for i, s := range n.signers {
		for _, d := range s.refusals {
			n.t.Errorf("epoch %d: signer %d refuses: %v", n.epoch-1, i, d.Err)
		}
	}
}

// wantRefused demands that a signer refused every vote of the latest epoch.
func (n *network) wantRefused(s *signer, reason slashing.Reason) {
	n.t.Helper()
	if len(s.refusals) != s.validators {
		n.t.Fatalf("epoch %d: %d of %d votes refused", n.epoch-1, len(s.refusals), s.validators)
	}
	for _, d := range s.refusals {
		if d.Answer != slashing.Denied || d.Reason != reason {
			n.t.Fatalf("epoch %d: got %q, %v; want %q", n.epoch-1, d.Reason, d.Err, reason)
		}
	}
}

func TestAHealthyChainGoesOnOneEpochAfterARestart(t *testing.T) {
	for name, validators := range map[string][]int{"one signer of four": {4, 4, 4, 4}, "the only signer": {8}} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, validators...)
			n.wantAll()
			n.restart(n.signers[0], 0)
			n.pass(1)
			n.wantRefused(n.signers[0], slashing.TargetAtFloor)
			n.pass(1)
			if len(n.signers[0].refusals) != 0 {
				t.Errorf("it goes on refusing: %v", n.signers[0].refusals[0].Err)
			}
			n.pass(1)
			n.wantAll()
		})
	}
}

// An epoch that is about to end is not worth the margin's doubt.
func TestARestartAtTheEndOfAnEpochCostsTheNext(t *testing.T) {
	n := newNetwork(t, 4, 4, 4, 4)
	n.epoch-- // the last epoch's votes are cast, its last slot is under way
	n.restart(n.signers[0], 3)
	n.epoch++
	n.pass(1)
	n.wantRefused(n.signers[0], slashing.TargetAtFloor)
	n.pass(1)
	n.wantAll()
}

func TestASignerWhoseNetworkWentOnWithoutItGoesOnAsWell(t *testing.T) {
	n := newNetwork(t, 4, 4, 4, 4)
	n.signers[0].guard = nil
	n.pass(5)
	n.restart(n.signers[0], 0)
	n.pass(1)
	n.wantRefused(n.signers[0], slashing.TargetAtFloor)
	n.pass(1)
	n.wantAll()
}

func TestAChainWhoseOnlyValidatorsWereDownWaitsForTheOperator(t *testing.T) {
	n := newNetwork(t, 8)
	only := n.signers[0]
	only.guard = nil
	n.pass(5)
	n.restart(only, 0)
	n.pass(1)
	n.wantRefused(only, slashing.TargetAtFloor)
	for range 50 {
		n.pass(1)
		n.wantRefused(only, slashing.SourceBelowFloor)
	}
	said := only.refusals[0].Err.Error()
	for _, part := range []string{"source 9", "justified epoch 14", "parent slashing vouch"} {
		if !strings.Contains(said, part) {
			t.Errorf("the refusal %q lacks %q", said, part)
		}
	}
	only.guard.Lift() // after the operator's statement
	n.pass(1)
	n.wantAll()
	n.pass(5)
	n.wantAll()
}

// The same without a floor: what a bundle chooses with "freshness": "journal".
func TestAChainThatBelievesItsJournalDoesNotWait(t *testing.T) {
	n := newNetwork(t, 8)
	only := n.signers[0]
	only.guard = nil
	n.pass(5)
	only.guard = newGuard(t, slashing.GuardOptions{Store: only.memory, Clock: n.clock})
	n.pass(1)
	n.wantAll()
}
