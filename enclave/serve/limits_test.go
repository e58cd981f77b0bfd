package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/serve"
	"holdfast/enclave/serve/access"
	"holdfast/enclave/serve/access/accesstest"
)

// blocking is a signer whose answers wait, but for GET.
type blocking struct {
	entered chan struct{}
	answer  chan struct{}
}

func newBlocking() *blocking {
	return &blocking{entered: make(chan struct{}, 1024), answer: make(chan struct{})}
}

func (b *blocking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		b.entered <- struct{}{}
		<-b.answer
	}
	whoami(w, r)
}

// hold has a client send requests that wait, and returns when all are under way.
func (r *running) hold(t *testing.T, b *blocking, client *http.Client, n int) *sync.WaitGroup {
	t.Helper()
	group := new(sync.WaitGroup)
	for range n {
		group.Go(func() {
			if got, err := try(t.Context(), client, "POST", r.url+asking, "duty"); err != nil || got.status != 200 {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
	for range n {
		await(t, b.entered)
	}
	return group
}

// await receives within the time that a busy machine may need.
func await(t testing.TB, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(30 * time.Second):
		t.Fatal("it did not come")
	}
}

func TestAClientBeyondItsShareIsToldSoAndOthersGoOn(t *testing.T) {
	vc1, vc2 := accesstest.SelfSigned(t, "vc-1"), accesstest.SelfSigned(t, "vc-2")
	for name, speak := range map[string][]func(*http.Transport){"HTTP/2": nil, "HTTP/1.1": {http1}} {
		t.Run(name, func(t *testing.T) {
			b := newBlocking()
			config := closedTo(t, listed("vc-1", vc1), listed("vc-2", vc2))
			config.Signer, config.Settings.Limits = b, serve.Limits{InFlight: 4, InFlightPerClient: 3}
			r := start(t, config)
			first, second := r.as(t, &vc1, speak...), r.as(t, &vc2, speak...)
			group := r.hold(t, b, first, 3)
			got := ask(t, first, "GET", r.url+asking, "")
			assertError(t, got, 429, "in_flight_per_client: ")
			if got.header.Get("Retry-After") != "1" {
				t.Errorf("got header %v", got.header)
			}
			if got := ask(t, second, "GET", r.url+asking, ""); got.body != "vc-2" {
				t.Errorf("another client: got %+v", got)
			}
			other := r.hold(t, b, second, 1)
			got = ask(t, second, "GET", r.url+asking, "")
			assertError(t, got, 503, "in_flight: ")
			if got.header.Get("Retry-After") != "1" {
				t.Errorf("got header %v", got.header)
			}
			close(b.answer)
			group.Wait()
			other.Wait()
			if got := ask(t, first, "GET", r.url+asking, ""); got.body != "vc-1" {
				t.Errorf("afterwards: got %+v", got)
			}
			status := r.server.Status()
			if status.InFlight != 0 || status.Refused["in_flight"] != 1 || status.Refused["in_flight_per_client"] != 1 {
				t.Errorf("got %+v", status)
			}
		})
	}
}

func TestWhoeverIsNoClientHasASmallShare(t *testing.T) {
	vc1 := accesstest.SelfSigned(t, "vc-1")
	b := newBlocking()
	config := closedTo(t, listed("vc-1", vc1))
	config.Releaser = releaserFunc(func(sealed []byte) ([]string, error) {
		b.entered <- struct{}{}
		<-b.answer
		return nil, nil
	})
	r := start(t, config)
	var group sync.WaitGroup
	client := r.as(t, nil)
	release := func() answer {
		got, err := try(t.Context(), client, "POST", r.url+"/release", "sealed", "Content-Type", "application/octet-stream")
		if err != nil {
			t.Error(err)
		}
		return got
	}
	const share = 64
	for range share {
		group.Go(func() { release() })
		await(t, b.entered) // and so the next shares its connection
	}
	assertError(t, release(), 429, "in_flight_per_client: ")
	if got := ask(t, r.as(t, &vc1), "GET", r.url+asking, ""); got.body != "vc-1" {
		t.Errorf("a client: got %+v", got)
	}
	close(b.answer)
	group.Wait()
}

func TestAConnectionBeyondTheLimitIsToldSoAndClosed(t *testing.T) {
	for name, speak := range map[string][]func(*http.Transport){"HTTP/2": nil, "HTTP/1.1": {http1}} {
		t.Run(name, func(t *testing.T) {
			config := serve.Config{Signer: whoami, Settings: serve.Settings{Limits: serve.Limits{Connections: 2}}}
			r := start(t, config)
			kept := []*http.Client{r.as(t, nil, speak...), r.as(t, nil, speak...)}
			for _, client := range kept {
				if got := ask(t, client, "GET", r.url+asking, ""); got.status != 200 {
					t.Errorf("got %+v", got)
				}
			}
			for range 3 {
				got := ask(t, r.as(t, nil, speak...), "GET", r.url+asking, "")
				assertError(t, got, 503, "connections: ")
				if got.header.Get("Retry-After") != "1" {
					t.Errorf("got header %v", got.header)
				}
			}
			// Room is made by closing, or by raising the limit.
			kept[0].CloseIdleConnections()
			again := r.as(t, nil, speak...)
			eventually(t, func() bool { return ask(t, again, "GET", r.url+asking, "").status == 200 })
			settings := r.settings
			settings.Limits.Connections = 10
			r.apply(t, settings)
			if got := ask(t, r.as(t, nil, speak...), "GET", r.url+asking, ""); got.status != 200 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// slowBody sends some bytes and then nothing until it is closed.
type slowBody struct {
	io.Reader
	end chan struct{}
}

func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		<-b.end
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestBodiesUnderWayAreBoundedTogether(t *testing.T) {
	for name, speak := range map[string][]func(*http.Transport){"HTTP/2": nil, "HTTP/1.1": {http1}} {
		t.Run(name, func(t *testing.T) {
			r := start(t, serve.Config{Signer: whoami})
			client := r.as(t, nil, speak...)
			end := make(chan struct{})
			var group sync.WaitGroup
			const held = 3
			for range held {
				group.Go(func() {
					body := slowBody{bytes.NewReader(make([]byte, 5<<20)), end}
					request, err := http.NewRequestWithContext(t.Context(), "POST", r.url+asking, body)
					if err != nil {
						t.Error(err)
						return
					}
					if response, err := r.as(t, nil, speak...).Do(request); err == nil {
						_ = response.Body.Close()
					}
				})
			}
			eventually(t, func() bool { return r.server.Status().BodyBytes == held*(8<<20) })
			got := ask(t, client, "POST", r.url+asking, strings.Repeat("x", 8<<20))
			assertError(t, got, 503, "bodies: ")
			if got := ask(t, client, "POST", r.url+asking, strings.Repeat("x", 64<<10)); got.status != 200 {
				t.Errorf("a small body: got %+v", got)
			}
			close(end)
			group.Wait()
			eventually(t, func() bool { return r.server.Status().BodyBytes == 0 })
			if got := ask(t, client, "POST", r.url+asking, strings.Repeat("x", 8<<20)); got.status != 200 {
				t.Errorf("afterwards: got %+v", got)
			}
		})
	}
}

func TestWorkOnLargeBodiesTakesTurns(t *testing.T) {
	entered, leave := make(chan struct{}, 64), make(chan struct{})
	r := start(t, serve.Config{Signer: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
	})})
	var group sync.WaitGroup
	client := r.as(t, nil)
	for range 12 {
		group.Go(func() { ask(t, client, "POST", r.url+asking, strings.Repeat("x", 1<<20)) })
	}
	eventually(t, func() bool { return r.server.Status().BodyBytes >= 12<<20 })
	time.Sleep(100 * time.Millisecond)
	// A megabyte may take 14 of work, of 64.
	if n := len(entered); n != 4 {
		t.Errorf("got %d at work, want 4", n)
	}
	close(leave)
	group.Wait()
	if n := len(entered); n != 12 {
		t.Errorf("got %d in all, want 12", n)
	}
}

// dial opens a TLS connection by hand, for HTTP/1.1.
func (r *running) dial(t testing.TB, certificates ...tls.Certificate) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(r.url, "https://"), &tls.Config{InsecureSkipVerify: true, Certificates: certificates})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// drip sends a byte now and then until the other end has had enough.
func drip(conn io.Writer, data string) {
	for _, c := range []byte(data) {
		if _, err := conn.Write([]byte{c}); err != nil {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func TestSlowClientsHoldBackNobody(t *testing.T) {
	t.Parallel()
	vc1 := accesstest.SelfSigned(t, "vc-1")
	r := start(t, closedTo(t, listed("vc-1", vc1)))
	const header = "POST " + asking + " HTTP/1.1\r\nHost: holdfast\r\nContent-Length: 1000\r\n\r\n"
	const unknown = "is no client and says nothing"
	kinds := map[string]struct {
		begin func(*tls.Conn)
		want  string // the beginning of what comes back before the end
		least time.Duration
		most  time.Duration
	}{
		unknown:                       {func(*tls.Conn) {}, "", 4 * time.Second, 9 * time.Second},
		"a header byte by byte":       {func(c *tls.Conn) { go drip(c, header) }, "", 4 * time.Second, 9 * time.Second},
		"a body that stalls":          {func(c *tls.Conn) { _, _ = io.WriteString(c, header+"{") }, "HTTP/1.1 408", 9 * time.Second, 16 * time.Second},
		"a body byte by byte":         {func(c *tls.Conn) { _, _ = io.WriteString(c, header); go drip(c, strings.Repeat("x", 999)) }, "HTTP/1.1 408", 9 * time.Second, 16 * time.Second},
		"half-closed within a header": {func(c *tls.Conn) { _, _ = io.WriteString(c, header[:30]); _ = c.CloseWrite() }, "", 0, 4 * time.Second},
		"half-closed within a body":   {func(c *tls.Conn) { _, _ = io.WriteString(c, header+"{"); _ = c.CloseWrite() }, "HTTP/1.1 408", 0, 4 * time.Second},
		"half-closed after a request": {func(c *tls.Conn) {
			_, _ = io.WriteString(c, "GET "+asking+" HTTP/1.1\r\nHost: h\r\n\r\n")
			_ = c.CloseWrite()
		}, "HTTP/1.1 200", 0, 4 * time.Second},
		"a header that never ends": {func(c *tls.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\nX: "+strings.Repeat("x", 64<<10)) }, "HTTP/1.1 431", 0, 4 * time.Second},
		"chunks that promise too much": {func(c *tls.Conn) {
			_, _ = io.WriteString(c, strings.Replace(header, "Content-Length: 1000", "Transfer-Encoding: chunked", 1)+"ffffffffff\r\nx")
		}, "HTTP/1.1 408", 9 * time.Second, 16 * time.Second},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group, good sync.WaitGroup
	var mu sync.Mutex
	var latencies []time.Duration
	for name, kind := range kinds {
		for range 8 {
			group.Go(func() {
				conn := r.dial(t, vc1)
				if name == unknown {
					conn = r.dial(t)
				}
				begun := time.Now()
				kind.begin(conn)
				_ = conn.SetReadDeadline(begun.Add(30 * time.Second))
				got, err := io.ReadAll(conn)
				took := time.Since(begun)
				if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() || !strings.HasPrefix(string(got), kind.want) || kind.want == "" && len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.1 4") {
					t.Errorf("%s: got %.60q, %v, want %q and the end", name, got, err, kind.want)
				}
				if took < kind.least || took > kind.most {
					t.Errorf("%s: ended after %v, want %v to %v", name, took, kind.least, kind.most)
				}
			})
		}
	}
	for range 4 {
		client := r.as(t, &vc1)
		good.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				got, err := try(t.Context(), client, "POST", r.url+asking, "duty")
				if err != nil || got.status != 200 {
					t.Errorf("meanwhile: got %+v, %v", got, err)
				}
				mu.Lock()
				latencies = append(latencies, time.Since(begun))
				mu.Unlock()
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	group.Wait()
	cancel()
	good.Wait()
	// Of a busy machine some are late; behind a slow client all would be.
	slices.Sort(latencies)
	if late := latencies[len(latencies)*9/10]; len(latencies) < 100 || late > time.Second {
		t.Errorf("meanwhile: got %d answers, 9 of 10 within %v, want 1 s", len(latencies), late)
	}
	if status := r.server.Status(); status.InFlight != 0 || status.BodyBytes != 0 {
		t.Errorf("got %+v afterwards", status)
	}
}

func TestAStreamThatStallsEndsAndItsConnectionGoesOn(t *testing.T) {
	t.Parallel()
	r := start(t, serve.Config{Signer: whoami})
	client := r.as(t, nil)
	end := make(chan struct{})
	defer close(end)
	request, err := http.NewRequestWithContext(t.Context(), "POST", r.url+asking, slowBody{strings.NewReader("{"), end})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if took := time.Since(begun); response.StatusCode != 408 || response.ProtoMajor != 2 || took < 9*time.Second || took > 16*time.Second {
		t.Errorf("got %s over %s after %v, want 408 over HTTP/2 after 10 s", response.Status, response.Proto, took)
	}
	if got := ask(t, client, "POST", r.url+asking, "duty"); got.status != 200 {
		t.Errorf("afterwards: got %+v", got)
	}
}

func TestAnIdleConnectionIsKept(t *testing.T) {
	t.Parallel()
	r := start(t, serve.Config{Signer: whoami})
	for protocol, client := range map[string]*http.Client{"HTTP/2.0": r.as(t, nil), "HTTP/1.1": r.as(t, nil, http1)} {
		var opened int
		client.Transport.(*http.Transport).TLSClientConfig.VerifyConnection = func(tls.ConnectionState) error { opened++; return nil }
		for i := range 2 {
			if got := ask(t, client, "POST", r.url+asking, "duty"); got.status != 200 {
				t.Errorf("got %+v", got)
			}
			if i == 0 {
				time.Sleep(12 * time.Second) // longer than any deadline of a request's parts
			}
		}
		if opened != 1 {
			t.Errorf("%s: got %d connections, want 1", protocol, opened)
		}
	}
}

// Go's and Lighthouse's HTTP clients open a connection for a request that then finds
// another, and keep it for the next.
func TestAConnectionThatAClientDidNotUseYetIsKept(t *testing.T) {
	t.Parallel()
	r := start(t, serve.Config{Signer: whoami})
	conn := r.dial(t)
	time.Sleep(12 * time.Second)
	if _, err := io.WriteString(conn, "GET "+asking+" HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len("HTTP/1.1 200"))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "HTTP/1.1 200" {
		t.Fatalf("got %q, %v", got, err)
	}
	// Its first byte starts the time of a header, on another that waits.
	slow := r.dial(t)
	time.Sleep(time.Second)
	begun := time.Now()
	if _, err := io.WriteString(slow, "G"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, slow)
	if took := time.Since(begun); took < 4*time.Second || took > 9*time.Second {
		t.Errorf("a header that stalls: ended after %v, want 5 s", took)
	}
}

func TestEveryProtocolIsDrained(t *testing.T) {
	for name, speak := range map[string][]func(*http.Transport){"HTTP/2": nil, "HTTP/1.1": {http1}} {
		t.Run(name, func(t *testing.T) {
			b := newBlocking()
			r := start(t, serve.Config{Signer: b})
			clients := []*http.Client{r.as(t, nil, speak...), r.as(t, nil, speak...)}
			groups := []*sync.WaitGroup{r.hold(t, b, clients[0], 8), r.hold(t, b, clients[1], 8)}
			idle := r.as(t, nil, speak...)
			ask(t, idle, "GET", r.url+asking, "")
			r.stop()
			eventually(t, func() bool {
				conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "https://"))
				if err == nil {
					_ = conn.Close()
				}
				return err != nil
			})
			close(b.answer)
			for _, group := range groups {
				group.Wait() // each request is answered
			}
			if err := <-r.done; err != nil {
				t.Errorf("got %v, want none", err)
			}
			r.done <- nil // for the cleanup
		})
	}
}

func TestManyListedClientsAreServedSideBySide(t *testing.T) {
	const clients = 32
	var list []access.Client
	certificates := make([]tls.Certificate, clients)
	for i := range certificates {
		name := fmt.Sprintf("vc-%d", i)
		certificates[i] = accesstest.SelfSigned(t, name)
		list = append(list, listed(name, certificates[i]))
	}
	r := start(t, closedTo(t, list...))
	var group sync.WaitGroup
	for i := range certificates {
		group.Go(func() {
			client := r.as(t, &certificates[i])
			for range 10 {
				if got, err := try(t.Context(), client, "POST", r.url+asking, "duty"); err != nil || got.body != fmt.Sprintf("vc-%d", i) {
					t.Errorf("client %d: got %+v, %v", i, got, err)
				}
			}
		})
	}
	group.Wait()
}
