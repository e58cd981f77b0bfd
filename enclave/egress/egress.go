// Package egress makes the HTTP clients with which the enclave reaches the world.
//
// The enclave has no network. The parent carries bytes from one vsock port to one
// destination, and TLS ends here: the server must prove the one name that the
// client was made for, below roots that the image or the configuration holds. A
// parent that carries the bytes elsewhere gets a failed handshake.
//
// A client takes nothing from its surroundings: no proxy from the environment,
// no roots of the system, no address from a name service. It follows no
// redirect, asks for no compression, and every answer has a bound and a deadline.
//
// Certificates are compared with the clock of the system, which the hypervisor
// sets and the host may influence. A host that sets it back makes an expired
// certificate of Amazon's valid again, and has gained nothing without its key.
package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mdlayher/vsock"
)

// The vsock ports on which the parent carries bytes, one destination each.
const (
	KMSPort      = 8000
	DynamoDBPort = 8001
)

// Every bound of a client, with its reason.
const (
	// MaxResponseSize bounds an answer's body. A page of DynamoDB holds one
	// megabyte, and its JSON less than three more; KMS answers some kilobytes.
	MaxResponseSize = 4 << 20

	// maxHeaderSize bounds an answer's header. AWS sends less than one kilobyte.
	maxHeaderSize = 16 << 10

	// connectTimeout bounds the connection and the handshake together.
	connectTimeout = 10 * time.Second

	// headerTimeout bounds the wait for an answer once a request is sent.
	headerTimeout = 10 * time.Second

	// requestTimeout bounds a request and all of its answer.
	requestTimeout = 30 * time.Second

	// maxConnections bounds those at once, and maxIdle those kept for later.
	maxConnections = 64
	maxIdle        = 64

	// idleTimeout closes a connection before AWS does, after a minute and more.
	idleTimeout = 45 * time.Second
)

// A Dialer opens a connection to the one destination.
type Dialer = func(context.Context) (net.Conn, error)

// Vsock returns a dialer to a port of the parent with the given CID. The kernel
// gives up after two seconds (VSOCK_DEFAULT_CONNECT_TIMEOUT).
func Vsock(cid, port uint32) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		type result struct {
			conn *vsock.Conn
			err  error
		}
		dialed := make(chan result, 1)
		go func() {
			conn, err := vsock.Dial(cid, port, nil)
			dialed <- result{conn, err}
		}()
		select {
		case r := <-dialed:
			if r.err != nil {
				return nil, r.err
			}
			return r.conn, nil
		case <-ctx.Done():
			go func() { // the call cannot be broken off; what comes of it is not wanted
				if r := <-dialed; r.err == nil {
					_ = r.conn.Close()
				}
			}()
			return nil, fmt.Errorf("dial vsock %d:%d: %w", cid, port, context.Cause(ctx))
		}
	}
}

// NewClient makes a client of one destination. Requests go to https://serverName,
// with any port, and the server must prove that name below roots; nil roots
// trust nobody. Every connection comes from dial.
func NewClient(dial Dialer, serverName string, roots *x509.CertPool) *http.Client {
	if roots == nil {
		roots = x509.NewCertPool() // crypto/tls would take the system's
	}
	c := &connector{dial: dial, config: &tls.Config{
		ServerName: serverName,
		RootCAs:    roots,
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"http/1.1"},
	}}
	transport := &http.Transport{
		Proxy:                  nil,
		DialContext:            refusePlain,
		DialTLSContext:         c.connect,
		DisableCompression:     true,
		MaxConnsPerHost:        maxConnections,
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		ResponseHeaderTimeout:  headerTimeout,
		MaxResponseHeaderBytes: maxHeaderSize,
		TLSNextProto:           map[string]func(string, *tls.Conn) http.RoundTripper{},
	}
	return &http.Client{
		Transport:     &bounded{serverName: serverName, next: transport},
		CheckRedirect: refuseRedirect,
		Timeout:       requestTimeout,
	}
}

func refusePlain(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("egress: no connection without TLS")
}

func refuseRedirect(next *http.Request, _ []*http.Request) error {
	return fmt.Errorf("egress: redirected to %q, and no redirect is followed", next.URL.Host)
}

// A connector ends TLS on connections of a dialer.
type connector struct {
	dial   Dialer
	config *tls.Config
}

// connect ignores the address: there is one destination.
func (c *connector) connect(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	raw, err := c.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("egress: reaching the parent: %w", err)
	}
	conn := tls.Client(raw, c.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("egress: TLS with %s: %w", c.config.ServerName, err)
	}
	return conn, nil
}

// bounded holds requests to the destination, and answers to their bound.
type bounded struct {
	serverName string
	next       *http.Transport
}

// RoundTrip refuses other destinations and bounds the body.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || !strings.EqualFold(r.URL.Hostname(), b.serverName) {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, fmt.Errorf("egress: got a request to %s://%s, want https://%s", r.URL.Scheme, r.URL.Host, b.serverName)
	}
	response, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.ContentLength > MaxResponseSize {
		_ = response.Body.Close()
		return nil, fmt.Errorf("egress: got an answer of %d bytes, want at most %d", response.ContentLength, MaxResponseSize)
	}
	response.Body = &limited{body: response.Body, left: MaxResponseSize}
	return response, nil
}

// CloseIdleConnections serves [http.Client.CloseIdleConnections].
func (b *bounded) CloseIdleConnections() { b.next.CloseIdleConnections() }

// errTooLarge is not io.EOF, so a cut answer is never taken for a whole one.
var errTooLarge = fmt.Errorf("egress: got an answer of more than %d bytes", MaxResponseSize)

// limited reads up to a bound, and fails beyond it.
type limited struct {
	body io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	if len(p) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.body.Read(p)
	if n > l.left {
		return l.left, errTooLarge
	}
	l.left -= n
	return n, err
}

func (l *limited) Close() error { return l.body.Close() }
