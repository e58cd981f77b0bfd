// Package channel speaks HTTPS with an enclave whose certificate no authority
// vouches for.
//
// The enclave makes its certificate when it starts, so there is nothing to
// trust before its attestation document is verified. The channel therefore
// accepts any certificate on its first connection, remembers the key, and
// refuses every later connection that shows another. TLS 1.3 proves that the
// peer holds the key; the document's binding proves, later, that the key is the
// enclave's. What was received until then is a claim.
package channel

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// Timeout bounds one exchange, connecting included.
	Timeout = 30 * time.Second

	// maxHeaderSize bounds a response's header.
	maxHeaderSize = 16 << 10
)

// A Channel talks to one enclave.
type Channel struct {
	base   string
	client *http.Client

	mu   sync.Mutex
	peer *x509.Certificate // of the first connection
}

// Open makes a channel to https://HOST[:PORT]. It does not connect yet.
func Open(rawURL string) (*Channel, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("URL %q: %w", rawURL, err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || (u.Path != "" && u.Path != "/") {
		return nil, fmt.Errorf("URL %q: want https://HOST:PORT and nothing else", rawURL)
	}
	c := &Channel{base: "https://" + u.Host}
	c.client = &http.Client{
		Timeout: Timeout,
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13,
				// The peer is authenticated by its attestation document.
				InsecureSkipVerify: true,
				VerifyConnection:   c.pin,
			},
			MaxResponseHeaderBytes: maxHeaderSize,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("the server redirects, which an enclave does not")
		},
	}
	return c, nil
}

// pin is called on every connection, resumed ones too.
func (c *Channel) pin(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server presented no certificate")
	}
	leaf := state.PeerCertificates[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.peer == nil {
		c.peer = leaf
		return nil
	}
	if !bytes.Equal(c.peer.RawSubjectPublicKeyInfo, leaf.RawSubjectPublicKeyInfo) {
		return errors.New("the server changed its TLS key between two connections")
	}
	return nil
}

// URL returns the address without a path.
func (c *Channel) URL() string { return c.base }

// Peer returns the certificate of the first connection, or nil before it.
func (c *Channel) Peer() *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// Close closes idle connections.
func (c *Channel) Close() { c.client.CloseIdleConnections() }

// Get fetches a path of at most limit bytes.
func (c *Channel) Get(ctx context.Context, path string, limit int64) (status int, body []byte, err error) {
	return c.do(ctx, http.MethodGet, path, nil, limit)
}

// Post sends an octet stream and reads an answer of at most limit bytes.
func (c *Channel) Post(ctx context.Context, path string, body []byte, limit int64) (status int, answer []byte, err error) {
	return c.do(ctx, http.MethodPost, path, body, limit)
}

func (c *Channel) do(ctx context.Context, method, path string, body []byte, limit int64) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/octet-stream")
		// A request that may have an effect is sent once, so not on an idle connection: the peer may have
		// closed that one in the meantime.
		req.GetBody = nil
		c.client.CloseIdleConnections()
	}
	res, err := c.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer to %s %s: %w", method, path, err)
	}
	if int64(len(answer)) > limit {
		return 0, nil, fmt.Errorf("the answer to %s %s exceeds %d bytes", method, path, limit)
	}
	return res.StatusCode, answer, nil
}
