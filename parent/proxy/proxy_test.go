package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/parent/proxy"
)

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A rig is a proxy between a test's clients and its server.
type rig struct {
	*proxy.Proxy
	address string
	cancel  context.CancelFunc
	served  chan error
	reports chan error
}

// newRig serves p in front of handle, which gets each connection the proxy makes.
func newRig(t *testing.T, p *proxy.Proxy, handle func(net.Conn)) *rig {
	t.Helper()
	back := listen(t)
	go func() {
		for {
			conn, err := back.Accept()
			if err != nil {
				return
			}
			go func() { defer conn.Close(); handle(conn) }()
		}
	}()
	if p.Dial == nil {
		p.Dial = tcp(back.Addr().String())
	}
	front := listen(t)
	r := &rig{Proxy: p, address: front.Addr().String(), served: make(chan error, 1), reports: make(chan error, 1000)}
	p.Report = func(err error) { r.reports <- err }
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() { r.served <- p.Serve(ctx, front) }()
	t.Cleanup(func() { r.cancel() })
	return r
}

func (r *rig) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

// stop ends the proxy and returns what Serve did.
func (r *rig) stop(t *testing.T) error {
	t.Helper()
	r.cancel()
	return receive(t, r.served)
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("waited too long")
		panic("unreachable")
	}
}

func echo(conn net.Conn) { io.Copy(conn, conn) }

// noise returns n bytes that depend on seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8(sha256.Sum256([]byte(fmt.Sprint(seed)))).Read(b)
	return b
}

func TestTheClientsEndReachesTheServerAndTheAnswerReturns(t *testing.T) {
	r := newRig(t, &proxy.Proxy{}, func(conn net.Conn) {
		request, _ := io.ReadAll(conn) // returns only if the half-close comes through
		fmt.Fprintf(conn, "got %q", request)
	})
	conn := r.dial(t)
	fmt.Fprint(conn, "question")
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != `got "question"` {
		t.Errorf("answer = %q, %v; want the question quoted", got, err)
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	if s := r.Stats(); s.Accepted != 1 || s.Active != 0 || s.Failed != 0 || s.Sent != 8 || s.Received != 14 {
		t.Errorf("stats = %+v", s)
	}
}

func TestTheServersEndReachesTheClientWhichMayGoOn(t *testing.T) {
	got := make(chan string, 1)
	r := newRig(t, &proxy.Proxy{}, func(conn net.Conn) {
		fmt.Fprint(conn, "greeting")
		conn.(*net.TCPConn).CloseWrite()
		rest, _ := io.ReadAll(conn)
		got <- string(rest)
	})
	conn := r.dial(t)
	if greeting, err := io.ReadAll(conn); err != nil || string(greeting) != "greeting" {
		t.Fatalf("read %q, %v; want the greeting and the end", greeting, err)
	}
	fmt.Fprint(conn, "still ")
	fmt.Fprint(conn, "here")
	conn.CloseWrite()
	if rest := receive(t, got); rest != "still here" {
		t.Errorf("server got %q after its own end, want %q", rest, "still here")
	}
}

func TestAServerThatAnswersWithoutReadingIsHeard(t *testing.T) {
	r := newRig(t, &proxy.Proxy{}, func(conn net.Conn) {
		io.ReadFull(conn, make([]byte, 10))
		fmt.Fprint(conn, "413 too large")
		conn.(*net.TCPConn).CloseWrite()
		time.Sleep(100 * time.Millisecond) // a server lingers, lest its answer is lost with the reset
	})
	conn := r.dial(t)
	go conn.Write(noise(1, 8<<20)) // fails at some point
	answer := make([]byte, 13)
	if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "413 too large" {
		t.Errorf("answer = %q, %v; want 413", answer, err)
	}
}

func TestBigTransfersInBothDirectionsAtOnce(t *testing.T) {
	t.Parallel()
	const size = 32 << 20
	up, down := noise(1, size), noise(2, size)
	arrived := make(chan []byte, 1)
	r := newRig(t, &proxy.Proxy{IdleTimeout: patience}, func(conn net.Conn) {
		go func() {
			conn.Write(down)
			conn.(*net.TCPConn).CloseWrite()
		}()
		got, _ := io.ReadAll(conn)
		arrived <- got
	})
	conn := r.dial(t)
	go func() {
		conn.Write(up)
		conn.CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, down) {
		t.Errorf("client got %d bytes, %v; want the %d sent", len(got), err, size)
	}
	if got := receive(t, arrived); !bytes.Equal(got, up) {
		t.Errorf("server got %d bytes, want the %d sent", len(got), size)
	}
	r.stop(t)
	if s := r.Stats(); s.Sent != size || s.Received != size {
		t.Errorf("stats = %+v, want %d each way", s, size)
	}
}

func TestASlowReaderGetsEverything(t *testing.T) {
	t.Parallel()
	data := noise(3, 32<<20) // more than both connections' buffers hold
	r := newRig(t, &proxy.Proxy{}, func(conn net.Conn) { conn.Write(data) })
	conn := r.dial(t)
	time.Sleep(200 * time.Millisecond)
	var got bytes.Buffer
	for buf := make([]byte, 256<<10); ; {
		n, err := conn.Read(buf)
		got.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if !bytes.Equal(got.Bytes(), data) {
		t.Errorf("got %d bytes, want the %d sent", got.Len(), len(data))
	}
}

func TestTwoHundredClientsShareAFewSlots(t *testing.T) {
	const clients, slots = 200, 20
	var mu sync.Mutex
	now, most := 0, 0
	r := newRig(t, &proxy.Proxy{MaxConnections: slots}, func(conn net.Conn) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		echo(conn)
		mu.Lock()
		now--
		mu.Unlock()
	})
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			conn := r.dial(t)
			defer conn.Close()
			data := noise(uint64(i), 10_000)
			go func() {
				conn.Write(data)
				conn.CloseWrite()
			}()
			if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
				t.Errorf("client %d: echo of %d bytes, %v; want its own %d", i, len(got), err, len(data))
			}
		})
	}
	all.Wait()
	if err := r.stop(t); err != nil {
		t.Errorf("Serve = %v", err)
	}
	if s := r.Stats(); s.Accepted != clients || s.Active != 0 || s.Failed+s.DialFailed != 0 {
		t.Errorf("stats = %+v, want %d accepted and none failed", s, clients)
	}
	mu.Lock()
	defer mu.Unlock()
	if most > slots {
		t.Errorf("%d connections at once, want at most %d", most, slots)
	}
}

