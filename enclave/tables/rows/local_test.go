package rows_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/tables/rows"
	"holdfast/enclave/tables/rows/rowstest"
	"holdfast/image/sandbox"
	"holdfast/internal/dynamodblocal"
)

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

// TestTheRealDynamoDBIsReadInPages: it makes a page of a megabyte, so rows of 50 kB take several.
func TestTheRealDynamoDBIsReadInPages(t *testing.T) {
	const total = 50
	config := aws.Config{Region: "eu-central-1", Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", "example", "")}
	c := rows.Config{
		AWS: config, Endpoint: local.Server(t).Endpoint(),
		TLS: rowstest.TLSTable, Validators: rowstest.ValidatorsTable, UUID: "stack",
	}
	client := dynamodb.NewFromConfig(config, func(o *dynamodb.Options) { o.BaseEndpoint = &c.Endpoint })
	create(t, client, rowstest.TLSTable, "key_id", types.ScalarAttributeTypeN, "")
	create(t, client, rowstest.ValidatorsTable, "web3signer_uuid", types.ScalarAttributeTypeS, "pubkey")
	put(t, client, rowstest.TLSTable, rowstest.Identity())
	for n := range total {
		row := rowstest.Validator("stack", n, n%3 != 0)
		row["encrypted_key_password_mnemonic_b64"] = rowstest.Encoded(strings.Repeat("x", 30<<10))
		put(t, client, rowstest.ValidatorsTable, row)
	}
	put(t, client, rowstest.ValidatorsTable, rowstest.Validator("none", total, true))

	got, err := rows.Read(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Validators) != total {
		t.Fatalf("got %d rows, want %d", len(got.Validators), total)
	}
	for n, row := range got.Validators {
		if row.PublicKey != fmt.Sprintf("%096x", n) || row.Active != (n%3 != 0) || base64.StdEncoding.DecodedLen(len(row.Encrypted)) < 30<<10 {
			t.Errorf("row %d: key %s, active %v", n, row.PublicKey, row.Active)
		}
	}
	if got.TLS == nil || got.TLS.EncryptedKey == "" {
		t.Errorf("TLS row %+v", got.TLS)
	}
}

// create makes a table as the sample's template does.
func create(t *testing.T, client *dynamodb.Client, name, partition string, kind types.ScalarAttributeType, order string) {
	t.Helper()
	input := &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: &partition, AttributeType: kind}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: &partition, KeyType: types.KeyTypeHash}},
	}
	if order != "" {
		input.AttributeDefinitions = append(input.AttributeDefinitions, types.AttributeDefinition{AttributeName: &order, AttributeType: types.ScalarAttributeTypeS})
		input.KeySchema = append(input.KeySchema, types.KeySchemaElement{AttributeName: &order, KeyType: types.KeyTypeRange})
	}
	if _, err := client.CreateTable(t.Context(), input); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, client *dynamodb.Client, table string, row rowstest.Row) {
	t.Helper()
	item := map[string]types.AttributeValue{}
	for name, a := range row {
		switch {
		case a["S"] != nil:
			item[name] = &types.AttributeValueMemberS{Value: a["S"].(string)}
		case a["N"] != nil:
			item[name] = &types.AttributeValueMemberN{Value: a["N"].(string)}
		default:
			item[name] = &types.AttributeValueMemberBOOL{Value: a["BOOL"].(bool)}
		}
	}
	if _, err := client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		t.Fatal(err)
	}
}
