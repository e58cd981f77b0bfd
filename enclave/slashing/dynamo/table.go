package dynamo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/verify/envelope"
)

// BaseURL returns where requests for a table go: endpoint if there is one, else the region's own, as
// "https://host[:port]". The host is what the TLS certificate must name.
func BaseURL(table, endpoint string) (string, error) {
	if endpoint == "" {
		host, err := envelope.Host(table, envelope.DynamoDBTable)
		if err != nil {
			return "", fmt.Errorf("table: %w", err)
		}
		return "https://" + host, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Hostname() == "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("endpoint %q, want https://host[:port]", endpoint)
	}
	return u.Scheme + "://" + u.Host, nil
}

// checkTable compares the table with what the bundle names and what the store needs. It asks by the name alone,
// so that the answer tells whether the name means this very table to these credentials: transactions go by the
// name, since DynamoDB Local takes no ARN in them.
func (s *Store) checkTable(ctx context.Context) error {
	out, err := call(ctx, s.client.DescribeTable, &dynamodb.DescribeTableInput{TableName: aws.String(s.name)})
	if err != nil {
		return fmt.Errorf("describing table %s: %w", s.table, err)
	}
	t := out.Table
	if t == nil {
		return errors.New("the answer describes no table")
	}
	if got := aws.ToString(t.TableArn); got != s.table {
		return fmt.Errorf("the table is %q, want %q", got, s.table)
	}
	if t.TableStatus != types.TableStatusActive && t.TableStatus != types.TableStatusUpdating {
		return fmt.Errorf("the table is %s, want ACTIVE", t.TableStatus)
	}
	if !hasKeySchema(t) {
		return fmt.Errorf("the table's key schema is not one partition key %q of type S", attributeKey)
	}
	if !aws.ToBool(t.DeletionProtectionEnabled) {
		s.log.Warn("the slashing table has no deletion protection", "table", s.table)
	}
	return nil
}

func hasKeySchema(t *types.TableDescription) bool {
	if len(t.KeySchema) != 1 || aws.ToString(t.KeySchema[0].AttributeName) != attributeKey || t.KeySchema[0].KeyType != types.KeyTypeHash {
		return false
	}
	for _, a := range t.AttributeDefinitions {
		if aws.ToString(a.AttributeName) == attributeKey {
			return a.AttributeType == types.ScalarAttributeTypeS
		}
	}
	return false
}
