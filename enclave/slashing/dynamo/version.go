package dynamo

import (
	"context"
	"encoding/binary"
	"fmt"

	"holdfast/enclave/slashing"
)

// Advance implements slashing.Versioner. Without an error it takes one request to read what was seen and, for
// a version not seen before, one to write.
func (s *Store) Advance(ctx context.Context, name string, version uint64) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dutyTimeout, fmt.Errorf("the bundle's version was not written within %v", dutyTimeout))
	defer cancel()
	e := s.entry(bundlePartition(s.network, name))
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	suspects, err := s.refresh(ctx, []*entry{e})
	if err != nil {
		return err
	}
	if len(suspects) > 0 {
		return suspects[0]
	}
	return s.advance(ctx, e, name, version)
}

func (s *Store) advance(ctx context.Context, e *entry, name string, version uint64) error {
	for range maxDecisions {
		seen, err := e.version()
		if err != nil {
			return err
		}
		if err := slashing.CheckVersion(name, seen, version); err != nil || version == seen {
			return err
		}
		written, err := s.put(ctx, e, binary.BigEndian.AppendUint64(nil, version))
		if err != nil {
			return fmt.Errorf("recording version %d of bundle %q: %w", version, name, err)
		}
		if written {
			return nil
		}
	}
	return fmt.Errorf("recording version %d of bundle %q: others wrote its record %d times in a row", version, name, maxDecisions)
}

// version returns the version that an entry's record holds, 0 if there is none.
func (e *entry) version() (uint64, error) {
	if e.known == nil {
		return 0, nil
	}
	if len(e.known.payload) != 8 {
		return 0, fmt.Errorf("record %s: a version of %d bytes, want 8", e.partition, len(e.known.payload))
	}
	return binary.BigEndian.Uint64(e.known.payload), nil
}
