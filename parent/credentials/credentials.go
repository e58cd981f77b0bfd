// Package credentials gets AWS credentials for an enclave to call KMS with: the instance role's, through
// IMDSv2, or those of the environment on machines that are not instances.
//
// They are the parent's own and give nobody a key: KMS releases a data key to an attested enclave only. They
// are still worth keeping to oneself, so nothing here prints them, and an error never holds them.
package credentials

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"holdfast/enclave/control/message"
)

// A Source gives credentials that have not expired. It is asked again before they do.
type Source interface {
	Get(ctx context.Context) (message.Credentials, error)
}

// timeout bounds one attempt. The metadata service is on the host, so it answers in milliseconds.
const timeout = 20 * time.Second

// sessionLifetime is that of the session which stands for credentials that do not expire.
const sessionLifetime = time.Hour

// An awsSource asks AWS's own provider.
type awsSource struct {
	provider aws.CredentialsProvider
	now      func() time.Time
}

// Instance returns the credentials of the instance's role. The metadata service is asked with a session token
// (IMDSv2) and in no other way. An empty endpoint is the real one.
func Instance(endpoint string) Source {
	client := imds.New(imds.Options{
		Endpoint:       endpoint,
		EnableFallback: aws.FalseTernary,
		// Never through a proxy that the environment names, and never elsewhere.
		HTTPClient: &http.Client{Transport: &http.Transport{}, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	})
	return awsSource{ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = client }), time.Now}
}

// Environment returns the credentials that AWS's own tools would use here: of the environment, of the shared
// files, of the single sign-on. An IAM user's own, which do not expire, stay here: the enclave gets a session of
// an hour in their place (STS GetSessionToken).
func Environment(ctx context.Context) (Source, error) {
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("AWS configuration: %w", err)
	}
	return awsSource{sessions{c}, time.Now}, nil
}

// sessions gives a session's credentials in place of those that have none.
type sessions struct{ aws.Config }

// Retrieve implements [aws.CredentialsProvider].
func (s sessions) Retrieve(ctx context.Context) (aws.Credentials, error) {
	lasting, err := s.Credentials.Retrieve(ctx)
	if err != nil || lasting.SessionToken != "" {
		return lasting, err
	}
	if s.Region == "" {
		return aws.Credentials{}, errors.New("a session for an IAM user takes a region (hint: AWS_REGION)")
	}
	got, err := sts.NewFromConfig(s.Config).GetSessionToken(ctx, &sts.GetSessionTokenInput{
		DurationSeconds: aws.Int32(int32(sessionLifetime / time.Second)),
	})
	if err != nil {
		return aws.Credentials{}, err
	}
	if got.Credentials == nil || got.Credentials.Expiration == nil {
		return aws.Credentials{}, errors.New("STS gave no session")
	}
	return aws.Credentials{
		AccessKeyID: aws.ToString(got.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(got.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(got.Credentials.SessionToken),
		CanExpire:    true, Expires: *got.Credentials.Expiration,
	}, nil
}

// Get implements [Source].
func (s awsSource) Get(ctx context.Context) (message.Credentials, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	got, err := s.provider.Retrieve(ctx)
	if err != nil {
		return message.Credentials{}, fmt.Errorf("credentials: %w", err)
	}
	if !got.CanExpire { // a session's of the environment, whose end it does not tell
		got.Expires = s.now().Add(sessionLifetime)
	}
	switch {
	case got.AccessKeyID == "" || got.SecretAccessKey == "" || got.SessionToken == "":
		return message.Credentials{}, errors.New("credentials: got none")
	case !got.Expires.After(s.now()):
		return message.Credentials{}, fmt.Errorf("credentials: expired at %v", got.Expires.UTC().Format(time.RFC3339))
	}
	return message.Credentials{
		AccessKeyID:     got.AccessKeyID,
		SecretAccessKey: got.SecretAccessKey,
		SessionToken:    got.SessionToken,
		Expiration:      got.Expires.UTC(),
	}, nil
}
