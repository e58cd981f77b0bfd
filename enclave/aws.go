package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"holdfast/enclave/bundle"
	"holdfast/enclave/egress"
	"holdfast/enclave/unseal"
)

// kms is the client of the configuration in force.
func (a *application) kms() (*unseal.KMS, error) {
	a.change.Lock()
	defer a.change.Unlock()
	if a.configuration == nil || a.configuration.KMS == nil {
		return nil, errors.New("the configuration names no KMS key")
	}
	return a.kmsOf(a.configuration)
}

// kmsOf is the client of a configuration that names a KMS key.
func (a *application) kmsOf(c *bundle.Configuration) (*unseal.KMS, error) {
	client, err := a.client(egress.KMSPort, c.KMS.Endpoint, c.KMS.Roots)
	if err != nil {
		return nil, err
	}
	return unseal.NewKMS(unseal.KMSConfig{
		Key: c.KMS.Key, Endpoint: c.KMS.Endpoint, Client: client,
		Module: a.module, Credentials: a.roles, Clock: a.trusted, Log: a.log,
	})
}

// client speaks HTTPS through one of the parent's egress ports. The parent decides
// where that leads; the certificate decides whether it is believed.
func (a *application) client(port uint32, endpoint string, roots []byte) (*http.Client, error) {
	pool := egress.AmazonRoots()
	if roots != nil {
		var err error
		if pool, err = egress.Roots(roots); err != nil {
			return nil, err
		}
	}
	var name string
	if endpoint != "" {
		parsed, err := url.Parse(endpoint)
		if err != nil {
			return nil, err
		}
		name = parsed.Hostname()
	}
	dial := func(ctx context.Context) (net.Conn, error) { return a.dial(ctx, port) }
	return egress.NewClient(dial, name, pool), nil
}

// tableCredentials are those that the bundle seals: the parent's could roll the
// table back.
func tableCredentials(c *bundle.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, string(c.SecretAccessKey.Reveal()), "")
}
