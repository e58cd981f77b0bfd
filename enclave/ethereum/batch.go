package ethereum

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
)

// The batch endpoint is the one proposed in ethereum/remote-signing-api pull
// request 29: one message, signed with many keys. Its root is hashed to the curve
// once, which is half the work of a signature.
const (
	// maxBatch bounds the keys of one request. That many signatures take some
	// seconds of one processor.
	maxBatch = 10_000

	// batchWorkers is how many duties of one batch are recorded at once. More
	// would keep the requests of others waiting behind the batch's signatures.
	batchWorkers = 16
)

// batchTypes are the messages that many validators sign alike.
var batchTypes = []signing.Type{
	signing.AggregationSlot,
	signing.Attestation,
	signing.Generic,
	signing.RandaoReveal,
	signing.SyncCommitteeMessage,
	signing.SyncCommitteeSelectionProof,
}

type batchResult struct {
	Identifier string      `json:"identifier"`
	Signature  string      `json:"signature,omitempty"`
	Error      *batchError `json:"error,omitempty"`
}

type batchError struct {
	Code    int    `json:"code"` // the status that the key alone would have got
	Message string `json:"message"`
}

func (s *Service) serveBatch(w http.ResponseWriter, r *http.Request) {
	signer := s.loaded.Load()
	if signer == nil || !signer.Batch {
		writeError(w, http.StatusNotFound, errors.New("signing in batches is not turned on for this signer"))
		return
	}
	start := time.Now()
	client := signer.Client(r)
	body, no := readBody(w, r)
	var batch batch
	if no == nil {
		batch, no = signer.readBatch(body)
	}
	if no != nil {
		s.meter.answered(batch.message.Type, no, client.Name, time.Since(start))
		s.logRefusal(r.Context(), no, batch.message.Type, "")
		writeError(w, no.status, no.err)
		return
	}
	writeJSON(w, http.StatusOK, s.signBatch(r.Context(), signer, &client, &batch))
}

type batch struct {
	identifiers []string
	message     signing.Message
}

func (s *signer) readBatch(body []byte) (batch, *refusal) {
	var b batch
	o, err := jsontree.Parse(body)
	if err != nil {
		return b, refuse(http.StatusBadRequest, malformed, err)
	}
	b.identifiers = o.Texts("identifiers", maxBatch)
	request := o.Object("signing_request")
	if o.Err() != nil {
		return b, refuse(http.StatusBadRequest, malformed, o.Err())
	}
	message, no := s.parse(request)
	if no != nil {
		return b, no
	}
	b.message = message
	if err := b.check(); err != nil {
		return b, refuse(http.StatusBadRequest, malformed, err)
	}
	return b, nil
}

// check refuses a batch of nothing, of a type that is not for batches, and one
// that names a key twice, in whatever spelling.
func (b *batch) check() error {
	if len(b.identifiers) == 0 {
		return errors.New("identifiers: got none, want at least one")
	}
	if !slices.Contains(batchTypes, b.message.Type) {
		return fmt.Errorf("type %s is not signed in batches", b.message.Type)
	}
	seen := make(map[bls.PublicKey]bool, len(b.identifiers))
	for _, identifier := range b.identifiers {
		public, err := bls.ParsePublicKey(identifier)
		if err != nil {
			continue // that key's own error
		}
		if seen[public] {
			return fmt.Errorf("identifiers: %v comes twice", public)
		}
		seen[public] = true
	}
	return nil
}

// signBatch signs a message with every key that may, and returns the results in
// the order of the identifiers.
func (s *Service) signBatch(ctx context.Context, signer *signer, client *policy.Client, b *batch) []batchResult {
	point := sync.OnceValue(func() bls.Point { return bls.HashToPoint(b.message.SigningRoot) })
	results := make([]batchResult, len(b.identifiers))
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(batchWorkers, len(results)) {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(results)); i = next.Add(1) - 1 {
				results[i] = s.signOne(ctx, signer, client, b.identifiers[i], &b.message, point)
			}
		})
	}
	group.Wait()
	return results
}

func (s *Service) signOne(ctx context.Context, signer *signer, client *policy.Client, identifier string, message *signing.Message, point func() bls.Point) batchResult {
	start := time.Now()
	signature, no := signer.sign(ctx, client, identifier, message, point)
	s.meter.answered(message.Type, no, client.Name, time.Since(start))
	if no != nil {
		s.logRefusal(ctx, no, message.Type, identifier)
		return batchResult{Identifier: identifier, Error: &batchError{no.status, no.err.Error()}}
	}
	return batchResult{Identifier: identifier, Signature: signature.String()}
}
