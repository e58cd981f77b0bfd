// Package rows reads the tables of AWS's sample (Guidance for Secure Blockchain Validation using AWS Nitro
// Enclaves): TLSKeyTable and ValidatorKeyTable, for moving over.
//
// Rows are read as they stand. What they hold is encrypted by KMS to that sample's key, and only an enclave that
// the key's policy names may decrypt it, so nothing here is secret. Nothing is decided here either: the enclave
// leaves out rows that are not active, and says so.
package rows

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/enclave/control/message"
	"holdfast/verify/envelope"
)

// Bounds.
const (
	MaxRows = envelope.MaxPublicKeys // what a bundle can have

	// maxFieldSize bounds a field: KMS's ciphertexts are 6 KB at most, and a certificate's PEM less than a DynamoDB
	// item's 400 KB.
	maxFieldSize = 64 << 10
	timeout      = 5 * time.Minute
)

// keyID is the partition key of the only row that the sample writes into TLSKeyTable.
const keyID = 1

// Config says which tables are read.
type Config struct {
	AWS        aws.Config
	Endpoint   string // URL of another DynamoDB; empty is AWS's
	TLS        string // TLSKeyTable, by name or ARN; empty leaves it out
	Validators string // ValidatorKeyTable, by name or ARN
	UUID       string // web3signer_uuid: the sample's stack
}

// Read returns the rows of one stack. Name, Version and Configuration of the result are the caller's to fill in. A
// row that is not as the sample writes them is an error that names it, and all of them are named.
func Read(ctx context.Context, c Config) (message.Tables, error) {
	if c.Validators == "" || c.UUID == "" {
		return message.Tables{}, errors.New("want the validators' table and a web3signer_uuid")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := dynamodb.NewFromConfig(c.AWS, func(o *dynamodb.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	var read message.Tables
	var err error
	if c.TLS != "" {
		if read.TLS, err = tlsRow(ctx, client, c.TLS); err != nil {
			return message.Tables{}, fmt.Errorf("table %s: %w", c.TLS, err)
		}
	}
	if read.Validators, err = validators(ctx, client, c.Validators, c.UUID); err != nil {
		return message.Tables{}, fmt.Errorf("table %s: %w", c.Validators, err)
	}
	return read, nil
}

// tlsRow reads the only row. Consistently, since its ciphertext and certificate may just have been replaced.
func tlsRow(ctx context.Context, client *dynamodb.Client, table string) (*message.TLSRow, error) {
	got, err := client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName:      &table,
		Key:            map[string]types.AttributeValue{"key_id": &types.AttributeValueMemberN{Value: strconv.Itoa(keyID)}},
		ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, err
	}
	if len(got.Item) == 0 {
		return nil, fmt.Errorf("no row with key_id %d", keyID)
	}
	i := item(got.Item)
	certificate, err1 := i.base64("cert_pem")
	encrypted, err2 := i.base64("encrypted_tls_key_b64")
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("row with key_id %d: %w", keyID, err)
	}
	return &message.TLSRow{KeyID: keyID, Certificate: certificate, EncryptedKey: encrypted}, nil
}

// validators reads every page of one stack's rows.
func validators(ctx context.Context, client *dynamodb.Client, table, uuid string) ([]message.ValidatorRow, error) {
	pages := dynamodb.NewQueryPaginator(client, &dynamodb.QueryInput{
		TableName:                 &table,
		KeyConditionExpression:    aws.String("web3signer_uuid = :uuid"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":uuid": &types.AttributeValueMemberS{Value: uuid}},
		ConsistentRead:            aws.Bool(true),
	})
	var rows []message.ValidatorRow
	var wrong []error
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, i := range page.Items {
			row, err := item(i).validator(uuid)
			if err != nil {
				wrong = append(wrong, err)
				continue
			}
			rows = append(rows, row)
		}
		if len(rows)+len(wrong) > MaxRows {
			return nil, fmt.Errorf("more than %d rows", MaxRows)
		}
	}
	switch {
	case len(wrong) > 0:
		return nil, errors.Join(wrong...)
	case len(rows) == 0:
		return nil, fmt.Errorf("no row with web3signer_uuid %q", uuid)
	}
	return rows, unique(rows)
}

// unique refuses a key that comes twice: with and without 0x, or in another case.
func unique(rows []message.ValidatorRow) error {
	seen := map[string]bool{}
	for _, row := range rows {
		key := strings.ToLower(strings.TrimPrefix(row.PublicKey, "0x"))
		if seen[key] {
			return fmt.Errorf("public key %s comes twice", row.PublicKey)
		}
		seen[key] = true
	}
	return nil
}

// An item is a row.
type item map[string]types.AttributeValue

// publicKey is a validator's, as the sample writes it: with or without 0x.
var publicKey = regexp.MustCompile(`^(0x)?[0-9a-fA-F]{96}$`)

func (i item) validator(uuid string) (message.ValidatorRow, error) {
	key, err := i.text("pubkey")
	if err == nil && !publicKey.MatchString(key) {
		err = fmt.Errorf("pubkey: got %.100q, want 96 hexadecimal digits", key)
	}
	if err != nil {
		return message.ValidatorRow{}, fmt.Errorf("a row: %w", err)
	}
	row := message.ValidatorRow{UUID: uuid, PublicKey: key}
	var err1, err2 error
	row.Active, err1 = i.flag("active")
	row.Encrypted, err2 = i.base64("encrypted_key_password_mnemonic_b64")
	if err := errors.Join(err1, err2); err != nil {
		return message.ValidatorRow{}, fmt.Errorf("row of %s: %w", key, err)
	}
	return row, nil
}

func (i item) text(name string) (string, error) {
	value, ok := i[name].(*types.AttributeValueMemberS)
	if !ok {
		return "", fmt.Errorf("%s: got %s, want a string", name, kind(i[name]))
	}
	if len(value.Value) > maxFieldSize {
		return "", fmt.Errorf("%s: got %d bytes, want at most %d", name, len(value.Value), maxFieldSize)
	}
	return value.Value, nil
}

func (i item) flag(name string) (bool, error) {
	value, ok := i[name].(*types.AttributeValueMemberBOOL)
	if !ok {
		return false, fmt.Errorf("%s: got %s, want a boolean", name, kind(i[name]))
	}
	return value.Value, nil
}

// base64 returns a field that must be standard base64, as it stands.
func (i item) base64(name string) (string, error) {
	text, err := i.text(name)
	if err != nil {
		return "", err
	}
	if err := checkBase64(text); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}

// kind names an attribute's type for an error.
func kind(v types.AttributeValue) string {
	if v == nil {
		return "nothing"
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", v), "*types.AttributeValueMember")
}
