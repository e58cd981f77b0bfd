package dynamo

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
)

const (
	// requestTimeout bounds one request. DynamoDB answers in some ten milliseconds.
	requestTimeout = 3 * time.Second

	// maxAttempts bounds how often one request is sent, and firstPause is the longest wait before the
	// second time; each pause after it may be three times as long.
	maxAttempts = 4
	firstPause  = 50 * time.Millisecond

	maxBatchRead  = 100 // keys of a BatchGetItem (API Reference)
	maxBatchWrite = 100 // items of a TransactWriteItems (API Reference)
)

// newClient makes an SDK client that takes nothing from its surroundings, and sends each request once: retries
// are ours.
func newClient(c Config, region string) (*dynamodb.Client, error) {
	base, err := BaseURL(c.Table, c.Endpoint)
	if err != nil {
		return nil, err
	}
	if c.Client == nil || c.Credentials == nil {
		return nil, errors.New("no HTTP client or no credentials")
	}
	return dynamodb.New(dynamodb.Options{
		Region:                region,
		BaseEndpoint:          aws.String(base),
		HTTPClient:            c.Client,
		Credentials:           c.Credentials,
		Retryer:               aws.NopRetryer{},
		AccountIDEndpointMode: aws.AccountIDEndpointModeDisabled, // egress leads to one host
	}), nil
}

// An operation is a method of the SDK's client.
type operation[In, Out any] func(context.Context, *In, ...func(*dynamodb.Options)) (*Out, error)

// call sends a request, again while the error may pass. Every request of the store may be repeated: reads, and
// writes on a condition.
func call[In, Out any](ctx context.Context, send operation[In, Out], in *In) (*Out, error) {
	for attempt := range maxAttempts {
		out, err := once(ctx, send, in)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w, after: %w", context.Cause(ctx), explain(err))
		}
		if attempt == maxAttempts-1 || !mayPass(err) {
			return nil, explain(err)
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
	panic("unreachable: the last attempt returns")
}

func once[In, Out any](ctx context.Context, send operation[In, Out], in *In) (*Out, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return send(ctx, in)
}

// pause waits a random time that grows with each attempt.
func pause(ctx context.Context, attempt int) error {
	longest := firstPause
	for range attempt {
		longest *= 3
	}
	select {
	case <-time.After(rand.N(longest)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// mayPass tells whether the same request may succeed later.
func mayPass(err error) bool {
	var conflict *types.TransactionConflictException
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &conflict) ||
		retry.IsErrorRetryables(retry.DefaultRetryables).IsErrorRetryable(err) == aws.TrueTernary
}

// explain says what an operator can do about an error of DynamoDB. Nil stays nil.
func explain(err error) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return err
	}
	switch api.ErrorCode() {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "Throttling", "RequestLimitExceeded":
		return fmt.Errorf("the table is throttled (hint: give it on-demand capacity): %w", err)
	case "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "ExpiredToken", "IncompleteSignature",
		"MissingAuthenticationToken", "InvalidClientTokenId":
		return fmt.Errorf("the bundle's store credentials are refused (hint: are they expired or deleted?): %w", err)
	case "AccessDeniedException":
		return fmt.Errorf("the bundle's store credentials may not do this: %w", err)
	case "ResourceNotFoundException":
		return fmt.Errorf("there is no such table: %w", err)
	}
	return err
}

// condition lets a write happen only if the item is exactly the one known.
func condition(known *record) (expression *string, names map[string]string, values map[string]types.AttributeValue) {
	if known == nil {
		return aws.String("attribute_not_exists(#pk)"), map[string]string{"#pk": attributeKey}, nil
	}
	return aws.String("#record = :record AND #mac = :mac"),
		map[string]string{"#record": attributeRecord, "#mac": attributeMAC},
		map[string]types.AttributeValue{
			":record": &types.AttributeValueMemberB{Value: known.encoded},
			":mac":    &types.AttributeValueMemberB{Value: known.mac},
		}
}

// put writes a new record over the known one. It returns false, and takes what the table has, if that was
// another; any error means that it was written or not.
func (s *Store) put(ctx context.Context, e *entry, payload []byte) (written bool, err error) {
	next := s.newRecord(e.partition, e.known, payload)
	in := &dynamodb.PutItemInput{
		TableName:                           aws.String(s.table),
		Item:                                next.item(e.partition),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
	in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = condition(e.known)
	_, err = call(ctx, s.client.PutItem, in)
	if refused, ok := errors.AsType[*types.ConditionalCheckFailedException](err); ok {
		return false, s.adopt(e, refused.Item)
	}
	if err != nil {
		return false, err
	}
	e.known = next
	return true, nil
}

// refresh reads the items of entries that the caller owns, at most maxBatchRead of them. Suspects are records
// that cannot be trusted.
func (s *Store) refresh(ctx context.Context, entries []*entry) (suspects []error, err error) {
	items, err := s.read(ctx, entries)
	if err != nil {
		return nil, fmt.Errorf("reading slashing records: %w", err)
	}
	for _, e := range entries {
		if err := s.adopt(e, items[e.partition]); err != nil {
			suspects = append(suspects, err)
		}
	}
	return suspects, nil
}

// read returns the items of entries by partition, asking again for those that the table left out.
func (s *Store) read(ctx context.Context, entries []*entry) (map[string]map[string]types.AttributeValue, error) {
	var keys []map[string]types.AttributeValue
	for _, e := range entries {
		keys = append(keys, itemKey(e.partition))
	}
	items := make(map[string]map[string]types.AttributeValue, len(entries))
	for attempt := range maxAttempts {
		out, err := call(ctx, s.client.BatchGetItem, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
			s.table: {Keys: keys, ConsistentRead: aws.Bool(true)},
		}})
		if err != nil {
			return nil, err
		}
		for _, found := range out.Responses {
			for _, item := range found {
				items[stringAttribute(item, attributeKey)] = item
			}
		}
		keys = nil
		for _, left := range out.UnprocessedKeys {
			keys = append(keys, left.Keys...)
		}
		if len(keys) == 0 {
			return items, nil
		}
		if err := pause(ctx, attempt); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the table left out %d keys after %d requests (hint: give it on-demand capacity)", len(keys), maxAttempts)
}

func stringAttribute(item map[string]types.AttributeValue, name string) string {
	if s, ok := item[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// batches yields parts of at most size.
func batches[T any](all []T, size int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(all) > 0 {
			n := min(size, len(all))
			if !yield(all[:n]) {
				return
			}
			all = all[n:]
		}
	}
}
