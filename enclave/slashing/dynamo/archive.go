package dynamo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/slashing"
)

// An addition is history to be merged into one key's record.
type addition struct {
	key   slashing.PublicKey
	entry *entry
	state slashing.State
}

// Import implements slashing.Archive. History of at most a hundred keys is one transaction. More is first written
// down whole, in one transaction as well, then merged, then struck out: what is cut short after the first step is
// finished by the next large Import or Open of any enclave, and until then the error says so.
func (s *Store) Import(ctx context.Context, history slashing.Interchange) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	if history.GenesisValidatorsRoot != s.network {
		return fmt.Errorf("interchange is for genesis validators root %#x, want %#x", history.GenesisValidatorsRoot, s.network)
	}
	additions := s.additions(history.States)
	if len(additions) > maxBatchWrite {
		return s.importLarge(ctx, additions)
	}
	unlock, err := s.lockAdditions(ctx, additions)
	if err != nil {
		return err
	}
	defer unlock()
	return s.merge(ctx, additions)
}

// additions sorts history by key.
func (s *Store) additions(states map[slashing.PublicKey]slashing.State) []addition {
	var all []addition
	for key, state := range states {
		all = append(all, addition{key, s.entry(keyPartition(s.network, key)), state})
	}
	slices.SortFunc(all, func(a, b addition) int { return strings.Compare(a.entry.partition, b.entry.partition) })
	return all
}

// lockAdditions takes the entries of additions and reads their records afresh. Nothing is changed if one of
// them cannot be trusted.
func (s *Store) lockAdditions(ctx context.Context, additions []addition) (unlock func(), err error) {
	entries := make([]*entry, len(additions))
	for i, a := range additions {
		entries[i] = a.entry
	}
	unlock, err = lockAll(ctx, entries)
	if err != nil {
		return nil, err
	}
	for batch := range batches(entries, maxBatchRead) {
		suspects, err := s.refresh(ctx, batch)
		if err = errors.Join(append(suspects, err)...); err != nil {
			unlock()
			return nil, err
		}
	}
	return unlock, nil
}

// changing returns the additions that say more than the records.
func changing(additions []addition) ([]addition, error) {
	var changes []addition
	for _, a := range additions {
		payload, err := a.merged()
		if err != nil {
			return nil, err
		}
		if payload != nil {
			changes = append(changes, a)
		}
	}
	return changes, nil
}

// merged returns the payload of the merged record, nil if it is the one known.
func (a addition) merged() ([]byte, error) {
	state, err := a.entry.state()
	if err != nil {
		return nil, err
	}
	next := slashing.Merge(state, a.state)
	if next == state {
		return nil, nil
	}
	return encodeState(next), nil
}

// merge writes up to maxBatchWrite merged records, all or none. Where others were faster it merges again.
func (s *Store) merge(ctx context.Context, additions []addition) error {
	return s.transact(ctx, func() ([]write, error) {
		var writes []write
		for _, a := range additions {
			payload, err := a.merged()
			if err != nil {
				return nil, err
			}
			if payload != nil {
				writes = append(writes, write{a.entry, payload})
			}
		}
		return writes, nil
	})
}

// A write is a new payload for an entry that the caller owns.
type write struct {
	entry   *entry
	payload []byte
}

// transact carries out the writes, all or none, and asks for them anew when others wrote first. No writes are
// success: so is a transaction whose answer was lost, once its own records have come back.
func (s *Store) transact(ctx context.Context, writes func() ([]write, error)) error {
	for attempt := range maxDecisions {
		todo, err := writes()
		if err != nil || len(todo) == 0 {
			return err
		}
		records, in := s.transaction(todo)
		_, err = call(ctx, s.client.TransactWriteItems, in)
		if err == nil {
			for i, w := range todo {
				w.entry.known = records[i]
			}
			return nil
		}
		canceled, ok := errors.AsType[*types.TransactionCanceledException](err)
		if !ok {
			return err
		}
		if err := s.adoptReasons(todo, canceled); err != nil {
			return err
		}
		if err := pause(ctx, min(attempt, maxAttempts)); err != nil {
			return err
		}
	}
	return fmt.Errorf("others wrote the same records %d times in a row", maxDecisions)
}

