package tables_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"holdfast/parent/source/tables"
)

// attribute is a value in DynamoDB's JSON.
type attribute map[string]any

type row map[string]attribute

// A store is the small part of DynamoDB that is read: GetItem and Query, pages of a few rows.
type store struct {
	t    *testing.T
	tls  row
	keys []row
	page int

	queries int
	fail    string // an exception instead of an answer
}

type request struct {
	TableName                 string
	ConsistentRead            bool
	Key                       row
	KeyConditionExpression    string
	ExpressionAttributeValues row
	ExclusiveStartKey         row
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked request
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		s.t.Errorf("request: %v", err)
	}
	if !asked.ConsistentRead {
		s.t.Error("a read that may be stale")
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")
	switch {
	case s.fail != "":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":"no"}`, s.fail)
	case operation == "GetItem" && asked.TableName == "TLSKeyTable" && asked.Key["key_id"]["N"] == "1":
		json.NewEncoder(w).Encode(map[string]any{"Item": s.tls})
	case operation == "Query" && asked.TableName == "ValidatorKeyTable" && asked.KeyConditionExpression == "web3signer_uuid = :uuid":
		s.query(w, asked)
	default:
		s.t.Errorf("unexpected %s %+v", operation, asked)
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (s *store) query(w http.ResponseWriter, asked request) {
	s.queries++
	first := 0
	if start := asked.ExclusiveStartKey["pubkey"]; start != nil {
		for first < len(s.keys) && s.keys[first]["pubkey"]["S"] != start["S"] {
			first++
		}
		first++
	}
	items := []row{}
	last := min(first+s.page, len(s.keys))
	for _, r := range s.keys[first:last] {
		if r["web3signer_uuid"]["S"] == asked.ExpressionAttributeValues[":uuid"]["S"] {
			items = append(items, r)
		}
	}
	answer := map[string]any{"Items": items, "Count": len(items)}
	if last < len(s.keys) {
		answer["LastEvaluatedKey"] = row{"pubkey": s.keys[last-1]["pubkey"], "web3signer_uuid": s.keys[last-1]["web3signer_uuid"]}
	}
	json.NewEncoder(w).Encode(answer)
}

func text(s string) attribute { return attribute{"S": s} }

func encoded(s string) attribute { return text(base64.StdEncoding.EncodeToString([]byte(s))) }

// validator is a row as the sample writes it.
func validator(uuid string, n int, active bool) row {
	return row{
		"web3signer_uuid": text(uuid), "pubkey": text(fmt.Sprintf("%096x", n)), "active": {"BOOL": active},
		"chain": text("holesky"), "datetime": text("2025-01-01T00:00:00"),
		"deposit_json_b64": encoded("{}"), "encrypted_key_password_mnemonic_b64": encoded(fmt.Sprint("ciphertext ", n)),
	}
}

func identity() row {
	return row{"key_id": {"N": "1"}, "cert_pem": encoded("-----BEGIN"), "encrypted_tls_key_b64": encoded("ciphertext")}
}

// open starts the store and returns how to read it.
func (s *store) open(t *testing.T) tables.Config {
	t.Helper()
	s.t = t
	if s.page == 0 {
		s.page = 2
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return tables.Config{
		AWS: aws.Config{
			Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "example", ""),
			Retryer: func() aws.Retryer { return aws.NopRetryer{} },
		},
		Endpoint: server.URL, TLS: "TLSKeyTable", Validators: "ValidatorKeyTable", UUID: "stack",
	}
}

func TestEveryPageOfAStackIsRead(t *testing.T) {
	s := &store{tls: identity()}
	for n := range 7 {
		s.keys = append(s.keys, validator("stack", n, n != 3))
	}
	s.keys = append(s.keys, validator("none", 99, true))
	got, err := tables.Read(t.Context(), s.open(t))
	if err != nil {
		t.Fatal(err)
	}
	if s.queries != 4 || len(got.Validators) != 7 {
		t.Fatalf("%d rows in %d pages, want 7 in 4", len(got.Validators), s.queries)
	}
	for n, row := range got.Validators {
		want := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "ciphertext %d", n))
		if row.UUID != "stack" || row.PublicKey != fmt.Sprintf("%096x", n) || row.Active != (n != 3) || row.Encrypted != want {
			t.Errorf("row %d: %+v", n, row)
		}
	}
	if got.TLS == nil || got.TLS.KeyID != 1 || got.TLS.Certificate != base64.StdEncoding.EncodeToString([]byte("-----BEGIN")) {
		t.Errorf("TLS row %+v", got.TLS)
	}
}

