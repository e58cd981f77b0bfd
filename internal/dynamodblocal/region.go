package dynamodblocal

import (
	"bytes"
	"context"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
)

// localPrefix begins the ARN of every table, whatever the region and the account of the credentials.
const localPrefix = "arn:aws:dynamodb:ddblocal:000000000000:"

// maxBody bounds a request and an answer, in bytes (Amazon DynamoDB Developer Guide, quotas: 16 MB).
const maxBody = 16 << 20

// Regional is the program as tables of a region and an account of AWS's have it, which bundles can name:
// ARNs are of these in what it is asked and answers. The program verifies no signature, so a changed request
// is as good as the signed one; the checksum of an answer is made anew.
func (s *Server) Regional(region, account string) http.Handler {
	prefix := "arn:aws:dynamodb:" + region + ":" + account + ":"
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "dynamodb"
			body, err := replaced(r.In.Body, prefix, localPrefix)
			if err != nil {
				body = nil // the program refuses what is no JSON
			}
			r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		},
		ModifyResponse: func(r *http.Response) error {
			body, err := replaced(r.Body, localPrefix, prefix)
			if err != nil {
				return err
			}
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			r.Header.Set("Content-Length", strconv.Itoa(len(body)))
			r.Header.Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
			return nil
		},
		Transport: &http.Transport{
			DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx) },
			DisableCompression: true,
		},
	}
}

// replaced reads a body, closes it and returns it with from replaced by to.
func replaced(body io.ReadCloser, from, to string) ([]byte, error) {
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxBody))
	return []byte(strings.ReplaceAll(string(data), from, to)), err
}
