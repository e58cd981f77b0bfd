package emulator_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/parent/emulator"
)

func echo(conn net.Conn) { io.Copy(conn, conn) }

func TestDialReachesTheGuestsPort(t *testing.T) {
	g := newGuest()
	g.ports[5000] = echo
	r := boot(t, g)
	conn, err := r.Dial(t.Context(), 5000)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.RemoteAddr().String(); got != "vm(16):5000" {
		t.Errorf("remote address = %s, want vm(16):5000", got)
	}
	if _, ok := conn.(interface{ CloseWrite() error }); ok {
		t.Error("the connection offers CloseWrite, which the device cannot carry")
	}
	fmt.Fprint(conn, "hello")
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("echo = %q, %v; want hello", got, err)
	}
}

func TestARefusedDialSaysSoAtOnce(t *testing.T) {
	r := boot(t, newGuest())
	begin := time.Now()
	_, err := r.Dial(t.Context(), 4999)
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial = %v, want %v", err, syscall.ECONNREFUSED)
	}
	checkError(t, err, "dial vsock vm(16):4999")
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("the refusal took %v", d)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	g := newGuest()
	r := boot(t, g)
	g.lose <- struct{}{}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := r.Dial(ctx, 5000); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Dial = %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestDialEndsWithTheMachine(t *testing.T) {
	g := newGuest()
	r := boot(t, g)
	g.lose <- struct{}{}
	result := make(chan error, 1)
	go func() {
		_, err := r.Dial(context.Background(), 5000)
		result <- err
	}()
	time.Sleep(50 * time.Millisecond)
	close(g.ended)
	var ended *emulator.EndError
	if err := <-result; !errors.As(err, &ended) {
		t.Errorf("Dial = %v, want the machine's end", err)
	}
	if _, err := r.Dial(t.Context(), 5000); !errors.As(err, &ended) {
		t.Errorf("Dial after the end = %v, want the machine's end", err)
	}
}

// TestAnAbandonedRequestStaysOpen holds connect to its reason: the device crashes if it has to reply to
// a connection that is closed.
func TestAnAbandonedRequestStaysOpen(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error, 1)
	go func() {
		_, err := emulator.Connect(ctx, path, 5000)
		result <- err
	}()
	device, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if _, err := io.ReadFull(device, make([]byte, len("CONNECT 5000\n"))); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Fatalf("connect = %v, want %v", err, context.Canceled)
	}
	time.Sleep(20 * time.Millisecond) // time for a wrong close to show
	if _, err := io.WriteString(device, "OK 5000\n"); err != nil {
		t.Errorf("the reply to the abandoned request: %v, want it taken", err)
	}
	device.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := device.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the reply: read %d, %v; want the end", n, err)
	}
}

func TestTheGuestReachesAPortOfItsParent(t *testing.T) {
	g := newGuest()
	r := boot(t, g)
	l, err := r.Listen(8000)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := l.Addr().String(); got != "host(2):8000" {
		t.Errorf("listening on %s, want host(2):8000", got)
	}
	if second, err := r.Listen(8000); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener on the port: %v, %v; want %v", second, err, syscall.EADDRINUSE)
	}
	go func() {
		conn, err := l.Accept()
		if err == nil {
			echo(conn)
			conn.Close()
		}
	}()
	conn, err := net.Dial("unix", filepath.Join(emulator.RunDir(r), emulator.PortSocket(8000))) // as the device does
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "x")
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Errorf("no echo: %v", err)
	}
}

func TestAPortIsFreeOnceItsListenerIsClosed(t *testing.T) {
	r := boot(t, newGuest())
	for range 3 {
		l, err := r.Listen(8000)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			l.Close()
		}
	}
	late, err := r.Listen(8001)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := late.Close(); err != nil {
		t.Errorf("closing a listener after the machine's end: %v", err)
	}
}

// A script is a connection whose peer sends a fixed text and then closes.
type script struct {
	in   io.Reader
	sent strings.Builder
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.sent.Write(p) }

