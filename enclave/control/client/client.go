// Package client calls an enclave's control port: every call of enclave/control/message, as HTTP/1.1 over a
// connection that a Dialer makes. The parent uses it, and who holds keys, through a socket that the parent makes.
//
// The enclave is what is measured, yet its callers bound what they read from it, and how long they wait. An
// answer may have fields that this package does not know: an instance may be older than the enclave image
// that it runs.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"holdfast/enclave/control/message"
)

// A Dialer connects to the control port.
type Dialer func(ctx context.Context) (net.Conn, error)

// Timeouts of one call, connecting included.
const (
	quickTimeout = 30 * time.Second // a question, or a few lines
	slowTimeout  = 5 * time.Minute  // megabytes, and 16,384 public keys derived
)

// maxGenerated bounds a bundle with its public keys and document, in base64 and hexadecimal digits.
const maxGenerated = 2 * message.MaxBundleSize

// maxText bounds what is neither JSON of a bounded kind nor a file: metrics.
const maxText = 16 << 20

// Client calls one enclave. It may be used from several goroutines.
type Client struct{ http *http.Client }

// New returns a client that reaches the enclave by dial. Nothing is dialled yet.
func New(dial Dialer) *Client {
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		// The emulator's vsock may lose the end of an answer where the enclave closes after it, so
		// connections are kept. They are given up before the enclave gives them up.
		MaxIdleConns:       2,
		IdleConnTimeout:    5 * time.Second,
		DisableCompression: true,
	}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// Unix returns a client of the control socket that 'parent emulate -control' makes.
func Unix(socket string) *Client {
	return New(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	})
}

// Close closes the connections that are not in use.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A RefusedError is the enclave's own word on why it did not do what it was asked.
type RefusedError struct {
	Code   int    // HTTP status
	Reason string // the enclave's text
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the enclave refused (%d): %s", e.Code, e.Reason)
}

// A call is one request.
type call struct {
	method, path string
	contentType  string
	body         []byte
	limit        int64 // bytes of the answer
	timeout      time.Duration
}

const (
	typeJSON   = "application/json"
	typeBinary = "application/octet-stream"
)

// Status asks how far the enclave has come.
func (c *Client) Status(ctx context.Context) (message.Status, error) {
	return ask[message.Status](ctx, c, get("/status"))
}

// PutBundle hands an envelope over. The answer tells whether it has been opened, or why not yet. A bundle
// that cannot take the place of the one that serves is a [*RefusedError].
func (c *Client) PutBundle(ctx context.Context, bundle []byte) (message.Status, error) {
	return ask[message.Status](ctx, c, call{
		method: http.MethodPut, path: "/bundle", contentType: typeBinary, body: bundle,
		limit: message.MaxSize, timeout: slowTimeout,
	})
}

// PutCredentials hands the role's credentials over.
func (c *Client) PutCredentials(ctx context.Context, credentials message.Credentials) error {
	return c.tell(ctx, http.MethodPut, "/credentials", credentials)
}

// Logs returns the lines of the enclave's log after the one numbered after.
func (c *Client) Logs(ctx context.Context, after uint64) (message.Logs, error) {
	return ask[message.Logs](ctx, c, get(fmt.Sprintf("/logs?after=%d", after)))
}

// Metrics returns the enclave's metrics in Prometheus' text form.
func (c *Client) Metrics(ctx context.Context) ([]byte, error) {
	metrics := get("/metrics")
	metrics.limit = maxText
	return c.do(ctx, metrics)
}

// Head names the journal that this start of the enclave read.
func (c *Client) Head(ctx context.Context) (message.Head, error) {
	return ask[message.Head](ctx, c, get("/slashing/head"))
}

// Vouch hands over the operator's statement that a journal is current.
func (c *Client) Vouch(ctx context.Context, statement message.Statement) error {
	return c.tell(ctx, http.MethodPost, "/slashing/vouch", statement)
}

// Watermarks returns those of every key.
func (c *Client) Watermarks(ctx context.Context) ([]message.Watermark, error) {
	watermarks := get("/slashing/watermarks")
	watermarks.limit = message.MaxInterchangeSize // as many keys as an interchange has
	return ask[[]message.Watermark](ctx, c, watermarks)
}

