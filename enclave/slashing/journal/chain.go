package journal

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal/wire"
)

// chain is what records, read in order, add up to.
type chain struct {
	opener   opener
	head     wire.Position
	states   map[slashing.PublicKey]slashing.State
	versions map[string]uint64
	size     compaction
}

func newChain(id identity, secret []byte) *chain {
	return &chain{
		opener:   opener{identity: id, secret: secret},
		states:   make(map[slashing.PublicKey]slashing.State),
		versions: make(map[string]uint64),
	}
}

// add checks one record, digest, place and seal, and applies it. The first to be
// read must be a snapshot.
func (c *chain) add(entry wire.Entry) error {
	if err := c.apply(entry); err != nil {
		return fmt.Errorf("journal, at the record after %d: %w", c.head.Sequence, err)
	}
	return nil
}

func (c *chain) apply(entry wire.Entry) error {
	if got := wire.Digest(sha256.Sum256(entry.Record)); got != entry.Digest {
		return fmt.Errorf("its digest is %x, want %x: it was damaged", got, entry.Digest)
	}
	header, payload, err := c.opener.open(entry.Record)
	if err != nil {
		return err
	}
	if err := c.place(header); err != nil {
		return err
	}
	if header.Snapshot {
		clear(c.states)
		clear(c.versions)
	}
	maps.Copy(c.states, payload.states)
	maps.Copy(c.versions, payload.versions)
	if len(c.states) > maxKeys || len(c.versions) > maxBundles {
		return fmt.Errorf("the journal has %d keys and %d bundles, want at most %d and %d", len(c.states), len(c.versions), maxKeys, maxBundles)
	}
	c.head = wire.Position{Sequence: header.Sequence, Digest: entry.Digest}
	c.size.add(header.Snapshot, len(entry.Record))
	return nil
}

func (c *chain) place(header wire.Header) error {
	if c.head != (wire.Position{}) {
		return header.Follows(c.head)
	}
	if !header.Snapshot {
		return errors.New("the first record is not a snapshot")
	}
	return nil
}

// compaction decides when the next record is to be a snapshot: when the records
// since the last one have grown well beyond it, so that what is read at a start, and
// what snapshots add to what is written, both stay within a small factor.
type compaction struct {
	snapshot, since int // bytes
}

func (c *compaction) add(snapshot bool, size int) {
	if snapshot {
		c.snapshot, c.since = size, 0
	} else {
		c.since += size
	}
}

func (c *compaction) due(least int) bool {
	return c.snapshot == 0 || c.since >= max(least, 4*c.snapshot)
}
