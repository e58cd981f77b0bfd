package source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"holdfast/enclave/control/message"
	"holdfast/parent/cloud"
)

// An object is a bundle in S3.
type object struct {
	client      *s3.Client
	bucket, key string

	// What was fetched last, so that asking again costs no transfer.
	etag, revision string
	data           []byte
}

// openS3 takes what follows "s3:".
func openS3(ctx context.Context, rest string, options Options) (Source, error) {
	path, ok := strings.CutPrefix(rest, "//")
	bucket, key, _ := strings.Cut(path, "/")
	if !ok || bucket == "" || key == "" {
		return nil, fmt.Errorf("bundle source %q: want s3://BUCKET/KEY", "s3:"+rest)
	}
	configuration, err := cloud.Configuration(ctx, options.Region)
	if err != nil {
		return nil, err
	}
	client := s3.NewFromConfig(configuration, func(o *s3.Options) {
		o.DisableLogOutputChecksumValidationSkipped = true // a bundle proves itself
		if options.Endpoint != "" {
			o.BaseEndpoint = aws.String(options.Endpoint)
			o.UsePathStyle = true // a local server has no name for each bucket
		}
	})
	return &object{client: client, bucket: bucket, key: key}, nil
}

func (o *object) String() string { return "s3://" + o.bucket + "/" + o.key }

// Get fetches the object if it is another than before. Its revision is the version's identifier where the
// bucket keeps versions, and else the entity tag.
func (o *object) Get(ctx context.Context) ([]byte, string, error) {
	input := &s3.GetObjectInput{Bucket: &o.bucket, Key: &o.key}
	if o.etag != "" {
		input.IfNoneMatch = &o.etag
	}
	output, err := o.client.GetObject(ctx, input)
	if isNotModified(err) {
		return o.data, o.revision, nil
	}
	if err != nil {
		return nil, "", err
	}
	defer output.Body.Close()
	if aws.ToInt64(output.ContentLength) > message.MaxBundleSize {
		return nil, "", errLarge
	}
	data, err := read(output.Body)
	if err != nil {
		return nil, "", err
	}
	revision := aws.ToString(output.VersionId)
	if revision == "" || revision == "null" { // "null" is the version of a bucket that keeps none
		revision = aws.ToString(output.ETag)
	}
	if revision == "" {
		return nil, "", errors.New("the store gave neither a version nor an entity tag")
	}
	o.data, o.etag, o.revision = data, aws.ToString(output.ETag), revision
	return data, revision, nil
}

func isNotModified(err error) bool {
	var answer *awshttp.ResponseError
	return errors.As(err, &answer) && answer.HTTPStatusCode() == http.StatusNotModified
}
