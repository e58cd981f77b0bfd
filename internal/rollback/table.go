package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"holdfast/image/builder"
	"holdfast/image/cache"
	"holdfast/image/debian"
	"holdfast/internal/dynamodblocal"
	"holdfast/internal/rehearsal"
)

// The table, as the bundle names it.
const (
	tableName = "rollback-demo"
	region    = "eu-central-1"
	account   = "111122223333"
	tableARN  = "arn:aws:dynamodb:" + region + ":" + account + ":table/" + tableName
)

// The credentials are those of AWS's documentation: DynamoDB Local takes any.
const (
	accessKeyID     = "AKIAIOSFODNN7EXAMPLE"
	secretAccessKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// hostName is what the bundle calls the table's server. Nobody resolves it: -dynamodb says where it is.
const hostName = "dynamodb.test"

// A table is one of DynamoDB Local, with TLS before it.
type table struct {
	server   *dynamodblocal.Server
	listener net.Listener
	front    *http.Server
	roots    []byte // PEM
}

// openTable starts DynamoDB Local, which is built or found in the cache, and makes the table.
func openTable(ctx context.Context, r *rehearsal.Run) (*table, error) {
	config, err := prepare(ctx, r)
	if err != nil {
		return nil, err
	}
	certificate, roots, err := newCertificate(time.Now())
	if err != nil {
		return nil, err
	}
	server, err := dynamodblocal.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, errors.Join(err, server.Close())
	}
	front := &http.Server{Handler: server.Regional(region, account), ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	t := &table{server, listener, front, roots}
	go front.Serve(listener)
	if err := t.create(ctx); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func prepare(ctx context.Context, r *rehearsal.Run) (dynamodblocal.Config, error) {
	store, err := cache.Open("")
	if err != nil {
		return dynamodblocal.Config{}, err
	}
	mirrors, err := debian.Mirrors("", "")
	if err != nil {
		return dynamodblocal.Config{}, err
	}
	b := &builder.Builder{Checkout: r.Checkout(), Cache: store, Mirrors: mirrors, Progress: r.Progress}
	built, err := b.DynamoDBLocal(ctx)
	if err != nil {
		return dynamodblocal.Config{}, err
	}
	return dynamodblocal.Config{Root: built.Root, Dir: built.Dir}, nil
}

func (t *table) create(ctx context.Context) error {
	client := dynamodb.New(dynamodb.Options{
		Region: region, BaseEndpoint: aws.String(t.server.Endpoint()),
		Credentials: credentials.NewStaticCredentialsProvider(accessKeyID, secretAccessKey, ""),
	})
	_, err := client.CreateTable(ctx, dynamodblocal.SlashingTable(tableName))
	return err
}

// address is where the parents lead their enclaves' calls.
func (t *table) address() string { return t.listener.Addr().String() }

// endpoint is what the enclaves call.
func (t *table) endpoint() string { return "https://" + hostName }

func (t *table) close() {
	t.front.Close()
	t.server.Close()
}

// newCertificate makes a certificate that is its own root.
func newCertificate(now time.Time) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: hostName}, DNSNames: []string{hostName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	roots := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots, nil
}
