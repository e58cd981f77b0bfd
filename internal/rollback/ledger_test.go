package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
	"holdfast/internal/rehearsal"
)

// An answering gives every duty the same answer.
type answering struct{ err error }

func (a answering) Sign(context.Context, rehearsal.Duty) (bls.Signature, error) {
	return bls.Signature{}, a.err
}

func refused(message string) error { return &rehearsal.RefusedError{Status: 412, Message: message} }

func TestOnlyTheRightAnswerIsRight(t *testing.T) {
	vote := rehearsal.Attestation{Source: 3, Target: 4}
	double := refused("an attestation with target 4 was signed before")
	for name, c := range map[string]struct {
		answer error
		want   []reason
		right  bool
	}{
		"signed as it must be":         {nil, nil, true},
		"refused as it must be":        {double, []reason{slashing.DoubleVote}, true},
		"signed, and must not be":      {nil, []reason{slashing.DoubleVote}, false},
		"refused, and must not be":     {double, nil, false},
		"refused for another reason":   {refused("attestation target 4 is below the watermark 5"), []reason{slashing.DoubleVote}, false},
		"refused for another target":   {refused("an attestation with target 5 was signed before"), []reason{slashing.DoubleVote}, false},
		"refused with another status":  {&rehearsal.RefusedError{Status: 500, Message: double.(*rehearsal.RefusedError).Message}, []reason{slashing.DoubleVote}, false},
		"not reached":                  {errors.New("connection refused"), []reason{slashing.DoubleVote}, false},
		"not reached for what is good": {errors.New("connection refused"), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := &ledger{}
			l.ask(t.Context(), "A", answering{c.answer}, "a vote", vote, c.want...)
			if right := l.verdict() == nil; right != c.right || strings.Contains(l.String(), "WRONG") == right {
				t.Errorf("right = %v, want %v:\n%s", right, c.right, l)
			}
		})
	}
}

// A late signer's clock is behind until it has been asked some times.
type late struct{ times int }

func (l *late) Sign(context.Context, rehearsal.Duty) (bls.Signature, error) {
	if l.times--; l.times < 0 {
		return bls.Signature{}, nil
	}
	return bls.Signature{}, refused("attestation target 4 lies beyond 3, the epoch one slot after now (2026-01-01T00:00:00Z)")
}

func TestADutyWhoseTimeHasNotComeIsAskedForAgain(t *testing.T) {
	l := &ledger{}
	l.signs(t.Context(), "A", &late{times: 2}, "a vote", rehearsal.Attestation{Source: 3, Target: 4})
	if err := l.verdict(); err != nil {
		t.Errorf("%v:\n%s", err, l)
	}
}

func TestOneOfAPairMustBeSignedAndNoMore(t *testing.T) {
	p := conflicting(0, 100, newNetwork(time.Now()))
	no := refused("an attestation with target 101 was signed before")
	for name, c := range map[string]struct {
		a, b  error
		right bool
	}{
		"A signs": {nil, no, true}, "B signs": {no, nil, true}, "both sign": {nil, nil, false}, "neither signs": {no, no, false},
		"the other fails": {nil, errors.New("no answer"), false}, "the other is refused for something else": {nil, refused("beyond"), false},
	} {
		if err := one(p, c.a, c.b); (err == nil) != c.right {
			t.Errorf("%s: got %v, want right = %v", name, err, c.right)
		}
	}
}

// What the demonstration takes for a reason is what the enclave's rules say for it.
func TestTheSentencesAreTheRules(t *testing.T) {
	schedule := slashing.Schedule{Genesis: time.Unix(0, 0), SlotDuration: time.Second, SlotsPerEpoch: 2}
	floor := slashing.Floor{Epoch: 20, Slot: 41}
	store := slashingtest.NewMemory([32]byte{1})
	record := func(d slashing.Duty) slashing.Decision {
		return store.Record(t.Context(), [32]byte{1}, slashing.PublicKey{1}, d)
	}
	for _, d := range []slashing.Duty{slashing.Attestation{Source: 5, Target: 9}, slashing.Block{Slot: 18}} {
		if decision := record(d); decision.Answer != slashing.Allowed {
			t.Fatal(decision.Err)
		}
	}
	vote := func(source, target uint64) (rehearsal.Duty, slashing.Duty) {
		return rehearsal.Attestation{Source: source, Target: target}, slashing.Attestation{Source: source, Target: target, SigningRoot: [32]byte{1}}
	}
	block := func(slot uint64) (rehearsal.Duty, slashing.Duty) {
		return rehearsal.Block{Slot: slot}, slashing.Block{Slot: slot, SigningRoot: [32]byte{1}}
	}
	said := map[reason]bool{}
	check := func(decide func(slashing.Duty) slashing.Decision, asked rehearsal.Duty, d slashing.Duty) {
		decision := decide(d)
		if decision.Answer != slashing.Denied {
			t.Fatalf("%v: answer %v", d, decision.Answer)
		}
		for r := range sentences {
			got, err := refusalOf(refused(decision.Err.Error()), asked, r)
			if (err == nil) != (r == decision.Reason) || err == nil && got != decision.Reason {
				t.Errorf("%v, denied with %s: %v is taken for %q, %v", asked, decision.Reason, decision.Err, got, err)
			}
		}
		said[decision.Reason] = true
	}
	atFloor := func(d slashing.Duty) slashing.Decision { return schedule.CheckFloor(floor, d) }
	for _, v := range [][2]uint64{{5, 9}, {4, 10}, {6, 8}} {
		asked, d := vote(v[0], v[1])
		check(record, asked, d)
	}
	for _, v := range [][2]uint64{{19, 20}, {18, 21}} {
		asked, d := vote(v[0], v[1])
		check(atFloor, asked, d)
	}
	asked, d := block(18)
	check(record, asked, d)
	asked, d = block(41)
	check(atFloor, asked, d)
	if len(said) != len(sentences) {
		t.Errorf("the rules said %v, and %d sentences are known", said, len(sentences))
	}
}

func TestTheNetworkIsWhatTheSignerReads(t *testing.T) {
	ours := newNetwork(time.Now())
	theirs, err := network.ParseConfig([]byte(chainConfig), network.Genesis{Time: uint64(ours.Genesis.Unix()), ValidatorsRoot: ours.ValidatorsRoot})
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(theirs.SecondsPerSlot)*time.Second != ours.SlotDuration || theirs.SlotsPerEpoch != ours.SlotsPerEpoch {
		t.Errorf("slots of %d s, %d an epoch; want %v and %d", theirs.SecondsPerSlot, theirs.SlotsPerEpoch, ours.SlotDuration, ours.SlotsPerEpoch)
	}
}