func (s *Store) transaction(todo []write) ([]*record, *dynamodb.TransactWriteItemsInput) {
	records := make([]*record, len(todo))
	in := new(dynamodb.TransactWriteItemsInput)
	for i, w := range todo {
		records[i] = s.newRecord(w.entry.partition, w.entry.known, w.payload)
		put := &types.Put{
			TableName:                           aws.String(s.name),
			Item:                                records[i].item(w.entry.partition),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		}
		put.ConditionExpression, put.ExpressionAttributeNames, put.ExpressionAttributeValues = condition(w.entry.known)
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: put})
	}
	return records, in
}

// adoptReasons takes what the table has instead, and returns an error where the transaction was refused for
// anything that will not pass.
func (s *Store) adoptReasons(todo []write, canceled *types.TransactionCanceledException) error {
	if len(canceled.CancellationReasons) != len(todo) {
		return explain(canceled)
	}
	for i, reason := range canceled.CancellationReasons {
		switch aws.ToString(reason.Code) {
		case "None", "", "TransactionConflict", "ProvisionedThroughputExceeded", "ThrottlingError":
		case "ConditionalCheckFailed":
			if err := s.adopt(todo[i].entry, reason.Item); err != nil {
				return err
			}
		default:
			return explain(canceled)
		}
	}
	return nil
}

// Export implements slashing.Archive. All keys are those of the table, whichever enclave wrote them.
func (s *Store) Export(ctx context.Context, keys []slashing.PublicKey) (slashing.Interchange, error) {
	if err := s.ready(ctx); err != nil {
		return slashing.Interchange{}, err
	}
	if keys == nil {
		var err error
		if keys, err = s.allKeys(ctx); err != nil {
			return slashing.Interchange{}, fmt.Errorf("listing slashing records: %w", err)
		}
	}
	history := slashing.Interchange{GenesisValidatorsRoot: s.network, States: make(map[slashing.PublicKey]slashing.State, len(keys))}
	for batch := range batches(keys, maxBatchRead) {
		if err := s.export(ctx, batch, history.States); err != nil {
			return slashing.Interchange{}, err
		}
	}
	return history, nil
}

func (s *Store) export(ctx context.Context, keys []slashing.PublicKey, states map[slashing.PublicKey]slashing.State) error {
	entries := s.entriesOf(keys)
	unlock, err := lockAll(ctx, entries)
	if err != nil {
		return err
	}
	defer unlock()
	suspects, err := s.refresh(ctx, entries)
	if err = errors.Join(append(suspects, err)...); err != nil {
		return err
	}
	for _, key := range keys {
		e := s.entry(keyPartition(s.network, key))
		if e.known == nil {
			continue
		}
		if states[key], err = e.state(); err != nil {
			return err
		}
	}
	return nil
}

// allKeys returns the keys that have an item, and those that had one when this enclave last looked: if their item
// has gone, Export must not pass over it.
func (s *Store) allKeys(ctx context.Context) ([]slashing.PublicKey, error) {
	keys := make(map[slashing.PublicKey]bool)
	prefix := partition(s.network, keyPrefix)
	in := &dynamodb.ScanInput{
		TableName:                 aws.String(s.table),
		ConsistentRead:            aws.Bool(true),
		ProjectionExpression:      aws.String("#pk"),
		FilterExpression:          aws.String("begins_with(#pk, :prefix)"),
		ExpressionAttributeNames:  map[string]string{"#pk": attributeKey},
		ExpressionAttributeValues: map[string]types.AttributeValue{":prefix": &types.AttributeValueMemberS{Value: prefix}},
	}
	for {
		out, err := call(ctx, s.client.Scan, in)
		if err != nil {
			return nil, err
		}
		for _, item := range out.Items {
			key, err := parseKey(strings.TrimPrefix(stringAttribute(item, attributeKey), prefix))
			if err != nil {
				return nil, err
			}
			keys[key] = true
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; len(in.ExclusiveStartKey) == 0 {
			break
		}
	}
	s.addKnown(keys, prefix)
	return slices.Collect(maps.Keys(keys)), nil
}

// addKnown adds the keys that this enclave has asked about. Those that never had a record are left out later.
func (s *Store) addKnown(keys map[slashing.PublicKey]bool, prefix string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for partition := range s.entries {
		digits, ok := strings.CutPrefix(partition, prefix)
		if !ok {
			continue
		}
		if key, err := parseKey(digits); err == nil {
			keys[key] = true
		}
	}
}

func parseKey(digits string) (slashing.PublicKey, error) {
	key, err := hex.DecodeString(digits)
	if err != nil || len(key) != len(slashing.PublicKey{}) {
		return slashing.PublicKey{}, fmt.Errorf("an item is named %q, want a public key", digits)
	}
	return slashing.PublicKey(key), nil
}
