package egress_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/enclave/egress"
)

// serverName is among the names of httptest's certificate.
const serverName = "example.com"

// A destination is a server, with the roots below which it proves its names.
type destination struct {
	*httptest.Server
	roots *x509.CertPool
	dials atomic.Int32
}

func serve(t *testing.T, handler http.HandlerFunc, change ...func(*httptest.Server)) *destination {
	t.Helper()
	d := &destination{Server: httptest.NewUnstartedServer(handler), roots: x509.NewCertPool()}
	d.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, f := range change {
		f(d.Server)
	}
	d.StartTLS()
	t.Cleanup(d.Close)
	d.roots.AddCert(d.Certificate())
	return d
}

func (d *destination) dial(ctx context.Context) (net.Conn, error) {
	d.dials.Add(1)
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", d.Listener.Addr().String())
}

func (d *destination) client() *http.Client { return egress.NewClient(d.dial, serverName, d.roots) }

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

// get returns the body.
func get(t *testing.T, client *http.Client, url string) (string, error) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want it to say %q", err, want)
	}
}

func TestAClientReachesItsDestinationWhateverTheAddress(t *testing.T) {
	d := serve(t, hello)
	client := d.client()
	for _, url := range []string{"https://example.com/", "https://example.com:4566/path", "https://EXAMPLE.com"} {
		if got, err := get(t, client, url); err != nil || got != "hello" {
			t.Errorf("%s: got %q, %v", url, got, err)
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	d := serve(t, hello)
	client := d.client()
	for range 5 {
		if _, err := get(t, client, "https://example.com"); err != nil {
			t.Fatal(err)
		}
	}
	if got := d.dials.Load(); got != 1 {
		t.Errorf("got %d connections for five requests, want 1", got)
	}
	client.CloseIdleConnections()
	if _, err := get(t, client, "https://example.com"); err != nil || d.dials.Load() != 2 {
		t.Errorf("got %v, %d connections, want a second", err, d.dials.Load())
	}
}

func TestOnlyTheNameAndOnlyTLSAreReached(t *testing.T) {
	d := serve(t, hello)
	for _, url := range []string{"http://example.com", "https://example.org", "https://127.0.0.1", "https://example.com.evil.example"} {
		_, err := get(t, d.client(), url)
		wantError(t, err, "want https://example.com")
	}
	if d.dials.Load() != 0 {
		t.Error("a connection was made")
	}
}

func TestAServerThatCannotProveTheNameGetsNothing(t *testing.T) {
	asked := false
	d := serve(t, func(http.ResponseWriter, *http.Request) { asked = true })
	other := egress.AmazonRoots()
	for name, client := range map[string]*http.Client{
		"another name": egress.NewClient(d.dial, "kms.eu-central-1.amazonaws.com", d.roots),
		"other roots":  egress.NewClient(d.dial, serverName, other),
		"no roots":     egress.NewClient(d.dial, serverName, nil),
	} {
		url := "https://example.com"
		if name == "another name" {
			url = "https://kms.eu-central-1.amazonaws.com"
		}
		_, err := get(t, client, url)
		wantError(t, err, "egress: TLS with ")
	}
	if asked {
		t.Error("a request came through")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	d := serve(t, hello, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	})
	_, err := get(t, d.client(), "https://example.com")
	wantError(t, err, "protocol version")
}

func TestTheEnvironmentsProxyIsNotAsked(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	d := serve(t, hello)
	if got, err := get(t, d.client(), "https://example.com"); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	requests := 0
	d := serve(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		http.Redirect(w, r, "https://example.com/elsewhere", http.StatusTemporaryRedirect)
	})
	_, err := get(t, d.client(), "https://example.com")
	wantError(t, err, `redirected to "example.com"`)
	if requests != 1 {
		t.Errorf("got %d requests, want 1", requests)
	}
}

func TestAnAnswerHasABound(t *testing.T) {
	for name, test := range map[string]struct {
		size    int
		chunked bool
		want    string
	}{
		"the largest":            {egress.MaxResponseSize, false, ""},
		"the largest in chunks":  {egress.MaxResponseSize, true, ""},
		"larger":                 {egress.MaxResponseSize + 1, false, "got an answer of 4194305 bytes, want at most 4194304"},
		"larger, told by nobody": {egress.MaxResponseSize + 1, true, "got an answer of more than 4194304 bytes"},
	} {
		d := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if !test.chunked {
				w.Header().Set("Content-Length", strconv.Itoa(test.size))
			}
			_, _ = w.Write(make([]byte, test.size))
		})
		got, err := get(t, d.client(), "https://example.com")
		if test.want == "" {
			if err != nil || len(got) != test.size {
				t.Errorf("%s: got %d bytes, %v", name, len(got), err)
			}
			continue
		}
		wantError(t, err, test.want)
		if len(got) > egress.MaxResponseSize {
			t.Errorf("%s: got %d bytes", name, len(got))
		}
	}
}

