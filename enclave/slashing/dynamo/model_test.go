package dynamo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/dynamo"
)

// A memoryTable answers as DynamoDB does to what a duty and a start ask: it is fast enough for very many steps.
// What it does is what DynamoDB Local does, on which everything else is tested.
type memoryTable struct {
	arn   string
	items map[string]map[string]any
}

type putRequest struct {
	Item                      map[string]any
	ConditionExpression       string
	ExpressionAttributeValues map[string]any
}

func (m *memoryTable) answer(operation string, body []byte) (status int, reply any) {
	switch operation {
	case "DescribeTable":
		return 200, map[string]any{"Table": map[string]any{
			"TableArn": m.arn, "TableStatus": "ACTIVE",
			"KeySchema":            []any{map[string]any{"AttributeName": "pk", "KeyType": "HASH"}},
			"AttributeDefinitions": []any{map[string]any{"AttributeName": "pk", "AttributeType": "S"}},
		}}
	case "BatchGetItem":
		return 200, m.read(body)
	case "PutItem":
		return m.put(body)
	}
	return 400, map[string]any{"__type": "UnknownOperationException"}
}

func partitionOf(item map[string]any) string { return item["pk"].(map[string]any)["S"].(string) }

func (m *memoryTable) read(body []byte) any {
	var in struct {
		RequestItems map[string]struct{ Keys []map[string]any }
	}
	if err := json.Unmarshal(body, &in); err != nil {
		panic(err)
	}
	found := []any{}
	for _, key := range in.RequestItems[m.arn].Keys {
		if item, ok := m.items[partitionOf(key)]; ok {
			found = append(found, item)
		}
	}
	return map[string]any{"Responses": map[string]any{m.arn: found}, "UnprocessedKeys": map[string]any{}}
}

func (m *memoryTable) put(body []byte) (int, any) {
	var in putRequest
	if err := json.Unmarshal(body, &in); err != nil {
		panic(err)
	}
	old, there := m.items[partitionOf(in.Item)]
	holds := false
	switch in.ConditionExpression {
	case "attribute_not_exists(#pk)":
		holds = !there
	case "#record = :record AND #mac = :mac":
		holds = there && reflect.DeepEqual(old["record"], in.ExpressionAttributeValues[":record"]) &&
			reflect.DeepEqual(old["mac"], in.ExpressionAttributeValues[":mac"])
	}
	if !holds {
		refusal := map[string]any{"__type": "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException", "message": "The conditional request failed"}
		if there {
			refusal["Item"] = old
		}
		return 400, refusal
	}
	m.items[partitionOf(in.Item)] = in.Item
	return 200, map[string]any{}
}

// A host carries requests between enclaves and the table, as badly as it likes: TLS leaves it only to lose
// them, to lose answers, to hold requests back, and to let go at any time what it held.
type host struct {
	table *memoryTable
	rand  *rand.Rand
	held  []message
	mood  mood
}

// A mood is how a host treats the requests of one duty.
type mood int

const (
	kind  mood = iota // carries everything
	moody             // now and then not
	cruel             // nothing gets through and back
)

type message struct {
	operation string
	body      []byte
}

func (h *host) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	operation := req.Header.Get("X-Amz-Target")[len("DynamoDB_20120810."):]
	h.release()
	if h.mood == cruel || h.mood == moody && h.rand.IntN(4) == 0 {
		h.lose(message{operation, body})
		return nil, errLost
	}
	status, reply := h.table.answer(operation, body)
	data, err := json.Marshal(reply)
	if err != nil {
		return nil, err
	}
	return respond(req, status, string(bytes.TrimSpace(data))), nil
}

// lose keeps the enclave from an answer: the request is dropped, held back, or carried out.
func (h *host) lose(m message) {
	switch h.rand.IntN(3) {
	case 0:
		h.held = append(h.held, m)
	case 1:
		h.table.answer(m.operation, m.body)
	}
}