// Raise raises watermarks and returns those of every key afterwards.
func (c *Client) Raise(ctx context.Context, raise message.Raise) ([]message.Watermark, error) {
	body, err := json.Marshal(raise)
	if err != nil {
		return nil, err
	}
	return ask[[]message.Watermark](ctx, c, call{
		method: http.MethodPost, path: "/slashing/watermarks", contentType: typeJSON, body: body,
		limit: message.MaxInterchangeSize, timeout: slowTimeout,
	})
}

// Interchange returns the EIP-3076 document of every key, at most [message.MaxInterchangeSize] bytes.
func (c *Client) Interchange(ctx context.Context) ([]byte, error) {
	return c.do(ctx, call{
		method: http.MethodGet, path: "/slashing/interchange",
		limit: message.MaxInterchangeSize, timeout: slowTimeout,
	})
}

// Import has an EIP-3076 document merged into the enclave's store, wholly or not at all.
func (c *Client) Import(ctx context.Context, interchange []byte) (message.ImportResult, error) {
	if len(interchange) > message.MaxInterchangeSize {
		return message.ImportResult{}, fmt.Errorf("interchange: %d bytes, want at most %d", len(interchange), message.MaxInterchangeSize)
	}
	return ask[message.ImportResult](ctx, c, call{
		method: http.MethodPost, path: "/slashing/interchange", contentType: typeJSON, body: interchange,
		limit: message.MaxInterchangeSize, timeout: slowTimeout,
	})
}

// Generate has keys made inside. The answer is an enclave's word, and as good as its attestation: the caller
// verifies it (verify/evidence reads it).
func (c *Client) Generate(ctx context.Context, asked message.Generate) ([]byte, error) {
	return c.ceremony(ctx, "/keys", asked)
}

// ImportTables has the predecessor's rows decrypted and sealed inside. The answer is as that of Generate. Rows
// of more than [message.MaxBundleSize] bytes in all are an error.
func (c *Client) ImportTables(ctx context.Context, tables message.Tables) ([]byte, error) {
	return c.ceremony(ctx, "/tables", tables)
}

// ceremony asks for a bundle that is made inside, and returns the answer as it came.
func (c *Client) ceremony(ctx context.Context, path string, asked any) ([]byte, error) {
	body, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	if len(body) > message.MaxBundleSize {
		return nil, fmt.Errorf("%d bytes of rows, and an enclave takes at most %d at once", len(body), message.MaxBundleSize)
	}
	return c.do(ctx, call{
		method: http.MethodPost, path: path, contentType: typeJSON, body: body,
		limit: maxGenerated, timeout: slowTimeout,
	})
}

func get(path string) call {
	return call{method: http.MethodGet, path: path, limit: message.MaxSize, timeout: quickTimeout}
}

// tell sends JSON and expects no answer but success.
func (c *Client) tell(ctx context.Context, method, path string, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, call{
		method: method, path: path, contentType: typeJSON, body: body,
		limit: message.MaxSize, timeout: quickTimeout,
	})
	return err
}

// ask returns the JSON that answers a call.
func ask[T any](ctx context.Context, c *Client, q call) (T, error) {
	var answer T
	data, err := c.do(ctx, q)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return *new(T), fmt.Errorf("the enclave's answer to %s %s: %w", q.method, q.path, err)
	}
	return answer, nil
}

// do makes a call and returns the body of a success.
func (c *Client) do(ctx context.Context, q call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, q.method, "http://enclave"+q.path, bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return nil, refusal(resp)
	}
	data, err := readBounded(resp.Body, q.limit)
	if err != nil {
		return nil, fmt.Errorf("the enclave's answer to %s %s: %w", q.method, q.path, err)
	}
	return data, nil
}

// unreachable takes the made-up URL out of an error, which would only puzzle.
func unreachable(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	return fmt.Errorf("reaching the enclave's control port: %w", err)
}

func refusal(resp *http.Response) error {
	data, err := readBounded(resp.Body, message.MaxSize)
	if err != nil {
		return fmt.Errorf("the enclave's refusal (%s): %w", resp.Status, err)
	}
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(data, &said) != nil || said.Error == "" {
		said.Error = http.StatusText(resp.StatusCode)
	}
	return &RefusedError{Code: resp.StatusCode, Reason: said.Error}
}

// readBounded reads to the end, which must come within limit bytes.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("longer than %d bytes", limit)
	}
	return data, nil
}
