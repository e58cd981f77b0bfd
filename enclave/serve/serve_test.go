package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/enclave/attest"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/serve"
	"holdfast/enclave/serve/access"
	"holdfast/enclave/unseal"
)

// attesterFunc and releaserFunc are the parts behind the server.
type attesterFunc func(context.Context, [attest.NonceSize]byte) (attest.Evidence, error)

func (f attesterFunc) Attest(ctx context.Context, nonce [attest.NonceSize]byte) (attest.Evidence, error) {
	return f(ctx, nonce)
}

type releaserFunc func([]byte) ([]string, error)

func (f releaserFunc) Release(sealed []byte) ([]string, error) { return f(sealed) }

// running is a server on loopback and a client that trusts its key.
type running struct {
	url      string
	server   *serve.Server
	settings serve.Settings
	identity serve.Identity
	client   *http.Client
	log      *lockedBuffer
	stop     context.CancelFunc
	done     chan error
}

// lockedBuffer is a log that handlers write and a test reads.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// start serves a configuration whose missing parts are harmless.
func start(t *testing.T, c serve.Config) *running {
	t.Helper()
	r := &running{log: &lockedBuffer{}, done: make(chan error, 1)}
	var err error
	if r.identity, err = serve.NewIdentity(time.Now()); err != nil {
		t.Fatal(err)
	}
	if len(c.Settings.Identity.PublicKey()) == 0 {
		c.Settings.Identity = r.identity
	}
	if c.Settings.Clients == nil {
		c.Settings.Clients = anybody(t)
	}
	c.Log = slog.New(slog.NewTextHandler(r.log, nil))
	if c.Settings.Attester == nil {
		c.Settings.Attester = attesterFunc(func(_ context.Context, nonce [attest.NonceSize]byte) (attest.Evidence, error) {
			return attest.Evidence{Document: nonce[:], Binding: []byte("binding")}, nil
		})
	}
	if c.Releaser == nil {
		c.Releaser = releaserFunc(func(sealed []byte) ([]string, error) { return []string{string(sealed)}, nil })
	}
	if c.Signer == nil {
		c.Signer = http.NotFoundHandler()
	}
	server, err := serve.New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.server, r.settings = server, c.Settings
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.done <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { r.stop(); <-r.done; close(r.done) })
	r.url = "https://" + listener.Addr().String()
	r.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, VerifyConnection: r.verify}},
		Timeout:   20 * time.Second,
	}
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// anybody is a list of one client that everybody is.
func anybody(t testing.TB) *access.List {
	t.Helper()
	list, err := access.NewList([]access.Client{{Policy: policy.Duties("any"), Any: true}})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func attested(by serve.Attester) serve.Config {
	return serve.Config{Settings: serve.Settings{Attester: by}}
}

// verify trusts the attested key and no name.
func (r *running) verify(state tls.ConnectionState) error {
	if got := state.PeerCertificates[0].RawSubjectPublicKeyInfo; !bytes.Equal(got, r.identity.PublicKey()) {
		return fmt.Errorf("got key %x, want %x", got, r.identity.PublicKey())
	}
	return nil
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
	closes bool // the connection
}

func (r *running) do(t *testing.T, method, path string, body io.Reader, contentType string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := r.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(raw), response.Close}
}

func (r *running) get(t *testing.T, path string) answer {
	t.Helper()
	return r.do(t, http.MethodGet, path, nil, "")
}

func (r *running) release(t *testing.T, body io.Reader) answer {
	t.Helper()
	return r.do(t, http.MethodPost, "/release", body, "application/octet-stream")
}

// assertError demands an error of this status in the one shape of errors.
func assertError(t *testing.T, got answer, status int, mention string) {
	t.Helper()
	var body struct {
		Error string
		Code  int
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil {
		t.Errorf("body %q: %v", got.body, err)
	}
	if got.status != status || body.Code != status || !strings.Contains(body.Error, mention) {
		t.Errorf("got %d %q, want %d with %q", got.status, got.body, status, mention)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/json; charset=utf-8" {
		t.Errorf("got content type %q", kind)
	}
}

var nonce = strings.Repeat("0123456789abcdef", 4)

func TestUpcheckIsOKWithoutANewline(t *testing.T) {
	r := start(t, serve.Config{})
	got := r.get(t, "/upcheck")
	if got.status != 200 || got.body != "OK" || got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("got %+v", got)
	}
	if got := r.do(t, http.MethodHead, "/upcheck", nil, ""); got.status != 200 || got.body != "" {
		t.Errorf("HEAD: got %+v", got)
	}
}

