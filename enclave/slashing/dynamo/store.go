// Package dynamo keeps slashing protection in a DynamoDB table, so that it outlives the machine and holds
// across several enclaves that have the same keys.
//
// One item is one key's record: what it has signed, a revision that only rises, and a MAC under a key from
// the bundle. A duty is one request: a write on the condition that the item is exactly the one this enclave
// saw last. If another enclave has written since, the refusal brings its item, and the duty is decided again
// by it. Only a write that the table acknowledged, or a record read from it, counts as durable.
//
// # What is trusted
//
// DynamoDB, reached by TLS that ends in the enclave, is trusted to keep what it acknowledged. Whoever else may write the table could put an old item back. Its MAC would be right, so three
// things guard against that: the credentials are sealed in the bundle, the table is named by its full ARN, and
// an enclave that has seen a newer revision refuses the older one. A record with a wrong MAC, an older
// revision or no longer there fails every duty of its key and is never overwritten; when the table is put
// right, the key goes on.
//
// # What an uncertain answer means
//
// A request whose answer is lost may have been applied, or may still be, when a host that held it back lets it
// go. Neither is harmful. The duty has failed, so nothing was signed for it; the condition on the previous
// record keeps a late write from undoing a newer one; and if it is applied, the next write is refused with the
// item of our own, which then forbids what it should. The same makes retries right: a retry that is refused
// because the first try was applied finds the very duty recorded, and signing that again is allowed.
package dynamo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"golang.org/x/sync/errgroup"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	"holdfast/verify/envelope"
)

const (
	// dutyTimeout bounds a duty with all its requests: well within an attestation's four seconds of slot
	// that remain, were there no answer at all before.
	dutyTimeout = 8 * time.Second

	// maxDecisions bounds how often a duty is decided again because others wrote the same key. Each time
	// another enclave has made progress.
	maxDecisions = 8

	// parallelReads keeps Open short: a hundred requests for 10,000 keys.
	parallelReads = 8
)

// Config says which table, and as whom.
type Config struct {
	Table    string       // full ARN; its region is the one that requests are signed for
	Endpoint string       // "https://host[:port]", only for what is not AWS; empty is the region's own
	Client   *http.Client // how requests leave: the enclave's egress, which ends TLS

	Credentials aws.CredentialsProvider // sealed in the bundle; never the parent's
	Key         secret.Bytes            // 32 bytes, from the bundle; what the MACs are made under is derived from it

	Network slashing.Root        // genesis validators root
	Keys    []slashing.PublicKey // read at Open, so that their first duty costs one request too
	Log     *slog.Logger         // nil is silent
}

// A Store is a slashing.Archive, Prober and Versioner. The zero value answers Failed.
type Store struct {
	client  *dynamodb.Client
	table   string // full ARN: what requests name and MACs are bound to
	name    string // what DescribeTable and transactions name, see checkTable
	network slashing.Root
	mac     []byte
	log     *slog.Logger

	mu      sync.Mutex // guards the map, not the entries
	entries map[string]*entry
}

var (
	_ slashing.Archive   = (*Store)(nil)
	_ slashing.Prober    = (*Store)(nil)
	_ slashing.Versioner = (*Store)(nil)
)

var errNotOpened = errors.New("slashing store was not opened")

// An entry is what this enclave knows of one item. Its owner has taken busy.
type entry struct {
	partition string // the item's key
	busy      chan struct{}
	known     *record // last acknowledged or read; nil if none was
}

// Open checks the table, finishes an import that was cut short, and reads the records of Config.Keys. A record
// that cannot be trusted is logged, and fails its key's duties; everything else that is wrong is an error.
func Open(ctx context.Context, c Config) (*Store, error) {
	s, err := newStore(c)
	if err != nil {
		return nil, fmt.Errorf("slashing store in DynamoDB: %w", err)
	}
	if err := s.open(ctx, c.Keys); err != nil {
		return nil, fmt.Errorf("slashing store in DynamoDB: %w", err)
	}
	return s, nil
}

func newStore(c Config) (*Store, error) {
	table, err := envelope.ParseARN(c.Table, envelope.DynamoDBTable)
	if err != nil {
		return nil, fmt.Errorf("table: %w", err)
	}
	client, err := newClient(c, table.Region)
	if err != nil {
		return nil, err
	}
	mac, err := deriveKey(c.Key)
	if err != nil {
		return nil, err
	}
	log := c.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Store{client: client, table: c.Table, name: table.ID, network: c.Network, mac: mac, log: log, entries: make(map[string]*entry)}, nil
}

