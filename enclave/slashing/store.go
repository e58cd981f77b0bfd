package slashing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Store records duties.
//
// Record applies the rules to what is recorded for key and, if they allow the
// duty, makes the new state durable before it returns Allowed. For one key it is
// atomic: of two conflicting duties at most one is ever allowed. Duties of
// different keys do not wait for each other's rules, though they may share a
// write. A store that cannot read or write, or whose ctx ends, answers Failed; the
// duty may then be recorded or not, and the caller must not sign.
//
// genesisValidatorsRoot is the network the duty belongs to. A store serves one
// network and denies duties of any other.
type Store interface {
	Record(ctx context.Context, genesisValidatorsRoot Root, key PublicKey, duty Duty) Decision
}

// Archive is a Store whose history moves: it comes with a key that another signer
// used before, and goes with one that another will use next. Neither is possible
// while the other signer signs (EIP-3076, "Advice for complete databases").
//
// Import merges history, so that afterwards everything is refused that either the
// store or the history forbids. It is all or nothing, durable when it returns nil,
// and refuses another network's history. Export returns what the store remembers
// of keys, or of every key if keys is nil; keys that it does not know are left out.
type Archive interface {
	Store
	Import(ctx context.Context, history Interchange) error
	Export(ctx context.Context, keys []PublicKey) (Interchange, error)
}

// Prober is a Store that can tell whether it works without being asked to record
// anything. Probe returns what is wrong, or nil; it is called often and ends with
// ctx.
type Prober interface {
	Probe(ctx context.Context) error
}

var (
	_ Archive   = (*Memory)(nil)
	_ Prober    = (*Memory)(nil)
	_ Versioner = (*Memory)(nil)
)

var errNotOpened = errors.New("slashing store was not opened")

// Memory is a Store that forgets everything when the process ends, so it protects
// only against what one process is asked for. The zero value answers Failed.
type Memory struct {
	network  Root
	mu       sync.Mutex // guards the maps, not the entries
	keys     map[PublicKey]*entry
	versions map[string]uint64 // the highest seen of each bundle
}

type entry struct {
	mu    sync.Mutex
	state State
}

// NewMemory returns an empty store for the network with a genesis validators root.
func NewMemory(genesisValidatorsRoot Root) *Memory {
	return &Memory{
		network:  genesisValidatorsRoot,
		keys:     make(map[PublicKey]*entry),
		versions: make(map[string]uint64),
	}
}

// entry returns a key's entry, made on first use.
func (m *Memory) entry(key PublicKey) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.keys[key]
	if e == nil {
		e = new(entry)
		m.keys[key] = e
	}
	return e
}

// Record implements Store.
func (m *Memory) Record(ctx context.Context, genesisValidatorsRoot Root, key PublicKey, duty Duty) Decision {
	if err := ctx.Err(); err != nil {
		return Fail(err)
	}
	if m.keys == nil {
		return Fail(errNotOpened)
	}
	if genesisValidatorsRoot != m.network {
		return deny(WrongNetwork, "genesis validators root is %#x, want %#x", genesisValidatorsRoot, m.network)
	}
	e := m.entry(key)
	e.mu.Lock()
	defer e.mu.Unlock()
	next, decision := Check(e.state, duty)
	if decision.Answer == Allowed {
		e.state = next
	}
	return decision
}

// Import implements Archive.
func (m *Memory) Import(ctx context.Context, history Interchange) error {
	if err := m.Probe(ctx); err != nil {
		return err
	}
	if history.GenesisValidatorsRoot != m.network {
		return fmt.Errorf("interchange is for genesis validators root %#x, want %#x", history.GenesisValidatorsRoot, m.network)
	}
	for key, state := range history.States {
		e := m.entry(key)
		e.mu.Lock()
		e.state = Merge(e.state, state)
		e.mu.Unlock()
	}
	return nil
}

// Export implements Archive.
func (m *Memory) Export(ctx context.Context, keys []PublicKey) (Interchange, error) {
	if err := m.Probe(ctx); err != nil {
		return Interchange{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if keys == nil {
		keys = slices.Collect(maps.Keys(m.keys))
	}
	history := Interchange{GenesisValidatorsRoot: m.network, States: make(map[PublicKey]State, len(keys))}
	for _, key := range keys {
		if e := m.keys[key]; e != nil {
			e.mu.Lock()
			history.States[key] = e.state
			e.mu.Unlock()
		}
	}
	return history, nil
}

// Probe implements Prober.
func (m *Memory) Probe(ctx context.Context) error {
	if m.keys == nil {
		return errNotOpened
	}
	return ctx.Err()
}

// Advance implements Versioner.
func (m *Memory) Advance(ctx context.Context, name string, version uint64) error {
	if err := m.Probe(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := CheckVersion(name, m.versions[name], version); err != nil {
		return err
	}
	m.versions[name] = version
	return nil
}
