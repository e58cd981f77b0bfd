// Package cloud holds what the parent's clients of AWS have in common: where their configuration comes from,
// and what AWS calls its endpoints.
package cloud

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"holdfast/verify/envelope"
)

// Configuration reads AWS's configuration from the environment and the shared files, as AWS's own tools do.
// The region is the one given, or the environment's, or on an instance that instance's.
func Configuration(ctx context.Context, region string) (aws.Config, error) {
	load := []func(*config.LoadOptions) error{config.WithEC2IMDSRegion()}
	if region != "" {
		load = []func(*config.LoadOptions) error{config.WithRegion(region)}
	}
	c, err := config.LoadDefaultConfig(ctx, load...)
	switch {
	case err != nil && region == "":
		return aws.Config{}, fmt.Errorf("AWS configuration: %w (hint: where this is no instance, name the region by flag or AWS_REGION)", err)
	case err != nil:
		return aws.Config{}, fmt.Errorf("AWS configuration: %w", err)
	}
	return c, nil
}

// Endpoint returns where AWS serves the resource that a full ARN names, by host and port: of a KMS key such
// as "kms.eu-central-1.amazonaws.com:443".
func Endpoint(arn string, kind envelope.Resource) (string, error) {
	host, err := envelope.Host(arn, kind)
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(host, "443"), nil
}

// HostPort returns where an endpoint's URL leads: "https://HOST[:PORT]", nothing more.
func HostPort(endpoint string) (string, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || *u != (url.URL{Scheme: "https", Host: u.Host}) {
		return "", fmt.Errorf("got endpoint %q, want https://HOST[:PORT]", endpoint)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}
