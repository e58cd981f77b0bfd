package slashing

import (
	"context"
	"fmt"
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

var _ Store = (*Memory)(nil)

// Memory is a Store that forgets everything when the process ends, so it protects
// only against what one process is asked for. The zero value answers Failed.
type Memory struct {
	network Root
	mu      sync.Mutex // guards the map, not the entries
	keys    map[PublicKey]*entry
}

type entry struct {
	mu    sync.Mutex
	state State
}

// NewMemory returns an empty store for the network with a genesis validators root.
func NewMemory(genesisValidatorsRoot Root) *Memory {
	return &Memory{network: genesisValidatorsRoot, keys: make(map[PublicKey]*entry)}
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
		return Fail(fmt.Errorf("slashing store was not opened"))
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

// Import merges an interchange's history into the store. It refuses another
// network's, whole.
func (m *Memory) Import(history Interchange) error {
	if m.keys == nil {
		return fmt.Errorf("slashing store was not opened")
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

// Export returns what the store remembers, as an interchange.
func (m *Memory) Export() Interchange {
	m.mu.Lock()
	defer m.mu.Unlock()
	history := Interchange{GenesisValidatorsRoot: m.network, States: make(map[PublicKey]State, len(m.keys))}
	for key, e := range m.keys {
		e.mu.Lock()
		history.States[key] = e.state
		e.mu.Unlock()
	}
	return history
}
