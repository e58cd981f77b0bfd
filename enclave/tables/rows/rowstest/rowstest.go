// Package rowstest is the small part of DynamoDB that reading the predecessor's tables needs, as a server, and
// rows as that system writes them.
package rowstest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// Names of the tables.
const (
	TLSTable        = "TLSKeyTable"
	ValidatorsTable = "ValidatorKeyTable"
)

// An Attribute is a value in DynamoDB's JSON, and a Row an item.
type (
	Attribute map[string]any
	Row       map[string]Attribute
)

// Text is a string attribute, and Encoded one of the text's base64.
func Text(s string) Attribute    { return Attribute{"S": s} }
func Encoded(s string) Attribute { return Text(base64.StdEncoding.EncodeToString([]byte(s))) }

// Validator is a row of the validators' table, whose public key is the number n.
func Validator(uuid string, n int, active bool) Row {
	return Row{
		"web3signer_uuid": Text(uuid), "pubkey": Text(fmt.Sprintf("%096x", n)), "active": {"BOOL": active},
		"chain": Text("holesky"), "datetime": Text("2025-01-01T00:00:00"),
		"deposit_json_b64": Encoded("{}"), "encrypted_key_password_mnemonic_b64": Encoded(fmt.Sprint("ciphertext ", n)),
	}
}

// Identity is the row of the TLS table.
func Identity() Row {
	return Row{"key_id": {"N": "1"}, "cert_pem": Encoded("-----BEGIN"), "encrypted_tls_key_b64": Encoded("ciphertext")}
}

// Server serves the two tables. Its fields are set before it is used.
type Server struct {
	TLS        Row    // nil: the table has no row
	Validators []Row  // in the order of their keys
	Page       int    // rows a page; zero is two
	Fail       string // name of an exception that answers everything

	mu      sync.Mutex
	queries int
}

// Queries is how many pages were asked for.
func (s *Server) Queries() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries
}

// request is one of both operations'.
type request struct {
	TableName                 string
	ConsistentRead            bool
	Key                       Row
	KeyConditionExpression    string
	ExpressionAttributeValues Row
	ExclusiveStartKey         Row
}

// ServeHTTP implements [http.Handler]. Any other request than those of a reader that wants no stale rows is
// a ValidationException.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked request
	err := json.NewDecoder(r.Body).Decode(&asked)
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "DynamoDB_20120810.")
	switch {
	case s.Fail != "":
		except(w, s.Fail, "no")
	case err != nil || !asked.ConsistentRead:
		except(w, "ValidationException", "not a consistent read")
	case operation == "GetItem" && asked.TableName == TLSTable && asked.Key["key_id"]["N"] == "1":
		answer(w, map[string]any{"Item": s.TLS})
	case operation == "Query" && asked.TableName == ValidatorsTable && asked.KeyConditionExpression == "web3signer_uuid = :uuid":
		answer(w, s.query(asked))
	default:
		except(w, "ValidationException", operation)
	}
}

// query returns one page.
func (s *Server) query(asked request) map[string]any {
	s.mu.Lock()
	s.queries++
	s.mu.Unlock()
	first := 0
	if start := asked.ExclusiveStartKey["pubkey"]; start != nil {
		for first < len(s.Validators) && s.Validators[first]["pubkey"]["S"] != start["S"] {
			first++
		}
		first++
	}
	page := s.Page
	if page == 0 {
		page = 2
	}
	last := min(first+page, len(s.Validators))
	items := []Row{}
	for _, row := range s.Validators[first:last] {
		if row["web3signer_uuid"]["S"] == asked.ExpressionAttributeValues[":uuid"]["S"] {
			items = append(items, row)
		}
	}
	found := map[string]any{"Items": items, "Count": len(items)}
	if last < len(s.Validators) {
		at := s.Validators[last-1]
		found["LastEvaluatedKey"] = Row{"pubkey": at["pubkey"], "web3signer_uuid": at["web3signer_uuid"]}
	}
	return found
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_ = json.NewEncoder(w).Encode(value) // the client's connection is the client's matter
}

func except(w http.ResponseWriter, name, text string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + name, "message": text})
}
