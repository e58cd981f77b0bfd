package dynamo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/slashing/dynamo"
)

// A network between store and table that counts requests and does what a test says with each.
type wire struct {
	next http.RoundTripper

	mu     sync.Mutex
	counts map[string]int // by operation
	fault  func(operation string, req *http.Request, next http.RoundTripper) (*http.Response, error)
}

func newWire() *wire {
	return &wire{next: &http.Transport{MaxIdleConnsPerHost: 64}, counts: make(map[string]int)}
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	_, operation, _ := strings.Cut(req.Header.Get("X-Amz-Target"), ".")
	w.mu.Lock()
	w.counts[operation]++
	fault := w.fault
	w.mu.Unlock()
	if fault != nil {
		return fault(operation, req, w.next)
	}
	return w.next.RoundTrip(req)
}

// set puts a fault in place, nil for none, and forgets the counts.
func (w *wire) set(fault func(string, *http.Request, http.RoundTripper) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = fault
	clear(w.counts)
}

func (w *wire) count() (all int, byOperation map[string]int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	byOperation = make(map[string]int)
	for operation, n := range w.counts {
		all += n
		byOperation[operation] = n
	}
	return all, byOperation
}

// openOn opens a store whose requests pass through a wire.
func openOn(t testing.TB, c dynamo.Config) (*dynamo.Store, *wire) {
	t.Helper()
	w := newWire()
	c.Client = &http.Client{Transport: w}
	s := open(t, c)
	w.set(nil)
	return s, w
}

var errLost = errors.New("the connection broke")

// afterwards carries the request out and loses the answer.
func afterwards(_ string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	return nil, errLost
}

// first applies a fault to the first n requests.
func first(n int, fault func(string, *http.Request, http.RoundTripper) (*http.Response, error)) func(string, *http.Request, http.RoundTripper) (*http.Response, error) {
	var mu sync.Mutex
	return func(operation string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
		mu.Lock()
		n--
		now := n >= 0
		mu.Unlock()
		if now {
			return fault(operation, req, next)
		}
		return next.RoundTrip(req)
	}
}

// answer makes DynamoDB's form of an error.
func answer(status int, kind string) func(string, *http.Request, http.RoundTripper) (*http.Response, error) {
	return func(_ string, req *http.Request, _ http.RoundTripper) (*http.Response, error) {
		body := `{"__type":"com.amazonaws.dynamodb.v20120810#` + kind + `","message":"told to"}`
		return respond(req, status, body), nil
	}
}

func respond(req *http.Request, status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header:        http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
}

func TestADutyCostsExactlyOneRequest(t *testing.T) {
	const keys, epochs = 20, 5
	c := newTable(t, local.Server(t).Endpoint()).config()
	for n := range keys {
		c.Keys = append(c.Keys, key(n))
	}
	for start := range uint64(2) { // on items that are not there, and on those that are
		s, w := openOn(t, c)
		for epoch := range uint64(epochs) {
			for n := range keys {
				expect(t, s, key(n), vote(start*10+epoch, start*10+epoch+1, 1), 1)
			}
		}
		if all, by := w.count(); all != keys*epochs || by["PutItem"] != all {
			t.Errorf("start %d: %d duties cost %v, want as many PutItem and nothing else", start, keys*epochs, by)
		}
	}
}

func TestADutySignedBeforeAndADeniedOneCostNoRequest(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0)))
	expect(t, s, key(0), vote(1, 2, 1), 1)
	w.set(nil)
	expect(t, s, key(0), vote(1, 2, 1), 1)
	expect(t, s, key(0), vote(1, 2, 2), 2)
	if all, by := w.count(); all != 0 {
		t.Errorf("they cost %v", by)
	}
}