func TestAnAttestationCarriesTheNonceAndTheBinding(t *testing.T) {
	var served atomic.Int32
	r := start(t, attested(attesterFunc(func(ctx context.Context, nonce [attest.NonceSize]byte) (attest.Evidence, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("the attester has no deadline")
		}
		return attest.Evidence{Document: append([]byte{byte(served.Add(1))}, nonce[:]...), Binding: []byte{0xff, 0xfe}}, nil
	})))
	for i, digits := range []string{nonce, strings.ToUpper(nonce), nonce} {
		got := r.get(t, "/attestation?nonce="+digits)
		want := `{"document":"` + base64.StdEncoding.EncodeToString(append([]byte{byte(i + 1)}, bytes.Repeat([]byte("\x01\x23\x45\x67\x89\xab\xcd\xef"), 4)...)) + `","binding":"//4="}`
		if got.status != 200 || got.body != want {
			t.Errorf("got %d %s, want %s", got.status, got.body, want)
		}
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("got header %v", got.header)
		}
	}
}

func TestAQueryOfAnythingButANonceIs400(t *testing.T) {
	r := start(t, attested(attesterFunc(func(context.Context, [attest.NonceSize]byte) (attest.Evidence, error) {
		t.Error("the attester was asked")
		return attest.Evidence{}, nil
	})))
	for _, query := range []string{
		"", "?", "?nonce", "?nonce=", "?nonce=" + nonce[:62], "?nonce=" + nonce[:63], "?nonce=" + nonce + "0", "?nonce=" + nonce + "00",
		"?nonce=" + nonce[:63] + "g", "?nonce=0x" + nonce, "?nonce=0x" + nonce[:62], "?Nonce=" + nonce, "?nonce=" + nonce + "&nonce=" + nonce,
		"?nonce=" + nonce + "&x=1", "?x=1&nonce=" + nonce, "?nonce=" + nonce + "&", "?nonce=%30" + nonce[1:], "?nonce=" + nonce[:63] + "%20",
	} {
		assertError(t, r.get(t, "/attestation"+query), 400, "64 hexadecimal digits")
	}
}

func TestAModuleThatFailsIs500AndSaysNothingOfIt(t *testing.T) {
	r := start(t, attested(attesterFunc(func(context.Context, [attest.NonceSize]byte) (attest.Evidence, error) {
		return attest.Evidence{}, errors.New("ioctl: broken pipe")
	})))
	got := r.get(t, "/attestation?nonce="+nonce)
	assertError(t, got, 500, "made no document")
	if strings.Contains(got.body, "ioctl") || !strings.Contains(r.log.String(), "ioctl: broken pipe") {
		t.Errorf("got %s and log %s, want the cause in the log alone", got.body, r.log)
	}
}

func TestAModuleThatIsSlowIs503(t *testing.T) {
	r := start(t, attested(attesterFunc(func(context.Context, [attest.NonceSize]byte) (attest.Evidence, error) {
		return attest.Evidence{}, fmt.Errorf("nsm: %w", context.DeadlineExceeded)
	})))
	got := r.get(t, "/attestation?nonce="+nonce)
	assertError(t, got, 503, "busy")
	if got.header.Get("Retry-After") != "1" {
		t.Errorf("got header %v", got.header)
	}
}

func TestAttestationsBeyondTheBoundAreTurnedAway(t *testing.T) {
	const bound = 16
	entered, release := make(chan struct{}, bound), make(chan struct{})
	r := start(t, attested(attesterFunc(func(context.Context, [attest.NonceSize]byte) (attest.Evidence, error) {
		entered <- struct{}{}
		<-release
		return attest.Evidence{}, nil
	})))
	var group sync.WaitGroup
	for range bound {
		group.Go(func() {
			if got := r.get(t, "/attestation?nonce="+nonce); got.status != 200 {
				t.Errorf("got %+v", got)
			}
		})
	}
	for range bound {
		<-entered
	}
	assertError(t, r.get(t, "/attestation?nonce="+nonce), 503, "busy")
	close(release)
	group.Wait()
	if got := r.get(t, "/attestation?nonce="+nonce); got.status != 200 {
		t.Errorf("got %+v afterwards", got)
	}
}

