package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/enclave/slashing"
	"holdfast/internal/rehearsal"
)

// runTwo is the second act: two enclaves from one bundle at once, on one DynamoDB table.
func runTwo(ctx context.Context, r *rehearsal.Run, n *rehearsal.Network, l *ledger) error {
	stage := r.Progress.Stage("dynamodb")
	t, err := openTable(ctx, r)
	if err != nil {
		return err
	}
	defer t.close()
	h, err := holderOfTable(ctx, r, n, t)
	if err != nil {
		return err
	}
	stage.Done("DynamoDB Local, and a bundle that names its table, endpoint and roots")
	stage = r.Progress.Stage("twins")
	a, b, err := startTwo(ctx, r, h, n, t)
	if err != nil {
		return err
	}
	defer a.stop()
	defer b.stop()
	l.say("\ntwo enclaves, A and B, from one bundle at once, on one DynamoDB table; both have read it before A signs")
	e := n.Epoch(time.Now()) - 100 // no floor: the table cannot be rolled back by the host
	contradict(ctx, l, a, b, e, n)
	race(ctx, l, a, b, e+20, n)
	stage.Done("asked one to contradict the other, before and at the same time")
	return nil
}

// holderOfTable seals a bundle for the table, its credentials in it.
func holderOfTable(ctx context.Context, r *rehearsal.Run, n *rehearsal.Network, t *table) (*rehearsal.Holder, error) {
	const file = "credentials.json"
	text, err := json.Marshal(map[string]any{"AccessKey": map[string]string{"AccessKeyId": accessKeyID, "SecretAccessKey": secretAccessKey}})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(r.Path(file), text, 0o600); err != nil {
		return nil, err
	}
	return newHolder(ctx, r, "table", n, func(configuration map[string]any) {
		configuration["slashing"].(map[string]any)["endpoint"] = t.endpoint()
		configuration["slashing"].(map[string]any)["roots"] = string(t.roots)
	}, "--slashing-table", tableARN, "--slashing-credentials", file)
}

// startTwo starts both at the same time.
func startTwo(ctx context.Context, r *rehearsal.Run, h *rehearsal.Holder, n *rehearsal.Network, t *table) (a, b *signer, err error) {
	var group errgroup.Group
	boot := func(into **signer, name string) {
		group.Go(func() (err error) {
			*into, err = start(ctx, r, h, n, name, "-dynamodb", t.address())
			return err
		})
	}
	boot(&a, "A")
	boot(&b, "B")
	if err := group.Wait(); err != nil {
		for _, s := range []*signer{a, b} {
			if s != nil {
				s.stop()
			}
		}
		return nil, nil, err
	}
	return a, b, nil
}

// contradict asks B for what cannot be signed beside what A has signed, and the other way around.
func contradict(ctx context.Context, l *ledger, a, b *signer, e uint64, n *rehearsal.Network) {
	vote := rehearsal.Attestation{Source: e + 2, Target: e + 8, Head: 0xaa}
	block := rehearsal.Block{Slot: (e + 8) * n.SlotsPerEpoch, Body: 0xaa}
	l.signs(ctx, "A", a, "a vote", vote)
	l.signs(ctx, "A", a, "a block", block)
	l.refuses(ctx, "B", b, "a double vote", rehearsal.Attestation{Source: e + 2, Target: e + 8, Head: 0xbb}, slashing.DoubleVote)
	l.refuses(ctx, "B", b, "a surround vote", rehearsal.Attestation{Source: e + 1, Target: e + 9, Head: 0xbb}, slashing.SourceBelow)
	l.refuses(ctx, "B", b, "a surrounded vote", rehearsal.Attestation{Source: e + 3, Target: e + 7, Head: 0xbb}, slashing.TargetBelow)
	l.refuses(ctx, "B", b, "a double block", rehearsal.Block{Slot: block.Slot, Body: 0xbb}, slashing.DoubleBlock)
	l.signs(ctx, "B", b, "A's own vote again", vote)
	next := rehearsal.Attestation{Source: e + 8, Target: e + 9, Head: 0xbb}
	l.signs(ctx, "B", b, "an honest new vote", next)
	next.Head = 0xaa
	l.refuses(ctx, "A", a, "a double vote of B's", next, slashing.DoubleVote)
}

// rounds is how many pairs are asked for at the same time.
const rounds = 18

// A pair is two duties of which one may be signed, and why the other is refused.
type pair struct {
	a, b    rehearsal.Duty
	reasons []reason
}

// conflicting makes the pair of a round: a double vote, a surround vote, a double block.
func conflicting(round int, e uint64, n *rehearsal.Network) pair {
	e += 4 * uint64(round)
	switch round % 3 {
	case 0:
		return pair{rehearsal.Attestation{Source: e, Target: e + 1, Head: 0xaa}, rehearsal.Attestation{Source: e, Target: e + 1, Head: 0xbb}, []reason{slashing.DoubleVote}}
	case 1:
		return pair{rehearsal.Attestation{Source: e + 1, Target: e + 2, Head: 0xaa}, rehearsal.Attestation{Source: e, Target: e + 3, Head: 0xbb}, []reason{slashing.SourceBelow, slashing.TargetBelow}}
	}
	slot := e * n.SlotsPerEpoch
	return pair{rehearsal.Block{Slot: slot, Body: 0xaa}, rehearsal.Block{Slot: slot, Body: 0xbb}, []reason{slashing.DoubleBlock}}
}

// race asks both enclaves at the same moment, again and again.
func race(ctx context.Context, l *ledger, a, b *signer, e uint64, n *rehearsal.Network) {
	wonA, wrong := 0, 0
	for round := range rounds {
		p := conflicting(round, e, n)
		var answerA, answerB error
		var group errgroup.Group
		group.Go(func() error { _, answerA = a.Sign(ctx, p.a); return nil })
		group.Go(func() error { _, answerB = b.Sign(ctx, p.b); return nil })
		group.Wait()
		if answerA == nil {
			wonA++
		}
		if err := one(p, answerA, answerB); err != nil {
			wrong++
			l.say("        %v from A and %v from B at once: %v", p.a, p.b, err)
		}
	}
	l.wrong += wrong
	l.say("  %-5s A and B  %d conflicting pairs at once: %d with one signature and one refusal for it; A signed %d", mark(wrong == 0), rounds, rounds-wrong, wonA)
}

// one is nil if one of a pair was signed and the other was refused for it.
func one(p pair, answerA, answerB error) error {
	refusalA, errA := refusalOf(answerA, p.a, p.reasons...)
	refusalB, errB := refusalOf(answerB, p.b, p.reasons...)
	switch {
	case errA != nil || errB != nil:
		return errors.Join(errA, errB)
	case (refusalA == "") == (refusalB == ""):
		return fmt.Errorf("got answers %v and %v, want one signature", answerA, answerB)
	}
	return nil
}
