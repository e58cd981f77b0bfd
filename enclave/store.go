package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/control"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal"
)

// journalPort is where the parent keeps the journal.
const journalPort = 5555

// probeTimeout bounds the question, for a status, whether the store works.
const probeTimeout = 2 * time.Second

// A backing is a store as its package makes it.
type backing interface {
	slashing.Archive
	slashing.Prober
	slashing.Versioner
}

// A store is the signing history of one start.
type store struct {
	backing
	guard *slashing.Guard
	kind  bundle.Slashing
	// configuration is the digest of the bundle's.
	configuration [48]byte
	secret        [sha256.Size]byte // of the bundle's slashing key
	schedule      slashing.Schedule

	// Of a journal: what it ended with when it was opened, and what this start asks
	// an operator to sign.
	head      [32]byte
	sequence  uint64
	challenge [32]byte
}

// openStore opens the bundle's store, once for a start. The caller holds change.
func (a *application) openStore(ctx context.Context, b *bundle.Bundle) error {
	keySum := sha256.Sum256(b.SlashingKey.Reveal())
	if a.store != nil {
		if a.store.secret != keySum {
			return errors.New("this bundle has another slashing key than the one in force: that takes a restart of the enclave, and a new journal or table")
		}
		return nil
	}
	opened := &store{kind: b.Settings.Slashing, configuration: b.Settings.Digest(), secret: keySum, schedule: schedule(b)}
	var floor *slashing.Floor
	var err error
	if opened.kind.Store == bundle.DynamoDB {
		opened.backing, err = a.openTable(ctx, b)
	} else {
		floor, err = a.openJournal(ctx, b, opened)
	}
	if err != nil {
		return err
	}
	opened.guard, err = slashing.NewGuard(slashing.GuardOptions{
		Store:    opened.backing,
		Schedule: opened.schedule,
		Clock:    a.clock,
		Floor:    floor,
	})
	if err != nil {
		opened.close()
		return err
	}
	a.store = opened
	return nil
}

func (a *application) openJournal(ctx context.Context, b *bundle.Bundle, into *store) (*slashing.Floor, error) {
	// The time comes first: the floor must hold for what an enclave signed that ended
	// before the journal was read.
	now, err := a.clock.Now()
	if err != nil {
		return nil, err
	}
	opened, err := a.readJournal(ctx, b)
	if err != nil {
		return nil, err
	}
	into.backing = opened
	into.head, into.sequence = opened.Head()
	_, _ = rand.Read(into.challenge[:]) // never fails
	if into.kind.Freshness == bundle.JournalFreshness {
		a.log.Warn("the configuration believes the parent's journal: whoever can put back an older copy of it can have validators slashed")
		return nil, nil
	}
	floor := schedule(b).Floor(now)
	a.log.Info("strict freshness: nothing at or below the floor is signed", "epoch", floor.Epoch, "slot", floor.Slot, "head", hexadecimal(into.head[:]))
	return floor, nil
}

// Reading the journal is tried again where an enclave that has ended may still seem
// connected to the parent.
const (
	journalTries = 3
	journalPause = 500 * time.Millisecond
)

func (a *application) readJournal(ctx context.Context, b *bundle.Bundle) (opened *journal.Store, err error) {
	for try := range journalTries {
		if try > 0 {
			select {
			case <-time.After(journalPause):
			case <-ctx.Done():
				return nil, err
			}
		}
		opened, err = journal.Open(ctx, journal.Config{
			Dial:    func(ctx context.Context) (net.Conn, error) { return a.dial(ctx, journalPort) },
			Key:     b.SlashingKey,
			Name:    b.Name,
			Network: b.Settings.Network.GenesisValidatorsRoot,
			Log:     a.log,
		})
		if err == nil {
			return opened, nil
		}
	}
	return nil, err
}

func hexadecimal(b []byte) string { return hex.EncodeToString(b) }

