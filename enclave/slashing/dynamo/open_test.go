package dynamo_test

import (
	"fmt"
	"holdfast/internal/dynamodblocal"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/dynamo"
)

func TestWhatIsNotTheTableOfTheBundleIsNotOpened(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	twoKeys := dynamodblocal.SlashingTable(tab.name + "-range")
	twoKeys.KeySchema = append(twoKeys.KeySchema, types.KeySchemaElement{AttributeName: aws.String("sk"), KeyType: types.KeyTypeRange})
	twoKeys.AttributeDefinitions = append(twoKeys.AttributeDefinitions, types.AttributeDefinition{AttributeName: aws.String("sk"), AttributeType: types.ScalarAttributeTypeS})
	binary := dynamodblocal.SlashingTable(tab.name + "-binary")
	binary.AttributeDefinitions[0].AttributeType = types.ScalarAttributeTypeB
	for _, in := range []*dynamodb.CreateTableInput{twoKeys, binary} {
		if _, err := tab.admin.CreateTable(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(*dynamo.Config)
		want   string
	}{
		"a name":             {func(c *dynamo.Config) { c.Table = tab.name }, "want a full ARN"},
		"another service":    {func(c *dynamo.Config) { c.Table = strings.Replace(c.Table, ":dynamodb:", ":s3:", 1) }, "want a full ARN"},
		"an index":           {func(c *dynamo.Config) { c.Table += "/index/x" }, "want a full ARN"},
		"another account":    {func(c *dynamo.Config) { c.Table = strings.Replace(c.Table, "000000000000", "000000000001", 1) }, "the table is"},
		"another region":     {func(c *dynamo.Config) { c.Table = strings.Replace(c.Table, "ddblocal", "eu-west-1", 1) }, "the table is"},
		"an absent table":    {func(c *dynamo.Config) { c.Table += "x" }, "no such table"},
		"a sort key":         {func(c *dynamo.Config) { c.Table += "-range" }, "key schema"},
		"a binary key":       {func(c *dynamo.Config) { c.Table += "-binary" }, "key schema"},
		"a path":             {func(c *dynamo.Config) { c.Endpoint += "/x" }, "want https://host"},
		"no endpoint's host": {func(c *dynamo.Config) { c.Endpoint = "https://" }, "want https://host"},
		"no client":          {func(c *dynamo.Config) { c.Client = nil }, "no HTTP client"},
		"no credentials":     {func(c *dynamo.Config) { c.Credentials = nil }, "no credentials"},
		"a short key":        {func(c *dynamo.Config) { c.Key = secret.New(make([]byte, 16)) }, "16 bytes, want 32"},
		"no key":             {func(c *dynamo.Config) { c.Key = secret.Bytes{} }, "0 bytes, want 32"},
	} {
		t.Run(name, func(t *testing.T) {
			config := tab.config(key(0))
			c.change(&config)
			if _, err := dynamo.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestAnUnopenedStoreFails(t *testing.T) {
	var s dynamo.Store
	if d := s.Record(t.Context(), network, key(0), vote(1, 2, 1)); d.Answer != slashing.Failed || d.Err == nil {
		t.Errorf("got answer %d, %v", d.Answer, d.Err)
	}
	if s.Probe(t.Context()) == nil || s.Advance(t.Context(), "bundle", 1) == nil || s.Import(t.Context(), slashing.Interchange{}) == nil {
		t.Error("it works")
	}
	if _, err := s.Export(t.Context(), nil); err == nil {
		t.Error("it exports")
	}
}

func TestErrorsAndConfigurationsShowNoSecret(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	c := tab.config(key(0))
	c.Client = &http.Client{Transport: &wire{counts: make(map[string]int), fault: afterNothing}}
	_, err := dynamo.Open(t.Context(), c)
	if err == nil || strings.Contains(err.Error(), "AKIA") || strings.Contains(err.Error(), "Signature") {
		t.Errorf("got %v", err)
	}
	if text := fmt.Sprintf("%+v", c.Key); !strings.Contains(text, secret.Redacted) {
		t.Errorf("the key prints as %s", text)
	}
}

func TestRequestsGoToTheTablesOwnRegion(t *testing.T) {
	for name, c := range map[string]struct{ table, endpoint, want string }{
		"AWS":       {"arn:aws:dynamodb:eu-central-1:123456789012:table/slashing", "", "https://dynamodb.eu-central-1.amazonaws.com"},
		"China":     {"arn:aws-cn:dynamodb:cn-north-1:123456789012:table/slashing", "", "https://dynamodb.cn-north-1.amazonaws.com.cn"},
		"elsewhere": {"arn:aws:dynamodb:ddblocal:000000000000:table/slashing", "https://127.0.0.1:8000/", "https://127.0.0.1:8000"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := dynamo.BaseURL(c.table, c.endpoint); err != nil || got != c.want {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
	if _, err := dynamo.BaseURL("slashing", ""); err == nil {
		t.Error("a name is no table")
	}
}