func (s *Store) open(ctx context.Context, keys []slashing.PublicKey) error {
	if err := s.checkTable(ctx); err != nil {
		return err
	}
	if err := s.finishImports(ctx); err != nil {
		return fmt.Errorf("finishing an import: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for batch := range batches(s.entriesOf(keys), maxBatchRead) {
		group.Go(func() error {
			_, err := s.refresh(ctx, batch) // suspects are logged, and stay unknown
			return err
		})
	}
	return group.Wait()
}

// entry returns an item's entry, made on first use.
func (s *Store) entry(partition string) *entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[partition]
	if e == nil {
		e = &entry{partition: partition, busy: make(chan struct{}, 1)}
		s.entries[partition] = e
	}
	return e
}

// entriesOf returns the entries of keys, each once, in the order in which they may be locked.
func (s *Store) entriesOf(keys []slashing.PublicKey) []*entry {
	sorted := slices.SortedFunc(slices.Values(keys), func(a, b slashing.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	var entries []*entry
	for _, key := range slices.Compact(sorted) {
		entries = append(entries, s.entry(keyPartition(s.network, key)))
	}
	return entries
}

// lock takes the entry, unless ctx ends first.
func (e *entry) lock(ctx context.Context) error {
	select {
	case e.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (e *entry) unlock() { <-e.busy }

// lockAll takes entries in the order that entriesOf gives, so that no two callers wait for each other.
func lockAll(ctx context.Context, entries []*entry) (unlock func(), err error) {
	taken := 0
	unlock = func() {
		for _, e := range entries[:taken] {
			e.unlock()
		}
	}
	for _, e := range entries {
		if err := e.lock(ctx); err != nil {
			unlock()
			return nil, err
		}
		taken++
	}
	return unlock, nil
}

func (s *Store) ready(ctx context.Context) error {
	if s.client == nil {
		return errNotOpened
	}
	return ctx.Err()
}

// Record implements slashing.Store by one request, or none if what is known already denies the duty or has it
// recorded. When other enclaves write the same key, it takes one more for each that came first.
func (s *Store) Record(ctx context.Context, genesisValidatorsRoot slashing.Root, key slashing.PublicKey, duty slashing.Duty) slashing.Decision {
	if err := s.ready(ctx); err != nil {
		return slashing.Fail(err)
	}
	if genesisValidatorsRoot != s.network {
		return slashing.Decision{
			Answer: slashing.Denied,
			Reason: slashing.WrongNetwork,
			Err:    fmt.Errorf("genesis validators root is %#x, want %#x", genesisValidatorsRoot, s.network),
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, dutyTimeout, fmt.Errorf("the slashing record was not written within %v", dutyTimeout))
	defer cancel()
	e := s.entry(keyPartition(s.network, key))
	if err := e.lock(ctx); err != nil {
		return slashing.Fail(err)
	}
	defer e.unlock()
	return s.decide(ctx, e, duty)
}

// decide applies the rules to what is known of an item and writes the outcome, again if another was faster.
func (s *Store) decide(ctx context.Context, e *entry, duty slashing.Duty) slashing.Decision {
	for range maxDecisions {
		state, err := e.state()
		if err != nil {
			return slashing.Fail(err)
		}
		next, decision := slashing.Check(state, duty)
		if decision.Answer != slashing.Allowed || next == state {
			return decision // what is known is durable
		}
		written, err := s.put(ctx, e, encodeState(next))
		if err != nil {
			return slashing.Fail(fmt.Errorf("recording %v: %w", duty, err))
		}
		if written {
			return decision
		}
	}
	return slashing.Fail(fmt.Errorf("recording %v: others wrote the key's record %d times in a row", duty, maxDecisions))
}

// state returns the state that an entry's record holds. Its owner calls it.
func (e *entry) state() (slashing.State, error) {
	if e.known == nil {
		return slashing.State{}, nil
	}
	state, err := decodeState(e.known.payload)
	if err != nil {
		return slashing.State{}, fmt.Errorf("slashing record %s: %w", e.partition, err)
	}
	return state, nil
}

// Probe implements slashing.Prober by reading an item that is never there.
func (s *Store) Probe(ctx context.Context) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := s.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: aws.String(s.table),
		Key:       itemKey(probePartition(s.network)),
	})
	return explain(err)
}
