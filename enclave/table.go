package main

import (
	"context"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"holdfast/enclave/bundle"
	"holdfast/enclave/egress"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/dynamo"
)

// openTable opens the DynamoDB table that a bundle names, with the credentials that
// the bundle seals: the parent's could put back an older state of it.
func (a *application) openTable(ctx context.Context, b *bundle.Bundle) (*dynamo.Store, error) {
	settings := &b.Settings.Slashing
	base, err := dynamo.BaseURL(settings.Table, settings.Endpoint)
	if err != nil {
		return nil, err
	}
	where, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	client, err := a.client(egress.DynamoDBPort, where.Hostname(), settings.Roots)
	if err != nil {
		return nil, err
	}
	keys := make([]slashing.PublicKey, len(b.Keys))
	for i, key := range b.Keys {
		keys[i] = slashing.PublicKey(key.PublicKey())
	}
	return dynamo.Open(ctx, dynamo.Config{
		Table:       settings.Table,
		Endpoint:    settings.Endpoint,
		Client:      client,
		Credentials: credentials.NewStaticCredentialsProvider(b.Store.AccessKeyID, string(b.Store.SecretAccessKey.Reveal()), ""),
		Key:         b.SlashingKey,
		Network:     b.Settings.Network.GenesisValidatorsRoot,
		Keys:        keys,
		Log:         a.log,
	})
}
