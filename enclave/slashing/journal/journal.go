// Package journal is the slashing store that keeps its history on the parent's
// disk: a chain of sealed records, each durable before the duties in it are signed.
//
// The parent is not believed in anything but one: that what it acknowledges is on
// its disk. It cannot read a record, change one, leave one out or put one in
// (AES-256-GCM, and each record names the digest of the one before), nor pass off
// another bundle's or network's journal as this one's. It can lose the journal's
// end, or bring back an older copy; what a start then believes is the business of
// slashing.Guard, to which Head gives what was read. While a Store lives, the
// parent's head must be the one the Store knows: if ever it is another, the Store
// signs nothing more.
//
// Duties that come while a record is on its way gather, and share the next one.
package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal/wire"
)

// Defaults of a Config.
const (
	// DefaultTimeout leaves most of a slot's first third, 4 seconds, to the duty.
	DefaultTimeout = 3 * time.Second
	// DefaultCompactAfter is what a start reads beside a snapshot, in bytes: some
	// ten thousand records of a single duty.
	DefaultCompactAfter = 4 << 20
)

// Config says where the journal is and whose it is.
type Config struct {
	Dial    func(context.Context) (net.Conn, error) // connects to the parent's server
	Key     secret.Bytes                            // 32 bytes, the bundle's slashing key; not kept
	Name    string                                  // the bundle's, 1 to 64 of [a-z0-9-]
	Network slashing.Root                           // genesis validators root
	Log     *slog.Logger                            // nil for none

	// Timeout bounds every message to and from the parent, and how long a duty
	// waits to become durable. 0 means DefaultTimeout. Megabytes have longer.
	Timeout time.Duration
	// CompactAfter is how many bytes of records follow a snapshot at least before
	// the next. 0 means DefaultCompactAfter.
	CompactAfter int
}

func (c *Config) check() error {
	if c.Dial == nil {
		return errors.New("journal: no way to connect to the parent")
	}
	if n := c.Key.Len(); n != keySize {
		return fmt.Errorf("journal: slashing key has %d bytes, want %d", n, keySize)
	}
	if c.Timeout < 0 || c.CompactAfter < 0 {
		return errors.New("journal: timeout or compaction limit is negative")
	}
	return checkName(c.Name)
}

