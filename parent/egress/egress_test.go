package egress_test

import (
	"errors"
	"net"
	"testing"

	"holdfast/parent/egress"
	"holdfast/verify/envelope"
)

const (
	key   = `"key":"arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"`
	table = `"table":"arn:aws:dynamodb:us-east-1:111122223333:table/holdfast"`
)

func TestABundleNamesItsDestinations(t *testing.T) {
	const kms, dynamo = "kms.eu-central-1.amazonaws.com:443", "dynamodb.us-east-1.amazonaws.com:443"
	for configuration, want := range map[string]egress.Destinations{
		`{}`:                                               {},
		`{"slashing":{"store":"journal"}}`:                 {},
		`{"kms":{` + key + `}}`:                            {KMS: kms},
		`{"slashing":{` + table + `}}`:                     {DynamoDB: dynamo},
		`{"kms":{` + key + `},"clients":[{}]}`:             {KMS: kms},
		`{"kms":{` + key + `},"slashing":{` + table + `}}`: {KMS: kms, DynamoDB: dynamo},
		`{"kms":{"endpoint":"https://kms.test:1",` + key + `},"slashing":{"endpoint":"https://d.test",` + table + `}}`: {KMS: "kms.test:1", DynamoDB: "d.test:443"},
	} {
		if got, err := egress.Named(&envelope.Envelope{Configuration: []byte(configuration)}); err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", configuration, got, err, want)
		}
	}
	for _, configuration := range []string{
		``, `[]`, `{"kms":{"key":7}}`, `{"kms":{"key":"alias/x"}}`, `{"slashing":{"table":"holdfast"}}`,
		`{"kms":{"endpoint":"http://kms.test",` + key + `}}`,
	} {
		if got, err := egress.Named(&envelope.Envelope{Configuration: []byte(configuration)}); err == nil || got != (egress.Destinations{}) {
			t.Errorf("%s: got %+v, want an error", configuration, got)
		}
	}
}

func TestTheOperatorsDestinationsGoFirst(t *testing.T) {
	named := egress.Destinations{KMS: "k:1", DynamoDB: "d:1"}
	for above, want := range map[egress.Destinations]egress.Destinations{
		{}:                            named,
		{KMS: "x:2"}:                  {KMS: "x:2", DynamoDB: "d:1"},
		{DynamoDB: "y:2"}:             {KMS: "k:1", DynamoDB: "y:2"},
		{KMS: "x:2", DynamoDB: "y:2"}: {KMS: "x:2", DynamoDB: "y:2"},
	} {
		if got := named.Over(above); got != want {
			t.Errorf("%+v over %+v: got %+v, want %+v", above, named, got, want)
		}
	}
}

func TestEachPortLeadsToItsDestinationAlone(t *testing.T) {
	kms, dynamo := listen(t), listen(t)
	var m egress.Map
	for _, port := range []uint32{egress.KMSPort, egress.DynamoDBPort} {
		if _, err := m.Dial(t.Context(), port); !errors.Is(err, egress.ErrNowhere) {
			t.Errorf("port %d of a map that is not set: %v", port, err)
		}
	}
	m.Set(egress.Destinations{KMS: kms, DynamoDB: dynamo})
	for port, want := range map[uint32]string{egress.KMSPort: kms, egress.DynamoDBPort: dynamo} {
		conn, err := m.Dial(t.Context(), port)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.RemoteAddr().String(); got != want {
			t.Errorf("port %d leads to %s, want %s", port, got, want)
		}
		conn.Close()
	}
	if _, err := m.Dial(t.Context(), 443); !errors.Is(err, egress.ErrNowhere) {
		t.Errorf("another port: %v", err)
	}
}

func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}