func TestAReleaseIsHandedOnWhole(t *testing.T) {
	r := start(t, serve.Config{})
	got := r.release(t, strings.NewReader("sealed"))
	if got.status != 200 || got.body != `{"public_keys":["sealed"]}` || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %+v", got)
	}
	largest := bytes.Repeat([]byte{'x'}, 4<<10)
	if got := r.release(t, bytes.NewReader(largest)); got.status != 200 || len(got.body) < len(largest) {
		t.Errorf("got %d and %d bytes for the largest release", got.status, len(got.body))
	}
	if !strings.Contains(r.log.String(), "keys were released") {
		t.Errorf("got log %s", r.log)
	}
}

func TestAReleaseTooLargeIs413(t *testing.T) {
	r := start(t, serve.Config{Releaser: releaserFunc(func([]byte) ([]string, error) {
		t.Error("the releaser was asked")
		return nil, nil
	})})
	assertError(t, r.release(t, bytes.NewReader(make([]byte, 4<<10+1))), 413, "got 4097 bytes, want at most 4096")
	large := make([]byte, 8<<20+1)
	assertError(t, r.release(t, bytes.NewReader(large)), 413, "at most 8 MiB")
	// A reader of no known length is sent in chunks.
	assertError(t, r.release(t, io.MultiReader(bytes.NewReader(large))), 413, "at most 8 MiB")
}

func TestARefusedReleaseSaysWhy(t *testing.T) {
	for _, test := range []struct {
		err    error
		status int
	}{
		{unseal.ErrFilled, 409},
		{unseal.ErrSealed, 400},
		{errors.New("bundle: field \"version\" is missing"), 400},
	} {
		r := start(t, serve.Config{Releaser: releaserFunc(func([]byte) ([]string, error) { return nil, test.err })})
		assertError(t, r.release(t, strings.NewReader("sealed")), test.status, test.err.Error())
	}
}

func TestAReleaseOfAnotherTypeIs415(t *testing.T) {
	r := start(t, serve.Config{})
	for _, kind := range []string{"", "text/plain", "application/json", "application/x-www-form-urlencoded", ";;"} {
		assertError(t, r.do(t, http.MethodPost, "/release", strings.NewReader("x"), kind), 415, "application/octet-stream")
	}
}

func TestTheSignerGetsEveryPathThatIsNobodyElses(t *testing.T) {
	r := start(t, serve.Config{Signer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %d %v", r.Method, r.URL.Path, len(body), err != nil)
	})})
	for path, method := range map[string]string{"/api/v1/eth2/publicKeys": "GET", "/api/v1/eth2/sign/0xab": "POST"} {
		got := r.do(t, method, path, strings.NewReader("body"), "")
		if got.status != 200 || got.body != method+" "+path+" 4 false" {
			t.Errorf("got %+v", got)
		}
	}
	assertError(t, r.do(t, "POST", "/api/v1/eth2/sign/0xab", bytes.NewReader(make([]byte, 8<<20+1)), ""), 413, "at most 8 MiB")
	// What is nobody else's is the signer's too, and not what another lies under.
	if got := r.get(t, "/reload"); got.body != "GET /reload 0 false" {
		t.Errorf("got %+v", got)
	}
	if got := r.get(t, "/upcheck/"); got.body != "GET /upcheck/ 0 false" {
		t.Errorf("got %+v", got)
	}
}

func TestOtherMethodsAre405AndSayWhichAreAllowed(t *testing.T) {
	r := start(t, serve.Config{})
	for path, allowed := range map[string]string{"/upcheck": "GET, HEAD", "/attestation": "GET", "/release": "POST"} {
		for _, method := range []string{"GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			if strings.Contains(allowed, method) {
				continue
			}
			got := r.do(t, method, path, nil, "")
			assertError(t, got, 405, "want method")
			if got.header.Get("Allow") != allowed {
				t.Errorf("%s: got Allow %q, want %q", path, got.header.Get("Allow"), allowed)
			}
		}
	}
}

func TestAPanicIsContainedAndItsValueNotLogged(t *testing.T) {
	r := start(t, serve.Config{Signer: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panicking() })})
	assertError(t, r.get(t, "/api/v1/eth2/publicKeys"), 500, "internal error")
	log := r.log.String()
	if strings.Contains(log, "planted") || !strings.Contains(log, "serve_test.panicking") || !strings.Contains(log, "type=string") {
		t.Errorf("got log %s, want the place of the panic and not its value", log)
	}
	if got := r.get(t, "/upcheck"); got.status != 200 {
		t.Errorf("got %+v after the panic", got)
	}
}