func TestRepliesToConnect(t *testing.T) {
	for name, c := range map[string]struct {
		reply string
		want  error
		rest  string
	}{
		"accepted":            {"OK 5000\n", nil, ""},
		"data follows":        {"OK 5000\nhello\n", nil, "hello\n"},
		"refused":             {"", syscall.ECONNREFUSED, ""},
		"cut":                 {"OK 50", io.EOF, ""},
		"other port":          {"OK 5001\n", emulator.ErrBadReply, ""},
		"leading zero":        {"OK 05000\n", emulator.ErrBadReply, ""},
		"carriage return":     {"OK 5000\r\n", emulator.ErrBadReply, ""},
		"lower case":          {"ok 5000\n", emulator.ErrBadReply, ""},
		"no port":             {"OK\n", emulator.ErrBadReply, ""},
		"empty line":          {"\n", emulator.ErrBadReply, ""},
		"no newline in bound": {"OK 50000000000000", emulator.ErrBadReply, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{in: strings.NewReader(c.reply)}
			if err := emulator.Handshake(s, 5000); !errors.Is(err, c.want) {
				t.Errorf("handshake = %v, want %v", err, c.want)
			}
			if got := s.sent.String(); got != "CONNECT 5000\n" {
				t.Errorf("sent %q, want CONNECT 5000 and a newline", got)
			}
			if c.want != nil {
				return
			}
			if rest, err := io.ReadAll(s.in); err != nil || string(rest) != c.rest {
				t.Errorf("left for the caller: %q, %v; want %q", rest, err, c.rest)
			}
		})
	}
}

func FuzzOnlyTheExactReplyIsAccepted(f *testing.F) {
	f.Add("OK 5000\n", uint32(5000))
	f.Add("OK 4294967295\n", uint32(1<<32-1))
	f.Add("OK 0\nx", uint32(0))
	f.Add("OK  5000\n", uint32(5000))
	f.Add("", uint32(1))
	f.Fuzz(func(t *testing.T, reply string, port uint32) {
		in := strings.NewReader(reply)
		err := emulator.Handshake(&script{in: in}, port)
		exact := strings.HasPrefix(reply, fmt.Sprintf("OK %d\n", port))
		if (err == nil) != exact {
			t.Fatalf("handshake with %q for port %d = %v", reply, port, err)
		}
		if read := len(reply) - in.Len(); read > emulator.MaxReply {
			t.Fatalf("read %d bytes, want at most %d", read, emulator.MaxReply)
		}
	})
}

// deaf answers the dials after the first n, and lets those go unanswered.
func deaf(n int) (dial func(context.Context) (net.Conn, error), dials *int) {
	dials = new(int)
	return func(ctx context.Context) (net.Conn, error) {
		if *dials++; *dials > n {
			conn, _ := net.Pipe()
			return conn, nil
		}
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}, dials
}

func TestALostRequestIsSentAgain(t *testing.T) {
	for _, c := range []struct {
		lost  int
		took  time.Duration
		dials int
		want  error
	}{
		{0, 0, 1, nil},
		{1, 5 * time.Second, 2, nil},
		{2, 10 * time.Second, 3, nil},
		{3, 15 * time.Second, 3, emulator.ErrNoReply},
		{99, 15 * time.Second, 3, emulator.ErrNoReply},
	} {
		t.Run(fmt.Sprint(c.lost, " lost"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				dial, dials := deaf(c.lost)
				_, err := emulator.DialPatiently(t.Context(), dial)
				if took := time.Since(begin); !errors.Is(err, c.want) || took != c.took || *dials != c.dials {
					t.Errorf("%v after %v and %d dials, want %v after %v and %d", err, took, *dials, c.want, c.took, c.dials)
				}
			})
		})
	}
}

func TestACallerWithLessPatienceIsNotMadeToWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 7*time.Second)
		defer cancel()
		begin := time.Now()
		dial, _ := deaf(99)
		_, err := emulator.DialPatiently(ctx, dial)
		if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took != 7*time.Second {
			t.Errorf("%v after %v, want the context's error after 7s", err, took)
		}
	})
}
