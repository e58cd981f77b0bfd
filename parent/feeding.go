package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"holdfast/parent/credentials"
	"holdfast/parent/egress"
	"holdfast/parent/feed"
	"holdfast/parent/host"
	"holdfast/parent/source"
)

// A feeding is what the flags of a launching command say of what the parent does for the enclave.
type feeding struct {
	bundle, region, endpoint string
	poll                     time.Duration
	credentials              string
	journal, control         string
	metrics                  string
	egress                   egress.Destinations
}

// define adds the flags.
func (f *feeding) define(flags *flags) {
	flags.StringVar(&f.bundle, "bundle", "", "feed the enclave this bundle: a `path`, file:PATH or s3://BUCKET/KEY")
	flags.StringVar(&f.region, "region", "", "the AWS `region` of an s3:// bundle")
	flags.StringVar(&f.endpoint, "endpoint-url", "", "`URL` of another S3")
	flags.DurationVar(&f.poll, "poll", feed.DefaultPoll, "how often to look for a newer bundle")
	flags.StringVar(&f.credentials, "credentials", "none", "AWS credentials for the enclave's calls to KMS: imds, env or none (`KIND`)")
	flags.StringVar(&f.journal, "journal", "", "keep the slashing journal in this `directory`, which must exist")
	flags.StringVar(&f.control, "control", "", "make this control `socket`")
	flags.StringVar(&f.egress.KMS, "kms", "", "`HOST:PORT` of KMS, instead of what the bundle names")
	flags.StringVar(&f.egress.DynamoDB, "dynamodb", "", "`HOST:PORT` of DynamoDB, instead of what the bundle names")
	flags.StringVar(&f.metrics, "metrics", "", "serve Prometheus metrics on this loopback `address`, such as 127.0.0.1:9001")
}

// check refuses what cannot be meant.
func (f *feeding) check() error {
	switch f.credentials {
	case "imds", "env", "none":
	default:
		return usagef("-credentials: got %q, want imds, env or none", f.credentials)
	}
	if f.poll < time.Second {
		return usagef("-poll: got %v, want at least 1s", f.poll)
	}
	if f.bundle == "" && (f.region != "" || f.endpoint != "") {
		return usagef("-region and -endpoint-url go with an s3:// -bundle")
	}
	for name, address := range map[string]string{"-kms": f.egress.KMS, "-dynamodb": f.egress.DynamoDB} {
		if host, port, err := net.SplitHostPort(address); address != "" && (err != nil || host == "" || port == "") {
			return usagef("%s: got %q, want HOST:PORT", name, address)
		}
	}
	if f.metrics != "" {
		return checkLoopback("-metrics", f.metrics)
	}
	return nil
}

// services opens what can be opened before an enclave runs. The caller closes Metrics.
func (f *feeding) services(ctx context.Context, stderr io.Writer) (host.Config, error) {
	c := host.Config{
		Poll: f.poll, Egress: f.egress, Journal: f.journal, Control: f.control,
		EnclaveLog: func(line string) { fmt.Fprintf(stderr, "enclave: %s\n", printable(line)) },
		Log:        slog.New(slog.NewTextHandler(stderr, nil)),
	}
	var err error
	if f.bundle != "" {
		if c.Bundles, err = source.Open(ctx, f.bundle, source.Options{Region: f.region, Endpoint: f.endpoint}); err != nil {
			return c, err
		}
	}
	switch f.credentials {
	case "imds":
		c.Credentials = credentials.Instance(os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
	case "env":
		if c.Credentials, err = credentials.Environment(ctx); err != nil {
			return c, err
		}
	}
	if f.metrics != "" {
		if c.Metrics, err = net.Listen("tcp", f.metrics); err != nil {
			return c, fmt.Errorf("-metrics: %w", err)
		}
	}
	return c, nil
}