func TestTheTLSTableMayBeLeftOut(t *testing.T) {
	c := (&store{keys: []row{validator("stack", 1, true)}}).open(t)
	c.TLS = ""
	if got, err := tables.Read(t.Context(), c); err != nil || got.TLS != nil || len(got.Validators) != 1 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestARowThatIsNotAsItShouldBeIsNamed(t *testing.T) {
	spoilt := func(change func(row)) *store {
		r := validator("stack", 0xabc, true)
		change(r)
		return &store{tls: identity(), keys: []row{validator("stack", 1, true), r}}
	}
	name := fmt.Sprintf("%096x", 0xabc)
	for what, c := range map[string]struct {
		store *store
		want  string
	}{
		"no rows":            {&store{tls: identity()}, `no row with web3signer_uuid "stack"`},
		"no TLS row":         {&store{keys: []row{validator("stack", 1, true)}}, "no row with key_id 1"},
		"certificate":        {&store{tls: row{"key_id": {"N": "1"}, "cert_pem": text("?"), "encrypted_tls_key_b64": encoded("x")}}, "cert_pem: want standard base64"},
		"active is absent":   {spoilt(func(r row) { delete(r, "active") }), name + ": active: got nothing, want a boolean"},
		"active is a string": {spoilt(func(r row) { r["active"] = text("true") }), name + ": active: got S, want a boolean"},
		"no ciphertext":      {spoilt(func(r row) { delete(r, "encrypted_key_password_mnemonic_b64") }), name + ": encrypted_key"},
		"empty ciphertext":   {spoilt(func(r row) { r["encrypted_key_password_mnemonic_b64"] = text("") }), "want standard base64"},
		"long ciphertext":    {spoilt(func(r row) { r["encrypted_key_password_mnemonic_b64"] = encoded(strings.Repeat("x", 64<<10)) }), "want at most 65536"},
		"a short key":        {spoilt(func(r row) { r["pubkey"] = text("abc") }), `pubkey: got "abc"`},
		"a path for a key":   {spoilt(func(r row) { r["pubkey"] = text("../../etc/passwd") }), "want 96 hexadecimal digits"},
		"a key twice":        {spoilt(func(r row) { r["pubkey"] = text("0x" + fmt.Sprintf("%096x", 1)) }), "comes twice"},
		"no access":          {&store{fail: "AccessDeniedException"}, "AccessDeniedException"},
		"too many rows":      {&store{tls: identity(), page: 1 << 15, keys: many(tables.MaxRows + 1)}, "more than 16384 rows"},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := tables.Read(t.Context(), c.store.open(t))
			if err == nil || !strings.Contains(err.Error(), c.want) || got.Validators != nil {
				t.Errorf("got %d rows, %v; want %q", len(got.Validators), err, c.want)
			}
		})
	}
}

func many(n int) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = validator("stack", i, true)
	}
	return rows
}

func TestEveryWrongRowIsNamed(t *testing.T) {
	s := &store{tls: identity()}
	for n := range 4 {
		r := validator("stack", n, true)
		if n%2 == 1 {
			delete(r, "active")
		}
		s.keys = append(s.keys, r)
	}
	_, err := tables.Read(t.Context(), s.open(t))
	if err == nil || strings.Count(err.Error(), "want a boolean") != 2 {
		t.Errorf("got %v, want both wrong rows", err)
	}
}

func TestAStackMustBeNamed(t *testing.T) {
	for _, c := range []tables.Config{{}, {Validators: "t"}, {UUID: "u"}} {
		if _, err := tables.Read(t.Context(), c); err == nil {
			t.Errorf("%+v was read", c)
		}
	}
}
