package main

import (
	"context"
	"errors"
	"net"
	"net/http"

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
	endpoint, err := unseal.Endpoint(c.KMS.Key, c.KMS.Endpoint)
	if err != nil {
		return nil, err
	}
	client, err := a.client(egress.KMSPort, endpoint.Hostname(), c.KMS.Roots)
	if err != nil {
		return nil, err
	}
	return unseal.NewKMS(unseal.KMSConfig{
		Key: c.KMS.Key, Endpoint: c.KMS.Endpoint, Client: client,
		Module: a.module, Credentials: a.roles, Clock: a.trusted, Log: a.log,
	})
}

// client speaks HTTPS to a host through one of the parent's egress ports. The parent
// decides where that leads; the certificate decides whether it is believed.
func (a *application) client(port uint32, host string, roots []byte) (*http.Client, error) {
	pool := egress.AmazonRoots()
	if roots != nil {
		var err error
		if pool, err = egress.Roots(roots); err != nil {
			return nil, err
		}
	}
	return egress.NewClient(func(ctx context.Context) (net.Conn, error) { return a.dial(ctx, port) }, host, pool), nil
}
