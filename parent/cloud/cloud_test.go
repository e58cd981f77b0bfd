package cloud_test

import (
	"strings"
	"testing"

	"holdfast/parent/cloud"
	"holdfast/verify/envelope"
)

func TestAnARNNamesItsEndpoint(t *testing.T) {
	const key = ":111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	for arn, want := range map[string]string{
		"arn:aws:kms:eu-central-1" + key:         "kms.eu-central-1.amazonaws.com:443",
		"arn:aws-us-gov:kms:us-gov-west-1" + key: "kms.us-gov-west-1.amazonaws.com:443",
		"arn:aws-cn:kms:cn-north-1" + key:        "kms.cn-north-1.amazonaws.com.cn:443",
	} {
		if got, err := cloud.Endpoint(arn, envelope.KMSKey); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", arn, got, err, want)
		}
	}
	const table = "arn:aws:dynamodb:us-east-1:111122223333:table/holdfast"
	if got, err := cloud.Endpoint(table, envelope.DynamoDBTable); err != nil || got != "dynamodb.us-east-1.amazonaws.com:443" {
		t.Errorf("table: got %q, %v", got, err)
	}
	for _, arn := range []string{"", table, "arn:aws:kms:eu-central-1:111122223333:alias/x", "arn:aws-mars:kms:eu-central-1" + key} {
		if got, err := cloud.Endpoint(arn, envelope.KMSKey); err == nil || got != "" {
			t.Errorf("%q: got %q, want an error", arn, got)
		}
	}
}

func TestAnEndpointIsAHostAndNothingMore(t *testing.T) {
	for endpoint, want := range map[string]string{
		"https://kms.example":      "kms.example:443",
		"https://kms.example:8443": "kms.example:8443",
		"https://[2001:db8::1]:99": "[2001:db8::1]:99",
		"https://127.0.0.1":        "127.0.0.1:443",
	} {
		if got, err := cloud.HostPort(endpoint); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", endpoint, got, err, want)
		}
	}
	for _, endpoint := range []string{
		"", "kms.example", "http://kms.example", "https://", "https://kms.example/", "https://kms.example/x",
		"https://user@kms.example", "https://kms.example?x", "https://kms.example#x", "https:kms.example",
	} {
		if got, err := cloud.HostPort(endpoint); err == nil || got != "" {
			t.Errorf("%q: got %q, want an error", endpoint, got)
		}
	}
}

func TestTheRegionGivenIsTaken(t *testing.T) {
	t.Setenv("AWS_REGION", "eu-west-1")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	for given, want := range map[string]string{"": "eu-west-1", "us-east-2": "us-east-2"} {
		if c, err := cloud.Configuration(t.Context(), given); err != nil || c.Region != want {
			t.Errorf("given %q: got %q, %v; want %q", given, c.Region, err, want)
		}
	}
}

func TestWithoutARegionTheRemedyIsSaid(t *testing.T) {
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if _, err := cloud.Configuration(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "region") {
		t.Errorf("got %v, want it to name the region", err)
	}
}