func TestAnUnreachableServerIsReported(t *testing.T) {
	unreachable := errors.New("the enclave is away")
	r := newRig(t, &proxy.Proxy{Dial: func(context.Context) (net.Conn, error) { return nil, unreachable }}, echo)
	conn := r.dial(t)
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v; want the connection closed", n, err)
	}
	if err := receive(t, r.reports); !errors.Is(err, unreachable) || !strings.Contains(err.Error(), conn.LocalAddr().String()) {
		t.Errorf("reported %v, want %v with the client's address", err, unreachable)
	}
	if s := r.Stats(); s.DialFailed != 1 {
		t.Errorf("stats = %+v, want one failed dial", s)
	}
}

func TestADialThatHangsIsGivenUp(t *testing.T) {
	r := newRig(t, &proxy.Proxy{
		DialTimeout: 20 * time.Millisecond,
		Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		},
	}, echo)
	r.dial(t)
	if err := receive(t, r.reports); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reported %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestAnIdleConnectionEndsAndABusyOneDoesNot(t *testing.T) {
	const idle = 150 * time.Millisecond
	r := newRig(t, &proxy.Proxy{IdleTimeout: idle}, echo)
	conn := r.dial(t)
	begin := time.Now()
	for time.Since(begin) < 3*idle {
		fmt.Fprint(conn, "x")
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("cut after %v although busy: %v", time.Since(begin), err)
		}
		time.Sleep(idle / 10)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v; want the idle connection ended", n, err)
	}
	checkReport(t, r, "idle for too long")
}

func checkReport(t *testing.T, r *rig, want string) {
	t.Helper()
	if err := receive(t, r.reports); !strings.Contains(err.Error(), want) {
		t.Errorf("reported %v, want %q", err, want)
	}
}

