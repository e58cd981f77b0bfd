package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"holdfast/enclave/control/message"
	"holdfast/enclave/egress"
	"holdfast/image/sandbox"
	"holdfast/internal/appliance"
	"holdfast/internal/dynamodblocal"
)

func TestMain(m *testing.M) {
	sandbox.Init() // for DynamoDB Local
	os.Exit(m.Run())
}

// A slashingTable is a DynamoDB Local behind TLS, with an empty table on its disk.
type slashingTable struct {
	*dynamodblocal.Server
	address string
	fields  string // of a configuration
}

const (
	region    = "eu-central-1"
	account   = "111122223333"
	tableName = "slashing"
)

func newTable(t *testing.T) *slashingTable {
	t.Helper()
	config := dynamodblocal.Prepared(t)
	config.Data = t.TempDir()
	server, err := dynamodblocal.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	admin := dynamodb.New(dynamodb.Options{
		Region: "ddblocal", BaseEndpoint: aws.String(server.Endpoint()), Credentials: credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", ""),
	})
	if _, err := admin.CreateTable(t.Context(), dynamodblocal.SlashingTable(tableName)); err != nil {
		t.Fatal(err)
	}
	front := httptest.NewTLSServer(server.Regional(region, account)) // whose certificate is for example.com
	t.Cleanup(front.Close)
	roots, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
	if err != nil {
		t.Fatal(err)
	}
	return &slashingTable{Server: server, address: front.Listener.Addr().String(), fields: `"slashing":{"store":"dynamodb",
		"table":"arn:aws:dynamodb:` + region + `:` + account + `:table/` + tableName + `","endpoint":"https://example.com","roots":` + string(roots) + `}`}
}

// lead carries an enclave's egress to the table.
func (s *slashingTable) lead(t *testing.T, e *running) {
	t.Helper()
	listener, err := e.ports.Listen(egress.DynamoDBPort)
	if err != nil {
		t.Fatal(err)
	}
	appliance.Carry(t, listener, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.address)
	})
}

// give opens a bundle whose records are in the table.
func (s *slashingTable) give(t *testing.T, e *running) {
	t.Helper()
	s.lead(t, e)
	_, err := e.give(t, `{"configuration":{"network":`+fastNetwork()+`,`+s.fields+`,`+anyClient+`},"validators":[`+bare(secretKey1)+`],
		"store":{"access_key_id":"AKIAIOSFODNN7EXAMPLE","secret_access_key":"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00"}}`)
	if err != nil {
		t.Fatal(err)
	}
}

// A killed table stops signing, and nothing else: it goes on by itself, and knows what was signed. The store's
// own tests do this with many keys and stores; here the enclave is around it, with TLS, egress and a restart.
func TestAfterAKillOfTheTableTheEnclaveGoesOnByItself(t *testing.T) {
	table := newTable(t)
	e := startEnclave(t)
	table.give(t, e)
	if status := appliance.Wait(t, e.control, message.Serving); status.Slashing.Store != "dynamodb" || status.Slashing.Floor != nil || status.Slashing.Problem != "" {
		t.Fatalf("got %+v", status.Slashing)
	}
	killed, last := make(chan struct{}), uint64(0)
	target := uint64(100)
	go func() {
		time.Sleep(300 * time.Millisecond)
		table.Kill()
		close(killed)
	}()
	for ; ; target++ {
		status, body := e.vote(t, target-1, target, 1)
		if status != 200 {
			select {
			case <-killed:
			default:
				t.Fatalf("before the kill: got %d %s", status, body)
			}
			if status != 500 && status != 503 {
				t.Errorf("without the table: got %d %s, want 500 or 503", status, body)
			}
			break
		}
		last = target
	}
	if last == 0 {
		t.Fatal("nothing was signed before the kill")
	}
	if status, err := e.control.Status(t.Context()); err != nil || status.Slashing.Problem == "" {
		t.Errorf("got %+v, %v, want the store's problem", status.Slashing, err)
	}
	if err := table.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		status, body := e.vote(t, target, target+1, 1)
		if status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("got %d %s, want a signature again", status, body)
		}
	}
	e.stop()
	e = startEnclave(t) // another instance, whose journal is empty
	table.give(t, e)
	for signed := uint64(100); signed <= last; signed++ {
		if status, body := e.vote(t, signed-1, signed, 2); status != 412 {
			t.Errorf("the twin of target %d: got %d %s, want 412", signed, status, body)
		}
	}
	if status, body := e.vote(t, target, target+1, 2); status != 412 {
		t.Errorf("the twin after the restart: got %d %s, want 412", status, body)
	}
	if status, body := e.vote(t, target+1, target+2, 1); status != 200 {
		t.Errorf("the next: got %d %s", status, body)
	}
}
