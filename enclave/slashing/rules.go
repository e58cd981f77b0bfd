// Package slashing keeps a validator from signing two messages that the chain
// would slash it for.
//
// It holds the minimal strategy of EIP-3076: of everything a key has signed, only
// the highest block slot and the highest attestation source and target are kept,
// and anything that is not above them is refused. That forbids double blocks,
// double votes and surround votes in either direction, at the price of refusing
// some messages that a complete history would have allowed. One exception makes
// retries harmless: the very message signed last, known by its signing root, may
// be signed again.
//
// The rules are pure functions of a State and a Duty. A Store applies them to what
// it has recorded and makes the result durable; only then may the caller sign.
package slashing

import (
	"errors"
	"fmt"
)

// Root is a 32-byte signing root or genesis validators root.
type Root = [32]byte

// PublicKey is a validator's compressed public key.
type PublicKey = [48]byte

// Answer is the outcome of asking to sign.
type Answer int

// The three answers. The zero value is Failed, so that a decision that nobody
// made is a refusal.
const (
	Failed  Answer = iota // the rules could not be applied: a store or caller is at fault
	Allowed               // recorded where it must be; sign
	Denied                // slashable, or not provably harmless; never sign
)

// Reason names the rule behind a denial, for metrics and machines.
type Reason string

// The reasons for a denial.
const (
	WrongNetwork      Reason = "wrong_genesis_validators_root"
	DoubleBlock       Reason = "double_block"
	BlockBelow        Reason = "block_below_watermark"
	DoubleVote        Reason = "double_vote"
	SourceAfterTarget Reason = "source_not_below_target"
	SourceBelow       Reason = "source_below_watermark"
	TargetBelow       Reason = "target_below_watermark"
)

// Decision is an Answer with what explains it.
type Decision struct {
	Answer Answer
	Reason Reason // of a denial
	Err    error  // what a denial or failure should say; nil if allowed
}

func allow() Decision { return Decision{Answer: Allowed} }

func deny(reason Reason, format string, args ...any) Decision {
	return Decision{Answer: Denied, Reason: reason, Err: fmt.Errorf(format, args...)}
}

// Fail makes the Decision of a store that could not decide or record.
func Fail(err error) Decision { return Decision{Answer: Failed, Err: err} }

// SignedRoot is the signing root of something already signed. Imported history
// does not tell it, and an unknown root equals no root (EIP-3076, "Additional
// Information"). The zero value is unknown.
type SignedRoot struct {
	Root  Root
	Known bool
}

func (r SignedRoot) is(root Root) bool { return r.Known && r.Root == root }

// State is all that the minimal strategy remembers of one key. The zero value is
// a key that has signed nothing. It is comparable and holds no pointers, so that a
// store may encode it as it likes.
type State struct {
	Block       BlockMark
	Attestation AttestationMark
}

// BlockMark is the highest block slot signed.
type BlockMark struct {
	Signed bool
	Slot   uint64
	Root   SignedRoot
}

// AttestationMark is the highest source and the highest target signed. Root is
// known only if one attestation had both.
type AttestationMark struct {
	Signed bool
	Source uint64
	Target uint64
	Root   SignedRoot
}

// Duty is something slashable to be signed: a Block or an Attestation.
type Duty interface {
	fmt.Stringer
	check(State) (State, Decision)
}

// Block is a proposal.
type Block struct {
	Slot        uint64
	SigningRoot Root
}

func (b Block) String() string { return fmt.Sprintf("block at slot %d", b.Slot) }

// Attestation is a vote.
type Attestation struct {
	Source      uint64
	Target      uint64
	SigningRoot Root
}

func (a Attestation) String() string {
	return fmt.Sprintf("attestation with source %d and target %d", a.Source, a.Target)
}

// Check applies the rules. If the answer is Allowed, the returned state must be
// durable before the duty is signed; otherwise it is the state given.
func Check(state State, duty Duty) (State, Decision) {
	if duty == nil {
		return state, Fail(errors.New("no duty to check"))
	}
	return duty.check(state)
}

// check implements EIP-3076 condition 2: refuse a block unless its slot is above
// the highest signed, or it is the same block.
func (b Block) check(state State) (State, Decision) {
	mark := state.Block
	switch {
	case !mark.Signed || b.Slot > mark.Slot:
		state.Block = BlockMark{Signed: true, Slot: b.Slot, Root: SignedRoot{b.SigningRoot, true}}
		return state, allow()
	case b.Slot < mark.Slot:
		return state, deny(BlockBelow, "block slot %d is below the watermark %d", b.Slot, mark.Slot)
	case mark.Root.is(b.SigningRoot):
		return state, allow()
	}
	return state, deny(DoubleBlock, "a block at slot %d was signed before", b.Slot)
}

// check implements EIP-3076 conditions 4 and 5: refuse an attestation unless its
// source is not below the highest source signed and its target is above the
// highest target signed, or it is the same attestation.
//
// A source equal to its target is refused as well, except at genesis: the chain
// never asks for it, and the rule that protects a restart (a source below the
// target bounds everything signed before) rests on its absence.
func (a Attestation) check(state State) (State, Decision) {
	mark := state.Attestation
	switch {
	case a.Source > a.Target || (a.Source == a.Target && a.Target != 0):
		return state, deny(SourceAfterTarget, "attestation source %d is not below its target %d", a.Source, a.Target)
	case !mark.Signed:
	case a.Source == mark.Source && a.Target == mark.Target && mark.Root.is(a.SigningRoot):
		return state, allow()
	case a.Source < mark.Source:
		return state, deny(SourceBelow, "attestation source %d is below the watermark %d", a.Source, mark.Source)
	case a.Target == mark.Target:
		return state, deny(DoubleVote, "an attestation with target %d was signed before", a.Target)
	case a.Target < mark.Target:
		return state, deny(TargetBelow, "attestation target %d is below the watermark %d", a.Target, mark.Target)
	}
	state.Attestation = AttestationMark{Signed: true, Source: a.Source, Target: a.Target, Root: SignedRoot{a.SigningRoot, true}}
	return state, allow()
}

// Merge returns the state that forbids what either state forbids. A root survives
// only where the other state adds nothing at its slot or target.
func Merge(a, b State) State {
	return State{
		Block:       mergeBlocks(a.Block, b.Block),
		Attestation: mergeAttestations(a.Attestation, b.Attestation),
	}
}

func mergeBlocks(a, b BlockMark) BlockMark {
	switch {
	case !a.Signed:
		return b
	case !b.Signed || a.Slot > b.Slot:
		return a
	case a.Slot < b.Slot:
		return b
	}
	return BlockMark{Signed: true, Slot: a.Slot, Root: mergeRoots(a.Root, b.Root)}
}

func mergeAttestations(a, b AttestationMark) AttestationMark {
	if !a.Signed {
		return b
	}
	if !b.Signed {
		return a
	}
	merged := AttestationMark{Signed: true, Source: max(a.Source, b.Source), Target: max(a.Target, b.Target)}
	switch {
	case a.Target == b.Target && a.Source == b.Source:
		merged.Root = mergeRoots(a.Root, b.Root)
	case a.Target > b.Target && a.Source == merged.Source:
		merged.Root = a.Root
	case b.Target > a.Target && b.Source == merged.Source:
		merged.Root = b.Root
	}
	return merged
}

func mergeRoots(a, b SignedRoot) SignedRoot {
	if a == b {
		return a
	}
	return SignedRoot{}
}