func TestTheEndWaitsForOpenConnections(t *testing.T) {
	r := newRig(t, &proxy.Proxy{DrainTimeout: patience}, echo)
	conn := r.dial(t)
	fmt.Fprint(conn, "a")
	io.ReadFull(conn, make([]byte, 1)) // it is open now
	r.cancel()
	for {
		late, err := net.Dial("tcp", r.address)
		if err != nil {
			break // the listener is closed
		}
		late.Close()
		time.Sleep(time.Millisecond)
	}
	fmt.Fprint(conn, "b")
	conn.CloseWrite()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "b" {
		t.Errorf("after the end was asked for: %q, %v; want the connection finished", got, err)
	}
	if err := receive(t, r.served); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestTheEndCutsWhatDoesNotFinish(t *testing.T) {
	r := newRig(t, &proxy.Proxy{DrainTimeout: 50 * time.Millisecond}, echo)
	conn := r.dial(t)
	fmt.Fprint(conn, "a")
	io.ReadFull(conn, make([]byte, 1))
	if err := r.stop(t); err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	checkReport(t, r, "cut off, as the proxy ends")
	if s := r.Stats(); s.Active != 0 || s.Failed != 1 {
		t.Errorf("stats = %+v, want none active and one failed", s)
	}
}

func TestAResetIsPassedOnAndReported(t *testing.T) {
	ended := make(chan error, 1)
	r := newRig(t, &proxy.Proxy{}, func(conn net.Conn) {
		_, err := io.ReadAll(conn)
		ended <- err
	})
	conn := r.dial(t)
	fmt.Fprint(conn, "x")
	for r.Stats().Sent == 0 {
		time.Sleep(time.Millisecond)
	}
	conn.SetLinger(0)
	conn.Close()
	receive(t, ended)
	if err := receive(t, r.reports); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reported %v, want %v", err, syscall.ECONNRESET)
	}
}

// unixOnly hides CloseWrite, as the emulator's vsock does.
type unixOnly struct{ net.Conn }

func TestASideWithoutHalfCloseGetsAGrace(t *testing.T) {
	t.Parallel()
	answered := make(chan struct{})
	r := newRig(t, &proxy.Proxy{Dial: func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			io.ReadFull(far, make([]byte, 8))
			<-answered // the client's end is known to the proxy by now
			time.Sleep(50 * time.Millisecond)
			fmt.Fprint(far, "answer")
			io.Copy(io.Discard, far) // waits for an end that cannot be passed on
		}()
		return unixOnly{near}, nil
	}}, nil)
	conn := r.dial(t)
	fmt.Fprint(conn, "question")
	conn.CloseWrite()
	close(answered)
	begin := time.Now()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "answer" {
		t.Errorf("answer = %q, %v", got, err)
	}
	if took := time.Since(begin); took < 4*time.Second || took > 10*time.Second {
		t.Errorf("the connection was held for %v, want about the grace of 5 s", took)
	}
	r.stop(t)
	if s := r.Stats(); s.Failed != 0 {
		t.Errorf("stats = %+v, want no failure", s)
	}
}

func TestAFailedListenerEndsServe(t *testing.T) {
	l := listen(t)
	l.Close()
	p := &proxy.Proxy{Dial: tcp("127.0.0.1:1")}
	if err := p.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v, want %v", err, net.ErrClosed)
	}
}

func TestAProxyWithoutADialerIsRefused(t *testing.T) {
	l := listen(t)
	if err := new(proxy.Proxy).Serve(t.Context(), l); err == nil {
		t.Error("Serve = nil, want an error")
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept = %v, want the listener closed", err)
	}
}

// A tired listener fails now and then, as when files run out.
type tiredListener struct {
	net.Listener
	failures int
}

func (l *tiredListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

func TestPassingFailuresToAcceptAreSurvived(t *testing.T) {
	back := newRig(t, &proxy.Proxy{}, echo)
	l := &tiredListener{Listener: listen(t), failures: 2}
	p := &proxy.Proxy{Dial: tcp(back.address)}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "x")
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("no echo: %v", err)
	}
	conn.Close()
	cancel()
	if err := receive(t, served); err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// The enclave's own calls run the other way: from its vsock, which the emulator shows as a Unix
// socket, to TCP.
func TestTheReverseDirection(t *testing.T) {
	back := listen(t)
	go func() {
		conn, err := back.Accept()
		if err == nil {
			echo(conn)
			conn.Close()
		}
	}()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy.Proxy{Dial: tcp(back.Addr().String())}
	go p.Serve(t.Context(), l)
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	data := noise(9, 1<<20)
	go func() {
		conn.Write(data)
		conn.(*net.UnixConn).CloseWrite()
	}()
	if got, err := io.ReadAll(conn); err != nil || !bytes.Equal(got, data) {
		t.Errorf("echo of %d bytes, %v; want %d", len(got), err, len(data))
	}
}

// tcp returns a Dialer to a host and port.
func tcp(address string) proxy.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}