func TestAnAnswersHeaderHasABound(t *testing.T) {
	d := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("a", 64<<10))
	})
	_, err := get(t, d.client(), "https://example.com")
	wantError(t, err, "server response headers exceeded")
}

func TestCompressionIsNotAskedFor(t *testing.T) {
	d := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Accept-Encoding")+r.Proto)
	})
	if got, err := get(t, d.client(), "https://example.com"); err != nil || got != "HTTP/1.1" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestAParentThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	silent := func(context.Context) (net.Conn, error) { ours, _ := net.Pipe(); return ours, nil }
	hung := func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, context.Cause(ctx) }
	for _, dial := range []egress.Dialer{silent, hung} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		started := time.Now()
		_, err = egress.NewClient(dial, serverName, nil).Do(request)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) > 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(started))
		}
	}
}

func TestAParentThatRefusesIsNamed(t *testing.T) {
	refused := errors.New("connection refused")
	client := egress.NewClient(func(context.Context) (net.Conn, error) { return nil, refused }, serverName, nil)
	_, err := get(t, client, "https://example.com")
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want %v", err, refused)
	}
	wantError(t, err, "reaching the parent")
}

func TestAVsockThatNobodyListensOnIsAnError(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	// CID 1 is this machine, with or without a vsock device.
	if conn, err := egress.Vsock(1, 59999)(ctx); err == nil {
		_ = conn.Close()
		t.Error("connected to nobody")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if conn, err := egress.Vsock(1, 59999)(ended); err == nil {
		_ = conn.Close()
		t.Error("connected to nobody")
	}
}

func TestRootsAreReadStrictly(t *testing.T) {
	d := serve(t, hello)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw})
	for _, data := range [][]byte{root, bytes.Repeat(root, 3), append([]byte("\n"), root...)} {
		pool, err := egress.Roots(data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := get(t, egress.NewClient(d.dial, serverName, pool), "https://example.com"); err != nil || got != "hello" {
			t.Errorf("got %q, %v", got, err)
		}
	}
	for name, test := range map[string]struct{ pem, want string }{
		"nothing":        {"", "no certificate"},
		"words":          {"hello", "certificate 1: want PEM of type CERTIFICATE and nothing else"},
		"words before":   {"hello\n" + string(root), "certificate 1: want PEM"},
		"words after":    {string(root) + "hello", "certificate 2: want PEM"},
		"a key":          {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})), "certificate 1: want PEM"},
		"a header":       {strings.Replace(string(root), "-----\n", "-----\nA: b\n\n", 1), "certificate 1: malformed PEM"},
		"half":           {string(root[:len(root)/2]), "certificate 1: malformed PEM"},
		"no certificate": {string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})), "certificate 1: x509"},
		"too much":       {strings.Repeat(" ", egress.MaxRootsSize+1), "got 32769 bytes, want at most 32768"},
	} {
		pool, err := egress.Roots([]byte(test.pem))
		if pool != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, test.want)
		}
	}
}
