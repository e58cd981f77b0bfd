package main

import (
	"context"
	"fmt"
	"os"

	"holdfast/enclave/slashing"
	"holdfast/internal/rehearsal"
)

const (
	journalDir = "journal"
	copyDir    = "journal.old"
)

// A past is what was signed before and after the copy of the journal was made.
type past struct {
	vote, laterVote   rehearsal.Attestation
	block, laterBlock rehearsal.Block
}

// newPast has duties of the two epochs above a floor.
func newPast(floor uint64, n *rehearsal.Network) past {
	return past{
		vote:       rehearsal.Attestation{Source: floor, Target: floor + 1, Head: 0xaa},
		block:      rehearsal.Block{Slot: (floor + 1) * n.SlotsPerEpoch, Body: 0xaa},
		laterVote:  rehearsal.Attestation{Source: floor + 1, Target: floor + 2, Head: 0xaa},
		laterBlock: rehearsal.Block{Slot: (floor + 2) * n.SlotsPerEpoch, Body: 0xaa},
	}
}

// rollBack is the first act: one enclave, strict freshness, and a host that restores an old journal.
func rollBack(ctx context.Context, r *rehearsal.Run, n *rehearsal.Network, l *ledger) error {
	stage := r.Progress.Stage("journal")
	h, err := newHolder(ctx, r, "strict", n, nil)
	if err != nil {
		return err
	}
	if err := os.Mkdir(r.Path(journalDir), 0o700); err != nil {
		return err
	}
	stage.Done("keys sealed a bundle of strict freshness, the default")
	l.say("one enclave and its journal; slots of %v, %d an epoch", n.SlotDuration, n.SlotsPerEpoch)
	p, err := before(ctx, r, h, n, l)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(r.Path(journalDir)); err != nil {
		return err
	}
	if err := os.Rename(r.Path(copyDir), r.Path(journalDir)); err != nil {
		return err
	}
	l.say("the enclave is stopped, the journal put back to the copy, and the enclave started again")
	return after(ctx, r, h, n, l, p)
}

// before signs, copies the journal, and signs more.
func before(ctx context.Context, r *rehearsal.Run, h *rehearsal.Holder, n *rehearsal.Network, l *ledger) (past, error) {
	stage := r.Progress.Stage("sign")
	s, floor, err := startStrict(ctx, r, h, n, "first")
	if err != nil {
		return past{}, err
	}
	defer s.stop()
	p := newPast(floor, n)
	if err := sleepUntil(ctx, n.EpochStart(floor+1)); err != nil {
		return p, err
	}
	l.signs(ctx, "enclave", s, "a vote", p.vote)
	l.signs(ctx, "enclave", s, "a block", p.block)
	if err := os.CopyFS(r.Path(copyDir), os.DirFS(r.Path(journalDir))); err != nil {
		return p, err
	}
	l.say("the host copies the journal")
	if err := sleepUntil(ctx, n.EpochStart(floor+2)); err != nil {
		return p, err
	}
	l.signs(ctx, "enclave", s, "the next vote", p.laterVote)
	l.signs(ctx, "enclave", s, "the next block", p.laterBlock)
	stage.Done("votes and blocks, and a copy of the journal in between")
	return p, nil
}

// after asks the restarted enclave to contradict what it signed after the copy, and then for honest duties.
func after(ctx context.Context, r *rehearsal.Run, h *rehearsal.Holder, n *rehearsal.Network, l *ledger, p past) error {
	stage := r.Progress.Stage("rollback")
	s, floor, err := startStrict(ctx, r, h, n, "second")
	if err != nil {
		return err
	}
	defer s.stop()
	if err := isRolledBack(ctx, s, l, p); err != nil {
		return err
	}
	twinVote, twinBlock := p.laterVote, p.laterBlock
	twinVote.Head, twinBlock.Body = 0xbb, 0xbb
	l.say("the floor of this start: targets above epoch %d, blocks above slot %d", floor, s.status.Slashing.Floor.Slot)
	l.refuses(ctx, "enclave", s, "a double vote", twinVote, slashing.TargetAtFloor)
	l.refuses(ctx, "enclave", s, "a double block", twinBlock, slashing.BlockAtFloor)
	if err := sleepUntil(ctx, n.EpochStart(floor+1)); err != nil {
		return err
	}
	l.say("the chain has passed the floor")
	l.refuses(ctx, "enclave", s, "a surround vote", rehearsal.Attestation{Source: p.vote.Source, Target: floor + 1, Head: 0xbb}, slashing.SourceBelowFloor)
	l.refuses(ctx, "enclave", s, "the double vote again", twinVote, slashing.TargetAtFloor)
	l.refuses(ctx, "enclave", s, "the double block again", twinBlock, slashing.BlockAtFloor)
	honest := rehearsal.Attestation{Source: floor, Target: floor + 1, Head: 0xcc}
	l.signs(ctx, "enclave", s, "an honest new vote", honest)
	l.signs(ctx, "enclave", s, "an honest new block", rehearsal.Block{Slot: (floor + 1) * n.SlotsPerEpoch, Body: 0xcc})
	honest.Head = 0xdd
	l.refuses(ctx, "enclave", s, "and its twin", honest, slashing.DoubleVote)
	stage.Done("asked for what contradicts the forgotten duties, and for honest ones")
	return nil
}

// startStrict starts an enclave on the journal and returns the epoch of its floor.
func startStrict(ctx context.Context, r *rehearsal.Run, h *rehearsal.Holder, n *rehearsal.Network, name string) (*signer, uint64, error) {
	s, err := start(ctx, r, h, n, name, "-journal", journalDir)
	if err != nil {
		return nil, 0, err
	}
	if l := s.status.Slashing; l == nil || l.Floor == nil {
		s.stop()
		return nil, 0, fmt.Errorf("enclave %s has no floor: %+v", name, l)
	}
	return s, s.status.Slashing.Floor.Epoch, nil
}

// isRolledBack makes sure that the enclave has forgotten, so that its journal alone would have allowed what
// is asked next.
func isRolledBack(ctx context.Context, s *signer, l *ledger, p past) error {
	w, err := s.Watermark(ctx)
	if err != nil {
		return err
	}
	want := rehearsal.Watermark{Slot: p.block.Slot, Source: p.vote.Source, Target: p.vote.Target}
	if w != want {
		return fmt.Errorf("the restored journal has %+v, want %+v, which was signed before the copy", w, want)
	}
	l.say("its journal knows of slot %d and of the vote %d -> %d, and of nothing later: it would allow all that is asked next", w.Slot, w.Source, w.Target)
	return nil
}