func panicking() { panic("planted secret") }

func TestAnIncompleteConfigurationIsRefused(t *testing.T) {
	identity, err := serve.NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	whole := complete(t, identity)
	if _, err := serve.New(whole); err != nil {
		t.Fatal(err)
	}
	for name, remove := range map[string]func(*serve.Config){
		"identity": func(c *serve.Config) { c.Settings.Identity = serve.Identity{} },
		"attester": func(c *serve.Config) { c.Settings.Attester = nil },
		"clients":  func(c *serve.Config) { c.Settings.Clients = nil },
		"limits":   func(c *serve.Config) { c.Settings.Limits.InFlight = -1 },
		"releaser": func(c *serve.Config) { c.Releaser = nil },
		"signer":   func(c *serve.Config) { c.Signer = nil },
		"log":      func(c *serve.Config) { c.Log = nil },
	} {
		c := whole
		remove(&c)
		if _, err := serve.New(c); err == nil {
			t.Errorf("without %s: got no error", name)
		}
	}
}

// complete is a configuration that lacks nothing and does nothing.
func complete(t *testing.T, identity serve.Identity) serve.Config {
	return serve.Config{
		Settings: serve.Settings{Identity: identity, Attester: attesterFunc(nil), Clients: anybody(t)},
		Releaser: releaserFunc(nil), Signer: http.NotFoundHandler(), Log: slog.New(slog.DiscardHandler),
	}
}

func TestRequestsUnderWayAreFinishedWhenTheServerStops(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	r := start(t, serve.Config{Signer: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		_, _ = w.Write([]byte("finished"))
	})})
	answered := make(chan answer, 1)
	go func() { answered <- r.get(t, "/api/v1/eth2/publicKeys") }()
	<-entered
	r.stop()
	time.Sleep(20 * time.Millisecond)
	close(release)
	if got := <-answered; got.body != "finished" {
		t.Errorf("got %+v", got)
	}
	if err := <-r.done; err != nil {
		t.Errorf("got %v, want none", err)
	}
	r.done <- nil // for the cleanup
	if _, err := net.DialTimeout("tcp", strings.TrimPrefix(r.url, "https://"), time.Second); err == nil {
		t.Error("the listener is still open")
	}
}

func TestAListenerThatFailsEndsServe(t *testing.T) {
	identity, err := serve.NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, err := serve.New(complete(t, identity))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	if err := server.Serve(t.Context(), listener); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}

func TestOnlyModernTLSIsSpoken(t *testing.T) {
	r := start(t, serve.Config{})
	address := strings.TrimPrefix(r.url, "https://")
	dial := func(c *tls.Config) (tls.ConnectionState, error) {
		c.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", address, c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState(), nil
	}
	for name, test := range map[string]struct {
		client  *tls.Config
		version uint16
	}{
		"1.3":          {&tls.Config{}, tls.VersionTLS13},
		"1.2":          {&tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12},
		"1.1":          {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, 0},
		"1.2 with CBC": {&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, 0},
		"HTTP/2":       {&tls.Config{NextProtos: []string{"h2", "http/1.1"}}, tls.VersionTLS13},
		"HTTP/1.1":     {&tls.Config{NextProtos: []string{"http/1.1"}}, tls.VersionTLS13},
		"HTTP/3":       {&tls.Config{NextProtos: []string{"h3"}}, 0},
	} {
		state, err := dial(test.client)
		if (err == nil) != (test.version != 0) || state.Version != test.version {
			t.Errorf("%s: got version %#x, %v, want %#x", name, state.Version, err, test.version)
		}
		if want := name == "HTTP/2"; (state.NegotiatedProtocol == "h2") != want {
			t.Errorf("%s: got protocol %q", name, state.NegotiatedProtocol)
		}
	}
}

func TestAClientThatPinsTheCertificateAccepts(t *testing.T) {
	r := start(t, serve.Config{})
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(conn.ConnectionState().PeerCertificates[0])
	_ = conn.Close()
	for _, name := range []string{"holdfast", "localhost", "127.0.0.1", "::1"} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{RootCAs: pool, ServerName: name})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = conn.Close()
	}
}

func TestAHandshakeThatNeverComesIsCutOff(t *testing.T) {
	r := start(t, serve.Config{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want %v", err, io.EOF)
	}
	if took := time.Since(begun); took < 4*time.Second || took > 10*time.Second {
		t.Errorf("cut off after %v, want 5 s", took)
	}
}
