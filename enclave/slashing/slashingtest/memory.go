package slashingtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"holdfast/enclave/slashing"
)

var (
	_ slashing.Archive   = (*Memory)(nil)
	_ slashing.Prober    = (*Memory)(nil)
	_ slashing.Versioner = (*Memory)(nil)
)

var errNotOpened = errors.New("slashing store was not opened")

// Memory is a Store that forgets everything when the process ends, so it protects
// only against what one process is asked for. The zero value answers Failed.
type Memory struct {
	network  slashing.Root
	mu       sync.Mutex // guards the maps, not the entries
	keys     map[slashing.PublicKey]*entry
	versions map[string]uint64 // the highest seen of each bundle
}

type entry struct {
	mu    sync.Mutex
	state slashing.State
}

// NewMemory returns an empty store for the network with a genesis validators root.
func NewMemory(genesisValidatorsRoot slashing.Root) *Memory {
	return &Memory{
		network:  genesisValidatorsRoot,
		keys:     make(map[slashing.PublicKey]*entry),
		versions: make(map[string]uint64),
	}
}

// entry returns a key's entry, made on first use.
func (m *Memory) entry(key slashing.PublicKey) *entry {
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
func (m *Memory) Record(ctx context.Context, genesisValidatorsRoot slashing.Root, key slashing.PublicKey, duty slashing.Duty) slashing.Decision {
	if err := ctx.Err(); err != nil {
		return slashing.Fail(err)
	}
	if m.keys == nil {
		return slashing.Fail(errNotOpened)
	}
	if genesisValidatorsRoot != m.network {
		return slashing.Decision{Answer: slashing.Denied, Reason: slashing.WrongNetwork,
			Err: fmt.Errorf("genesis validators root is %#x, want %#x", genesisValidatorsRoot, m.network)}
	}
	e := m.entry(key)
	e.mu.Lock()
	defer e.mu.Unlock()
	next, decision := slashing.Check(e.state, duty)
	if decision.Answer == slashing.Allowed {
		e.state = next
	}
	return decision
}

// Import implements Archive.
func (m *Memory) Import(ctx context.Context, history slashing.Interchange) error {
	if err := m.Probe(ctx); err != nil {
		return err
	}
	if history.GenesisValidatorsRoot != m.network {
		return fmt.Errorf("interchange is for genesis validators root %#x, want %#x", history.GenesisValidatorsRoot, m.network)
	}
	for key, state := range history.States {
		e := m.entry(key)
		e.mu.Lock()
		e.state = slashing.Merge(e.state, state)
		e.mu.Unlock()
	}
	return nil
}

// Export implements Archive.
func (m *Memory) Export(ctx context.Context, keys []slashing.PublicKey) (slashing.Interchange, error) {
	if err := m.Probe(ctx); err != nil {
		return slashing.Interchange{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if keys == nil {
		keys = slices.Collect(maps.Keys(m.keys))
	}
	history := slashing.Interchange{GenesisValidatorsRoot: m.network, States: make(map[slashing.PublicKey]slashing.State, len(keys))}
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
	if err := slashing.CheckVersion(name, m.versions[name], version); err != nil {
		return err
	}
	m.versions[name] = version
	return nil
}