// release lets go one of the requests held back, or none. A server sees each at most once: TLS numbers its records.
func (h *host) release() {
	if len(h.held) == 0 || h.mood == kind || h.rand.IntN(3) > 0 {
		return
	}
	n := h.rand.IntN(len(h.held))
	h.table.answer(h.held[n].operation, h.held[n].body)
	h.held = append(h.held[:n], h.held[n+1:]...)
}

// Three copies of an enclave, two keys, and epochs so few that most duties conflict. The host also restarts
// copies when it likes. Time is the bubble's, so that pauses and deadlines cost none.
func TestNoHostMakesCopiesAllowASlashablePair(t *testing.T) {
	const rounds, steps = 1000, 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	allowed, failed := 0, 0
	synctest.Test(t, func(t *testing.T) {
		for round := range rounds {
			h := &host{
				table: &memoryTable{arn: fmt.Sprintf("arn:aws:dynamodb:ddblocal:000000000000:table/round%d", round), items: make(map[string]map[string]any)},
				rand:  rand.New(rand.NewPCG(seed, uint64(round))),
			}
			var l ledger
			h.play(t, &l, steps)
			l.check(t)
			if t.Failed() {
				t.Fatalf("round %d of seed %d", round, seed)
			}
			allowed, failed = allowed+l.count(), failed+l.failed
		}
	})
	t.Logf("%d steps: %d allowed, %d failed", rounds*steps, allowed, failed)
	if allowed < 5*rounds || failed < 5*rounds {
		t.Error("too little happened")
	}
}

func (h *host) play(t *testing.T, l *ledger, steps int) {
	copies := make([]*dynamo.Store, 3)
	for step := range uint64(steps) {
		h.mood = mood(h.rand.IntN(3))
		n := h.rand.IntN(len(copies))
		if copies[n] == nil || h.rand.IntN(20) == 0 {
			copies[n] = h.start(t)
		}
		k, duty := key(h.rand.IntN(2)), h.duty(step/10)
		l.note(k, duty, record(t.Context(), copies[n], k, duty))
	}
	// A host that relents finds the store working: the highest duty of all is allowed, whatever was lost.
	h.mood = kind
	for n := range copies {
		if copies[n] == nil {
			copies[n] = h.start(t)
		}
		last := vote(100, 101+uint64(n), 1)
		d := record(t.Context(), copies[n], key(0), last)
		l.note(key(0), last, d)
		if d.Answer != slashing.Allowed {
			t.Errorf("copy %d answers %d after the host relented: %v", n, d.Answer, d.Err)
		}
	}
}

// start opens a copy. The host gains nothing by losing what a start asks.
func (h *host) start(t *testing.T) *dynamo.Store {
	before := h.mood
	h.mood = kind
	defer func() { h.mood = before }()
	tab := &table{arn: h.table.arn, endpoint: "https://table"}
	c := tab.config(key(0), key(1))
	c.Client = &http.Client{Transport: h}
	return open(t, c)
}

// duty asks for any source and target, or slot, of four from the given one on, and one of two roots.
func (h *host) duty(from uint64) slashing.Duty {
	root := byte(h.rand.IntN(2))
	if h.rand.IntN(4) == 0 {
		return proposal(from+h.rand.Uint64N(4), root)
	}
	return vote(from+h.rand.Uint64N(4), from+h.rand.Uint64N(4), root)
}

// The table's clock decides what a signature's time is compared with; the enclave's may be off.
func TestAClockThatIsOffIsCorrectedByTheTables(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config(key(0)))
	const ahead = 2 * time.Hour
	var signed []time.Time
	w.set(func(operation string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
		at, err := time.Parse("20060102T150405Z", req.Header.Get("X-Amz-Date"))
		if err != nil {
			return nil, err
		}
		signed = append(signed, at)
		if time.Until(at) < ahead-time.Minute {
			resp, err := answer(400, "InvalidSignatureException")(operation, req, next)
			resp.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return resp, err
		}
		return next.RoundTrip(req)
	})
	expect(t, s, key(0), vote(1, 2, 1), 1)
	if len(signed) != 2 {
		t.Errorf("signed at %v, want a second request by the table's clock", signed)
	}
}