func (c *Config) defaults() {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.CompactAfter == 0 {
		c.CompactAfter = DefaultCompactAfter
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

var (
	_ slashing.Archive   = (*Store)(nil)
	_ slashing.Prober    = (*Store)(nil)
	_ slashing.Versioner = (*Store)(nil)
)

var (
	errNotOpened = errors.New("the slashing journal was not opened")
	errClosed    = errors.New("the slashing journal is closed")
)

// Store is an open journal. The zero value answers Failed.
type Store struct {
	network slashing.Root
	opened  wire.Position
	timeout time.Duration
	writer  *writer

	mu       sync.Mutex
	last     wire.Position // acknowledged
	states   map[slashing.PublicKey]mark[slashing.State]
	versions map[string]mark[uint64]
	next     *batch // gathers what is not sealed yet; nil if there is nothing
	link     error  // why there is no connection now
	over     error  // why nothing will be recorded any more
	ended    chan struct{}
}

// mark is the most forbidding thing known of a key or bundle, durable or not.
type mark[T any] struct {
	value T
	saved *saved
}

// saved tells when something is durable. Nil is durable since the start.
type saved struct{ done chan struct{} }

// batch gathers what will be one record.
type batch struct {
	payload
	saved *saved
}

// Open reads the journal back, checks all of it, and keeps the connection for
// what follows. A journal without any record is a new one. An incomplete last
// record, which was never acknowledged, is logged; anything else that is not as it
// was written is an error that says what and where.
//
// ctx bounds Open alone. The Store works until Close.
func Open(ctx context.Context, config Config) (*Store, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.defaults()
	id := identity{config.Name, config.Network}
	sealer, err := newSealer(id, config.Key.Reveal())
	if err != nil {
		return nil, err
	}
	connection, head, err := dial(ctx, config.Dial, config.Timeout)
	if err != nil {
		return nil, err
	}
	read := newChain(id, config.Key.Reveal())
	defer connection.closeAtEnd(ctx)()
	if err := connection.readBack(read, head.Position); err != nil {
		_ = connection.conn.Close()
		return nil, err
	}
	if head.Torn > 0 {
		config.Log.Warn("the journal ended in an incomplete record, which was never acknowledged", "bytes", head.Torn, "after", read.head.Sequence)
	}
	return start(config, sealer, connection, read), nil
}

// start makes the Store that goes on from what was read.
func start(config Config, sealer *sealer, connection *link, read *chain) *Store {
	s := &Store{
		network:  config.Network,
		opened:   read.head,
		last:     read.head,
		timeout:  config.Timeout,
		states:   make(map[slashing.PublicKey]mark[slashing.State], len(read.states)),
		versions: make(map[string]mark[uint64], len(read.versions)),
		ended:    make(chan struct{}),
	}
	for key, state := range read.states {
		s.states[key] = mark[slashing.State]{value: state}
	}
	for name, version := range read.versions {
		s.versions[name] = mark[uint64]{value: version}
	}
	s.writer = newWriter(s, config, sealer, read)
	s.writer.start(connection)
	return s
}

// Close ends the store and its connection. What waits to be durable fails.
func (s *Store) Close() {
	if s.writer != nil {
		s.end(errClosed)
		s.writer.stop()
	}
}

// Head returns the digest and sequence number of the last record as Open read it,
// zero if there was none.
func (s *Store) Head() (digest [32]byte, sequence uint64) {
	return s.opened.Digest, s.opened.Sequence
}

// advanceTo notes that a record was acknowledged.
func (s *Store) advanceTo(head wire.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = head
}

// Last returns the digest and sequence number of the last record that the parent has
// acknowledged, zero if there was none. Who learns it from the enclave, and not from
// the parent, can tell at the next start whether the journal is current.
func (s *Store) Last() (digest [32]byte, sequence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last.Digest, s.last.Sequence
}

// Record implements slashing.Store. A duty is checked against all that was ever
// asked for with success, durable or not; so one that failed forbids what conflicts
// with it, and may itself be asked for again. ctx or Config.Timeout ends the wait.
func (s *Store) Record(ctx context.Context, genesisValidatorsRoot slashing.Root, key slashing.PublicKey, duty slashing.Duty) slashing.Decision {
	if err := ctx.Err(); err != nil {
		return slashing.Fail(err)
	}
	saved, decision := s.decide(genesisValidatorsRoot, key, duty)
	if decision.Answer != slashing.Allowed {
		return decision
	}
	if err := s.wait(ctx, saved, s.timeout); err != nil {
		return slashing.Fail(err)
	}
	return decision
}

func (s *Store) decide(network slashing.Root, key slashing.PublicKey, duty slashing.Duty) (*saved, slashing.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unusable(); err != nil {
		return nil, slashing.Fail(err)
	}
	if network != s.network {
		return nil, slashing.Decision{Answer: slashing.Denied, Reason: slashing.WrongNetwork,
			Err: fmt.Errorf("genesis validators root is %#x, want %#x", network, s.network)}
	}
	old, known := s.states[key]
	next, decision := slashing.Check(old.value, duty)
	if decision.Answer != slashing.Allowed || next == old.value {
		return old.saved, decision
	}
	if !known && len(s.states) >= maxKeys {
		return nil, slashing.Fail(errTooManyKeys)
	}
	return s.change(key, next), decision
}

var errTooManyKeys = fmt.Errorf("the slashing journal would remember more than %d keys", maxKeys)

// unusable returns why nothing can be recorded any more. Callers hold mu.
func (s *Store) unusable() error {
	if s.writer == nil {
		return errNotOpened
	}
	return s.over
}

// change sets a key's state, here and in the next record. Callers hold mu.
func (s *Store) change(key slashing.PublicKey, state slashing.State) *saved {
	b := s.gather()
	b.states[key] = state
	s.states[key] = mark[slashing.State]{state, b.saved}
	return b.saved
}

// gather returns the batch of the next record. Callers hold mu.
func (s *Store) gather() *batch {
	if s.next == nil {
		s.next = &batch{
			payload: payload{make(map[string]uint64), make(map[slashing.PublicKey]slashing.State)},
			saved:   &saved{make(chan struct{})},
		}
		s.writer.wake()
	}
	return s.next
}

// wait returns nil once something is durable.
func (s *Store) wait(ctx context.Context, saved *saved, patience time.Duration) error {
	if saved == nil {
		return nil
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-saved.done:
		return nil
	case <-s.ended:
		return s.Probe(context.WithoutCancel(ctx))
	case <-ctx.Done():
		return s.uncertain(ctx.Err())
	case <-timer.C:
		return s.uncertain(fmt.Errorf("no acknowledgement within %v", patience))
	}
}

// uncertain explains a wait that ended too early.
func (s *Store) uncertain(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != nil {
		return fmt.Errorf("the slashing journal: %w (%w)", err, s.link)
	}
	return fmt.Errorf("the slashing journal: %w", err)
}

// Import implements slashing.Archive: all that it changes is in one record. If it
// returns an error, the history may be recorded, wholly or not at all, and until
// the store is opened again it forbids what it would forbid.
func (s *Store) Import(ctx context.Context, history slashing.Interchange) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	waits, err := s.merge(history)
	if err != nil {
		return err
	}
	patience := within(s.timeout, len(history.States)*maxKeyEntry)
	for saved := range waits {
		if err := s.wait(ctx, saved, patience); err != nil {
			return err
		}
	}
	return nil
}

// merge applies history and returns what must be durable before it is imported:
// its own record, and those still on their way that forbade all of it already.
func (s *Store) merge(history slashing.Interchange) (map[*saved]bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unusable(); err != nil {
		return nil, err
	}
	if history.GenesisValidatorsRoot != s.network {
		return nil, fmt.Errorf("interchange is for genesis validators root %#x, want %#x", history.GenesisValidatorsRoot, s.network)
	}
	if s.union(history) > maxKeys {
		return nil, errTooManyKeys
	}
	waits := make(map[*saved]bool)
	for key, state := range history.States {
		old, known := s.states[key]
		merged := normal(slashing.Merge(old.value, normal(state)))
		if known && merged == old.value {
			waits[old.saved] = true
		} else {
			waits[s.change(key, merged)] = true
		}
	}
	return waits, nil
}

// union counts the keys that the store would know. Callers hold mu.
func (s *Store) union(history slashing.Interchange) int {
	n := len(s.states)
	for key := range history.States {
		if _, known := s.states[key]; !known {
			n++
		}
	}
	return n
}

// Export implements slashing.Archive. It needs no parent, and works as well when
// nothing can be recorded any more: the history may be wanted most then. What is
// not durable yet is part of it.
func (s *Store) Export(ctx context.Context, keys []slashing.PublicKey) (slashing.Interchange, error) {
	if err := ctx.Err(); err != nil {
		return slashing.Interchange{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writer == nil {
		return slashing.Interchange{}, errNotOpened
	}
	history := slashing.Interchange{GenesisValidatorsRoot: s.network, States: make(map[slashing.PublicKey]slashing.State)}
	if keys == nil {
		for key, m := range s.states {
			history.States[key] = m.value
		}
	}
	for _, key := range keys {
		if m, known := s.states[key]; known {
			history.States[key] = m.value
		}
	}
	return history, nil
}

// Probe implements slashing.Prober. It tells why there is no connection to the
// parent now, or why there will be nothing more to sign.
func (s *Store) Probe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unusable(); err != nil {
		return err
	}
	return s.link
}

// Advance implements slashing.Versioner.
func (s *Store) Advance(ctx context.Context, name string, version uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	saved, err := s.raise(name, version)
	if err != nil {
		return err
	}
	return s.wait(ctx, saved, s.timeout)
}

func (s *Store) raise(name string, version uint64) (*saved, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if version == 0 {
		return nil, fmt.Errorf("bundle %q has version 0, want 1 or more", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unusable(); err != nil {
		return nil, err
	}
	seen, known := s.versions[name]
	if err := slashing.CheckVersion(name, seen.value, version); err != nil || version == seen.value {
		return seen.saved, err
	}
	if !known && len(s.versions) >= maxBundles {
		return nil, fmt.Errorf("the slashing journal would remember more than %d bundles", maxBundles)
	}
	b := s.gather()
	b.versions[name] = version
	s.versions[name] = mark[uint64]{version, b.saved}
	return b.saved, nil
}

// gathered counts the keys whose state will change with the next record.
func (s *Store) gathered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		return 0
	}
	return len(s.next.states)
}

// take returns what has gathered, nil if nothing has. Everything the store knows
// is in whole, if that is asked for.
func (s *Store) take(whole bool) *batch {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.next
	s.next = nil
	if b == nil || !whole {
		return b
	}
	b.payload = payload{make(map[string]uint64, len(s.versions)), make(map[slashing.PublicKey]slashing.State, len(s.states))}
	for key, m := range s.states {
		b.states[key] = m.value
	}
	for name, m := range s.versions {
		b.versions[name] = m.value
	}
	return b
}

// end stops the store for good, for a reason.
func (s *Store) end(reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over == nil {
		s.over = reason
		close(s.ended)
	}
}

func (s *Store) setLink(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = err
}
