package dynamo_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/dynamo"
	"holdfast/image/sandbox"
	"holdfast/internal/dynamodblocal"
)

// local is DynamoDB Local, shared by the tests that need no server of their own.
var local dynamodblocal.Shared

func TestMain(m *testing.M) {
	sandbox.Init()
	code := m.Run()
	if err := local.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

var network = slashing.Root{31: 1}

// A table is one table of a DynamoDB Local, and how to reach it.
type table struct {
	arn, endpoint string
	name          string
	admin         *dynamodb.Client // what the enclave's store is not: it may write anything
}

func credentialsProvider() aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", "")
}

// newTable makes a table of its own for a test.
func newTable(t testing.TB, endpoint string) *table {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			return r
		}
		return '-'
	}, fmt.Sprintf("%.150s.%d", t.Name(), time.Now().UnixNano()))
	tab := &table{
		arn:      "arn:aws:dynamodb:ddblocal:000000000000:table/" + name,
		endpoint: endpoint,
		name:     name,
		admin: dynamodb.New(dynamodb.Options{
			Region: "ddblocal", BaseEndpoint: aws.String(endpoint), Credentials: credentialsProvider(),
		}),
	}
	in := dynamodblocal.SlashingTable(name)
	if _, err := tab.admin.CreateTable(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	return tab
}

// config is what opens a store on the table.
func (tab *table) config(keys ...slashing.PublicKey) dynamo.Config {
	return dynamo.Config{
		Table: tab.arn, Endpoint: tab.endpoint, Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		Credentials: credentialsProvider(), Key: secret.New(append(make([]byte, 31), 7)), Network: network, Keys: keys,
	}
}

func open(t testing.TB, c dynamo.Config) *dynamo.Store {
	t.Helper()
	s, err := dynamo.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func key(n int) slashing.PublicKey {
	return slashing.PublicKey{0: 0xa0, 46: byte(n >> 8), 47: byte(n)}
}

func vote(source, target uint64, root byte) slashing.Attestation {
	return slashing.Attestation{Source: source, Target: target, SigningRoot: slashing.Root{31: root}}
}

func proposal(slot uint64, root byte) slashing.Block {
	return slashing.Block{Slot: slot, SigningRoot: slashing.Root{31: root}}
}

func record(ctx context.Context, s slashing.Store, k slashing.PublicKey, duty slashing.Duty) slashing.Decision {
	return s.Record(ctx, network, k, duty)
}

func expect(t *testing.T, s slashing.Store, k slashing.PublicKey, duty slashing.Duty, want slashing.Answer) {
	t.Helper()
	if d := record(t.Context(), s, k, duty); d.Answer != want {
		t.Errorf("%v: got answer %d, %q, %v; want answer %d", duty, d.Answer, d.Reason, d.Err, want)
	}
}