func (s *store) status() *message.Slashing {
	status := &message.Slashing{Store: string(s.kind.Store), Freshness: string(s.kind.Freshness), Floor: floorOf(s.guard)}
	if j, ok := s.backing.(*journal.Store); ok {
		head, sequence := j.Last()
		status.Head, status.Sequence = hexadecimal(head[:]), sequence
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	if err := s.guard.Probe(ctx); err != nil {
		status.Problem = err.Error()
	}
	return status
}

func floorOf(g *slashing.Guard) *message.Floor {
	floor := g.Floor()
	if floor == nil {
		return nil
	}
	return &message.Floor{Epoch: floor.Epoch, Slot: floor.Slot}
}

// Archive is part of [control.Enclave].
func (a *application) Archive() (slashing.Archive, error) {
	s := a.now().store
	if s == nil {
		return nil, fmt.Errorf("%w: %w", control.ErrConflict, errNoStore)
	}
	return s.guard, nil
}

// PublicKeys is part of [control.Enclave]: those of the bundle in force.
func (a *application) PublicKeys() []slashing.PublicKey {
	if e := a.now().serving; e != nil {
		return e.PublicKeys
	}
	return nil
}

// farthest is how far ahead of now the parent may raise watermarks. It could forbid
// signing for ever otherwise, even after it was replaced.
const farthest = 24 * time.Hour

// Bound is part of [control.Enclave].
func (a *application) Bound() (epoch, slot uint64, err error) {
	s := a.now().store
	if s == nil {
		return 0, 0, fmt.Errorf("%w: %w", control.ErrConflict, errNoStore)
	}
	now, err := a.clock.Now()
	if err != nil {
		return 0, 0, fmt.Errorf("%w: %w", control.ErrFailed, err)
	}
	ahead := now.Add(farthest)
	return s.schedule.Epoch(ahead), s.schedule.Slot(ahead), nil
}

// Head is part of [control.Enclave].
func (a *application) Head() (message.Head, error) {
	s := a.now().store
	switch {
	case s == nil:
		return message.Head{}, fmt.Errorf("%w: %w", control.ErrConflict, errNoStore)
	case s.kind.Store == bundle.DynamoDB:
		return message.Head{}, fmt.Errorf("%w: the store is DynamoDB, which needs nobody to vouch for it", control.ErrConflict)
	}
	return message.Head{
		Configuration: hexadecimal(s.configuration[:]),
		Challenge:     hexadecimal(s.challenge[:]), Head: hexadecimal(s.head[:]), Sequence: s.sequence,
		Floor: floorOf(s.guard),
	}, nil
}

// Vouch is part of [control.Enclave]. The statement must be of this start, this
// journal and this configuration, and signed by the operator that the
// configuration names.
func (a *application) Vouch(m message.Statement) error {
	s := a.now().store
	if s == nil {
		return fmt.Errorf("%w: %w", control.ErrConflict, errNoStore)
	}
	if s.kind.Operator == nil {
		return fmt.Errorf("%w: the configuration names no operator who could vouch for a journal", control.ErrRefused)
	}
	signature, err := hex.DecodeString(m.Signature)
	if err != nil {
		return errors.New("want a signature in hexadecimal digits")
	}
	// What the statement says of challenge and head is only for a clearer answer.
	if m.Challenge != hexadecimal(s.challenge[:]) || m.Head != hexadecimal(s.head[:]) {
		return fmt.Errorf("%w: the statement is of another start of the enclave, or of another journal", control.ErrRefused)
	}
	statement := slashing.Statement{Configuration: s.configuration, Challenge: s.challenge, Head: s.head, Complete: m.Complete}
	if err := statement.Verify(s.kind.Operator, signature); err != nil {
		return fmt.Errorf("%w: %w", control.ErrRefused, err)
	}
	if m.Complete {
		s.guard.LiftAll()
	} else {
		s.guard.Lift()
	}
	a.log.Warn("the operator has vouched for the journal", "head", m.Head, "complete", m.Complete)
	return nil
}

// schedule is when a network's slots are.
func schedule(b *bundle.Bundle) slashing.Schedule {
	n := &b.Settings.Network
	return slashing.Schedule{
		Genesis:       time.Unix(int64(n.GenesisTime), 0),
		SlotDuration:  time.Duration(n.SecondsPerSlot) * time.Second,
		SlotsPerEpoch: n.SlotsPerEpoch,
	}
}

// close lets go of what a store holds; a table's holds nothing.
func (s *store) close() {
	if closer, ok := s.backing.(interface{ Close() }); ok {
		closer.Close()
	}
}
