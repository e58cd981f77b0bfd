package dynamodblocal_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"holdfast/image/sandbox"
	"holdfast/internal/dynamodblocal"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

func client(endpoint string, transport http.RoundTripper) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		Region:       "eu-central-1",
		BaseEndpoint: aws.String(endpoint),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "secret", ""),
		HTTPClient:   &http.Client{Transport: transport, Timeout: 20 * time.Second},
	})
}

func createTable(ctx context.Context, c *dynamodb.Client) error {
	_, err := c.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:            aws.String("test"),
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("pk"), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("pk"), KeyType: types.KeyTypeHash}},
	})
	return err
}

func TestATableOnDiskSurvivesAKill(t *testing.T) {
	config := dynamodblocal.Prepared(t)
	config.Data = t.TempDir()
	began := time.Now()
	s, err := dynamodblocal.Start(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	t.Logf("started in %v", time.Since(began))
	c := client(s.Endpoint(), nil)
	if err := createTable(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	item := map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "k"}}
	if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("test"), Item: item}); err != nil {
		t.Fatal(err)
	}
	s.Kill()
	down, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := c.ListTables(down, &dynamodb.ListTablesInput{}); err == nil {
		t.Fatal("a killed server answers")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("test"), Key: item})
	if err != nil || len(got.Item) != 1 {
		t.Fatalf("after the restart: %v, %v", got, err)
	}
}

func TestTLSEndsInFrontOfTheProgram(t *testing.T) {
	t.Setenv("TMPDIR", longDirectory(t)) // longer than a socket's path may be
	s, err := dynamodblocal.Start(t.Context(), dynamodblocal.Prepared(t))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	front := httptest.NewTLSServer(nil) // for its certificate
	defer front.Close()
	l := listenTLS(t, front.TLS.Certificates)
	go s.Serve(l)
	defer l.Close()
	c := client("https://"+l.Addr().String(), front.Client().Transport)
	if _, err := c.ListTables(t.Context(), &dynamodb.ListTablesInput{}); err != nil {
		t.Fatal(err)
	}
	t.Run("with a region", func(t *testing.T) { namesTheRegion(t, s) })
}

// namesTheRegion asks for a table and writes to it by the ARN that AWS would give it.
func namesTheRegion(t *testing.T, s *dynamodblocal.Server) {
	front := httptest.NewServer(s.Regional("eu-central-1", "111122223333"))
	defer front.Close()
	c := client(front.URL, nil)
	if err := createTable(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:dynamodb:eu-central-1:111122223333:table/test"
	described, err := c.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("test")})
	if err != nil || aws.ToString(described.Table.TableArn) != arn {
		t.Fatalf("got %v, %v, want the table %s", described, err, arn)
	}
	item := map[string]types.AttributeValue{"pk": &types.AttributeValueMemberS{Value: "k"}}
	if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(arn), Item: item}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(arn), Key: item})
	if err != nil || len(got.Item) != 1 {
		t.Fatalf("got %v, %v, want the item", got, err)
	}
}

func listenTLS(t *testing.T, certificates []tls.Certificate) net.Listener {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func longDirectory(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 40))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAStartThatFailsSaysWhatTheProgramSaid(t *testing.T) {
	config := dynamodblocal.Prepared(t)
	config.Dir = t.TempDir()
	_, err := dynamodblocal.Start(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "ServerRunner") {
		t.Fatalf("error %v, want Java's", err)
	}
}