func TestOpenReadsTenThousandKeysAHundredAtATime(t *testing.T) {
	c := newTable(t, local.Server(t).Endpoint()).config()
	for n := range 10_000 {
		c.Keys = append(c.Keys, key(n))
	}
	w := newWire()
	c.Client = &http.Client{Transport: w}
	open(t, c)
	if all, by := w.count(); by["BatchGetItem"] != 101 || by["DescribeTable"] != 1 || all != 102 {
		t.Errorf("opening cost %v, want 1 DescribeTable, 100 BatchGetItem for the keys and 1 for imports", by)
	}
}

func TestKeysThatTheTableLeavesOutAreAskedForAgain(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	expect(t, open(t, tab.config()), key(0), vote(1, 2, 1), 1)
	c := tab.config(key(0), key(1))
	w := newWire()
	c.Client = &http.Client{Transport: w}
	w.set(first(3, func(operation string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if operation != "BatchGetItem" {
			return next.RoundTrip(req)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		var in struct{ RequestItems json.RawMessage }
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		return respond(req, 200, `{"Responses":{},"UnprocessedKeys":`+string(in.RequestItems)+`}`), nil
	}))
	s := open(t, c)
	w.set(nil)
	expect(t, s, key(0), vote(1, 2, 2), 2)
	if all, by := w.count(); all != 0 {
		t.Errorf("the key was not read at the start: %v", by)
	}
}

func TestARetryWhoseFirstTryWasAppliedCountsAsSuccess(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0)))
	for epoch := range uint64(5) {
		w.set(first(1, afterwards))
		expect(t, s, key(0), vote(epoch, epoch+1, 1), 1)
		if all, by := w.count(); all != 2 {
			t.Errorf("it cost %v, want 2 requests", by)
		}
	}
	w.set(first(1, afterwards))
	if err := s.Advance(t.Context(), "bundle", 3); err != nil {
		t.Error(err)
	}
}

func TestAnUncertainWriteFailsAndIsRememberedIfItWasApplied(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0)))
	w.set(afterwards)
	expect(t, s, key(0), vote(1, 2, 1), 0)
	w.set(nil)
	expect(t, s, key(0), vote(1, 2, 2), 2) // the first vote was applied
	expect(t, s, key(0), vote(1, 2, 1), 1)
	expect(t, s, key(0), vote(2, 3, 1), 1)
}

// A host may keep a request and let it through when it likes.
func TestAWriteThatArrivesLateUndoesNothing(t *testing.T) {
	for name, overtaken := range map[string]bool{"before the next": false, "after the next": true} {
		t.Run(name, func(t *testing.T) {
			tab := newTable(t, local.Server(t).Endpoint())
			s, w := openOn(t, tab.config(key(0)))
			expect(t, s, key(0), vote(1, 2, 1), 1)
			var held []*http.Request
			w.set(func(_ string, req *http.Request, _ http.RoundTripper) (*http.Response, error) {
				held = append(held, copyRequest(t, req))
				return nil, errLost
			})
			expect(t, s, key(0), vote(2, 9, 1), 0)
			w.set(nil)
			if overtaken {
				expect(t, s, key(0), vote(2, 3, 1), 1)
			}
			for _, req := range held {
				resp, err := w.next.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			if overtaken {
				expect(t, open(t, tab.config(key(0))), key(0), vote(3, 4, 1), 1)
				return
			}
			expect(t, s, key(0), vote(3, 8, 1), 2) // surrounded by the late vote
			expect(t, s, key(0), vote(9, 10, 1), 1)
		})
	}
}

func copyRequest(t *testing.T, req *http.Request) *http.Request {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	c := req.Clone(context.Background())
	c.Body = io.NopCloser(bytes.NewReader(body))
	return c
}

func TestFaultsOfTheTableFailDutiesAndPass(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0)))
	epoch := uint64(1)
	for name, c := range map[string]struct {
		fault    func(string, *http.Request, http.RoundTripper) (*http.Response, error)
		want     string
		requests int
	}{
		"throttled table":     {answer(400, "ProvisionedThroughputExceededException"), "on-demand capacity", 4},
		"throttled account":   {answer(400, "ThrottlingException"), "throttled", 4},
		"internal error":      {answer(500, "InternalServerError"), "InternalServerError", 4},
		"unavailable":         {answer(503, "ServiceUnavailable"), "503", 4},
		"other transaction":   {answer(400, "TransactionConflictException"), "TransactionConflict", 4},
		"no answer":           {afterNothing, "the connection broke", 4},
		"expired credentials": {answer(400, "ExpiredTokenException"), "store credentials are refused", 1},
		"unknown credentials": {answer(400, "UnrecognizedClientException"), "store credentials are refused", 1},
		"too few rights":      {answer(400, "AccessDeniedException"), "may not do this", 1},
		"table deleted":       {answer(400, "ResourceNotFoundException"), "no such table", 1},
		"an answer of nothing": {func(_ string, r *http.Request, _ http.RoundTripper) (*http.Response, error) {
			return respond(r, 400, ""), nil
		}, "PutItem", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w.set(c.fault)
			d := record(t.Context(), s, key(0), vote(epoch, epoch+1, 1))
			if d.Answer != 0 || d.Err == nil || !strings.Contains(d.Err.Error(), c.want) {
				t.Errorf("got answer %d, %v; want a failure with %q", d.Answer, d.Err, c.want)
			}
			if all, by := w.count(); all != c.requests {
				t.Errorf("it cost %v, want %d requests", by, c.requests)
			}
			w.set(nil)
			expect(t, s, key(0), vote(epoch, epoch+1, 1), 1)
			w.set(first(1, c.fault))
			retried := c.requests > 1
			d = record(t.Context(), s, key(0), vote(epoch+1, epoch+2, 1))
			if (d.Answer == 1) != retried {
				t.Errorf("after one such answer: %d, %v", d.Answer, d.Err)
			}
			epoch += 2
		})
	}
}

