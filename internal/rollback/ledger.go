package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/slashing"
	"holdfast/internal/rehearsal"
)

// An asker has duties signed.
type asker interface {
	Sign(context.Context, rehearsal.Duty) (bls.Signature, error)
}

// A reason is why a signer must refuse.
type reason = slashing.Reason

// sentences are how answers begin for each reason, as regular expressions.
var sentences = map[reason]string{
	slashing.DoubleBlock:      "^a block at slot %d was signed before$",
	slashing.DoubleVote:       "^an attestation with target %d was signed before$",
	slashing.SourceBelow:      "^attestation source %d is below the watermark [0-9]+$",
	slashing.TargetBelow:      "^attestation target %d is below the watermark [0-9]+$",
	slashing.TargetAtFloor:    "^attestation target %d is not above [0-9]+, and what was signed up to there before a start is not known",
	slashing.SourceBelowFloor: "^attestation source %d is below [0-9]+, and what was signed up to there before a start is not known",
	slashing.BlockAtFloor:     "^block slot %d is not above [0-9]+, and what was signed up to there before a start is not known",
}

// number is what of a duty the sentence names.
func number(r reason, d rehearsal.Duty) uint64 {
	switch d := d.(type) {
	case rehearsal.Block:
		return d.Slot
	case rehearsal.Attestation:
		if r == slashing.SourceBelow || r == slashing.SourceBelowFloor {
			return d.Source
		}
		return d.Target
	}
	return 0
}

// refusalOf tells which of the reasons an answer gives, and is empty if it was signed. An answer for any other
// reason, or none at all, is an error.
func refusalOf(answer error, d rehearsal.Duty, reasons ...reason) (reason, error) {
	if answer == nil {
		return "", nil
	}
	var refused *rehearsal.RefusedError
	if !errors.As(answer, &refused) || refused.Status != http.StatusPreconditionFailed {
		return "", answer
	}
	for _, r := range reasons {
		sentence := regexp.MustCompile(fmt.Sprintf(sentences[r], number(r, d)))
		if sentence.MatchString(refused.Message) {
			return r, nil
		}
	}
	return "", fmt.Errorf("refused for another reason than %v: %w", reasons, answer)
}

// A ledger is what was asked and what came of it, for people, and whether it was right.
type ledger struct {
	lines []string
	wrong int
}

// say adds a line between the duties.
func (l *ledger) say(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// signs asks for what must be signed.
func (l *ledger) signs(ctx context.Context, who string, s asker, what string, d rehearsal.Duty) {
	l.ask(ctx, who, s, what, d)
}

// refuses asks for what must be refused, for this reason.
func (l *ledger) refuses(ctx context.Context, who string, s asker, what string, d rehearsal.Duty, want reason) {
	l.ask(ctx, who, s, what, d, want)
}

func (l *ledger) ask(ctx context.Context, who string, s asker, what string, d rehearsal.Duty, want ...reason) {
	_, answer := s.Sign(ctx, d)
	got, err := refusalOf(answer, d, want...)
	right := err == nil && (answer != nil) == (len(want) > 0)
	outcome := "SIGNED"
	if answer != nil {
		outcome = "refused"
	}
	if !right {
		l.wrong++
	}
	l.say("  %-5s %-8s %-24s %-40v %s", mark(right), who, what, d, outcome)
	switch {
	case !right:
		l.say("        got %v, want %v", answer, want)
	case answer != nil:
		reason, _, _ := strings.Cut(answer.Error(), "; ") // when it goes on follows
		l.say("        %s: %s", got, reason)
	}
}

func mark(right bool) string {
	if right {
		return "ok"
	}
	return "WRONG"
}

func (l *ledger) String() string { return "\n" + strings.Join(l.lines, "\n") + "\n" }

// verdict is nil if everything was right.
func (l *ledger) verdict() error {
	if l.wrong > 0 {
		return fmt.Errorf("%d answers were wrong", l.wrong)
	}
	return nil
}
