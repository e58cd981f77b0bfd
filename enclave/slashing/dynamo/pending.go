package dynamo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"holdfast/enclave/slashing"
)

// An import too large for one transaction is written down first, in items of its own: a head, which holds
//
//	nothing                           no import is under way
//	id 16 bytes || parts 1 byte       one is
//
// and parts, each the id and then keys with their states. All are written in one transaction and struck out in
// one, and they are records like any other: nobody can leave out half of them.
const (
	importIDSize  = 16
	importKeySize = len(slashing.PublicKey{}) + stateSize

	// A part stays well below an item's 400 kB, and all parts below a transaction's 4 MB (Service quotas).
	keysPerPart = 2500
	maxParts    = 10
)

var errUnfinished = errors.New("the import is written down but not finished: it goes on with the next large one, or at the next start")

// pendingEntries returns the entries of the head and of all parts, in the order in which they are locked.
func (s *Store) pendingEntries() []*entry {
	entries := []*entry{s.entry(partition(s.network, "import"))}
	for n := range maxParts {
		entries = append(entries, s.entry(partition(s.network, fmt.Sprintf("import/%d", n))))
	}
	return entries
}

// importLarge finishes what was cut short before, writes the additions down, merges them, and strikes them out.
func (s *Store) importLarge(ctx context.Context, additions []addition) error {
	if len(additions) > keysPerPart*maxParts {
		return fmt.Errorf("%d keys in one import, want at most %d (hint: split the file)", len(additions), keysPerPart*maxParts)
	}
	pending := s.pendingEntries()
	unlock, err := lockAll(ctx, pending)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.finishPending(ctx, pending); err != nil {
		return err
	}
	unlockKeys, err := s.lockAdditions(ctx, additions)
	if err != nil {
		return err
	}
	defer unlockKeys()
	changes, err := changing(additions)
	if err != nil {
		return err
	}
	if len(changes) <= maxBatchWrite {
		return s.merge(ctx, changes)
	}
	if err := s.writePending(ctx, pending, changes); err != nil {
		return err
	}
	if err := s.finish(ctx, pending, changes); err != nil {
		return errors.Join(errUnfinished, err)
	}
	return nil
}

func (s *Store) refreshPending(ctx context.Context, pending []*entry) error {
	suspects, err := s.refresh(ctx, pending)
	return errors.Join(append(suspects, err)...)
}

// writePending writes the head and as many parts as the additions need, all or none.
func (s *Store) writePending(ctx context.Context, pending []*entry, additions []addition) error {
	var id [importIDSize]byte
	rand.Read(id[:]) // never fails
	writes := []write{{entry: pending[0]}}
	for batch := range batches(additions, keysPerPart) {
		payload := id[:importIDSize:importIDSize]
		for _, a := range batch {
			payload = append(append(payload, a.key[:]...), encodeState(a.state)...)
		}
		writes = append(writes, write{pending[len(writes)], payload})
	}
	writes[0].payload = append(id[:importIDSize:importIDSize], byte(len(writes)-1))
	return s.transact(ctx, func() ([]write, error) {
		switch known := pending[0].known; {
		case known == nil || len(known.payload) == 0:
			return writes, nil
		case bytes.Equal(known.payload, writes[0].payload):
			return nil, nil
		}
		return nil, errors.New("another enclave began an import (hint: try again when it is done)")
	})
}

// strikeOut empties the head and the parts, all or none.
func (s *Store) strikeOut(ctx context.Context, pending []*entry) error {
	begun := pending[0].known.payload
	return s.transact(ctx, func() ([]write, error) {
		if !bytes.Equal(pending[0].known.payload, begun) {
			return nil, nil // struck out by another, who finished it
		}
		var writes []write
		for _, e := range pending {
			if e.known != nil && len(e.known.payload) > 0 {
				writes = append(writes, write{entry: e})
			}
		}
		return writes, nil
	})
}

// finishImports merges an import that was cut short and strikes it out.
func (s *Store) finishImports(ctx context.Context) error {
	pending := s.pendingEntries()
	unlock, err := lockAll(ctx, pending)
	if err != nil {
		return err
	}
	defer unlock()
	return s.finishPending(ctx, pending)
}

// finishPending is finishImports for one who owns the pending entries.
func (s *Store) finishPending(ctx context.Context, pending []*entry) error {
	for attempt := range maxAttempts {
		if err := s.refreshPending(ctx, pending); err != nil {
			return err
		}
		additions, err := s.parsePending(pending)
		if errors.Is(err, errTorn) { // the items were read one after the other, while another enclave wrote them
			if err := pause(ctx, attempt); err != nil {
				return err
			}
			continue
		}
		if err != nil || len(additions) == 0 {
			return err
		}
		s.log.Info("finishing an import that was cut short", "keys", len(additions))
		unlock, err := s.lockAdditions(ctx, additions)
		if err != nil {
			return err
		}
		defer unlock()
		return s.finish(ctx, pending, additions)
	}
	return errTorn
}

// finish merges what is written down and strikes it out. The caller owns all the entries.
func (s *Store) finish(ctx context.Context, pending []*entry, additions []addition) error {
	for batch := range batches(additions, maxBatchWrite) {
		if err := s.merge(ctx, batch); err != nil {
			return err
		}
	}
	return s.strikeOut(ctx, pending)
}

var errTorn = errors.New("the parts of an unfinished import do not belong together")

// parsePending returns the additions that are written down, none if no import is under way.
func (s *Store) parsePending(pending []*entry) ([]addition, error) {
	head := pending[0].known
	if head == nil || len(head.payload) == 0 {
		return nil, nil
	}
	if len(head.payload) != importIDSize+1 || head.payload[importIDSize] > maxParts {
		return nil, errors.New("the head of an unfinished import is malformed")
	}
	id, parts := head.payload[:importIDSize], int(head.payload[importIDSize])
	states := make(map[slashing.PublicKey]slashing.State)
	for _, part := range pending[1 : 1+parts] {
		if part.known == nil || !bytes.HasPrefix(part.known.payload, id) {
			return nil, errTorn
		}
		if err := parsePart(part.known.payload[importIDSize:], states); err != nil {
			return nil, fmt.Errorf("part of an unfinished import: %w", err)
		}
	}
	return s.additions(states), nil
}

func parsePart(data []byte, states map[slashing.PublicKey]slashing.State) error {
	if len(data)%importKeySize != 0 {
		return fmt.Errorf("%w: %d bytes", errState, len(data))
	}
	for entry := range batches(data, importKeySize) {
		key := slashing.PublicKey(entry[:len(slashing.PublicKey{})])
		state, err := decodeState(entry[len(key):])
		if err != nil {
			return err
		}
		states[key] = state
	}
	return nil
}