func afterNothing(string, *http.Request, http.RoundTripper) (*http.Response, error) {
	return nil, errLost
}

// never answers, as a host that swallows packets.
func never(_ string, req *http.Request, _ http.RoundTripper) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func TestATableThatNeverAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0)))
	w.set(never)
	began := time.Now()
	d := record(context.Background(), s, key(0), vote(1, 2, 1))
	if d.Answer != 0 || d.Err == nil || !strings.Contains(d.Err.Error(), "within 8s") {
		t.Errorf("got answer %d, %v", d.Answer, d.Err)
	}
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := s.Probe(context.Background()); err == nil {
		t.Error("the probe finds nothing wrong")
	}
	w.set(nil)
	expect(t, s, key(0), vote(1, 2, 1), 1)
}

func TestADutyWaitsForItsKeyNoLongerThanItsContext(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0), key(1)))
	entered, leave := make(chan struct{}), make(chan struct{})
	w.set(first(1, func(_ string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
		close(entered)
		<-leave
		return next.RoundTrip(req)
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		expect(t, s, key(0), vote(1, 2, 1), 1)
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if d := record(ctx, s, key(0), vote(1, 2, 2)); d.Answer != 0 || !errors.Is(d.Err, context.DeadlineExceeded) {
		t.Errorf("got answer %d, %v", d.Answer, d.Err)
	}
	expect(t, s, key(1), vote(1, 2, 1), 1) // another key does not wait
	close(leave)
	<-done
}

func TestAProbeCostsOneReadAndTellsWhenTheTableIsAway(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config())
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if all, by := w.count(); all != 1 || by["GetItem"] != 1 {
		t.Errorf("it cost %v", by)
	}
	w.set(answer(400, "ExpiredTokenException"))
	if err := s.Probe(t.Context()); err == nil || !strings.Contains(err.Error(), "credentials are refused") {
		t.Errorf("got %v", err)
	}
}

// lossy loses one request in ten, one answer in ten, and holds one in ten back for a moment.
func lossy(operation string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
	switch rand.IntN(10) {
	case 0:
		return nil, errLost
	case 1:
		return afterwards(operation, req, next)
	case 2:
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	return next.RoundTrip(req)
}
