package floodtest_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/image/kernel/floodtest"
)

// listen returns a listener, and a dial that reaches it at floodtest.Port and nothing elsewhere.
func listen(t *testing.T) (net.Listener, floodtest.Dial) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, func(ctx context.Context, port uint32) (net.Conn, error) {
		if port != floodtest.Port {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestAFloodPassesThroughAWorkingTransport(t *testing.T) {
	l, dial := listen(t)
	go floodtest.Serve(l)
	if err := floodtest.Flood(deadline(t, time.Minute), dial); err != nil {
		t.Error(err)
	}
}

func TestAFloodRepeatsDialsThatFail(t *testing.T) {
	l, dial := listen(t)
	go floodtest.Serve(l)
	var n atomic.Int32
	flaky := func(ctx context.Context, port uint32) (net.Conn, error) {
		if n.Add(1)%3 == 0 {
			return nil, errors.New("connection timed out")
		}
		return dial(ctx, port)
	}
	if err := floodtest.SmallFlood(deadline(t, time.Minute), flaky); err != nil {
		t.Error(err)
	}
}

func TestAFloodNeedsADeadline(t *testing.T) {
	_, dial := listen(t)
	if err := floodtest.SmallFlood(context.Background(), dial); err == nil {
		t.Error("accepted")
	}
}

func TestATransportThatStopsFailsTheFloodAtTheDeadline(t *testing.T) {
	l, dial := listen(t)
	go func() { // accepts and then carries nothing
		for {
			if _, err := l.Accept(); err != nil {
				return
			}
		}
	}()
	start := time.Now()
	err := floodtest.SmallFlood(deadline(t, time.Second), dial)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want deadline exceeded", err)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// corruptor flips one bit of what the guest sends.
type corruptor struct {
	net.Conn
	at int
}

func (c *corruptor) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.at < n && c.at >= 0 {
		p[c.at] ^= 1
	}
	c.at -= n
	return n, err
}

func TestACorruptByteFailsTheFlood(t *testing.T) {
	l, dial := listen(t)
	go floodtest.Serve(l)
	corrupt := func(ctx context.Context, port uint32) (net.Conn, error) {
		conn, err := dial(ctx, port)
		if err != nil {
			return nil, err
		}
		return &corruptor{conn, 40}, nil
	}
	err := floodtest.SmallFlood(deadline(t, time.Minute), corrupt)
	if want := (*floodtest.CorruptError)(nil); !errors.As(err, &want) {
		t.Fatalf("got %v, want a CorruptError", err)
	}
	if !strings.Contains(err.Error(), "byte 40 is") {
		t.Errorf("got %q, want it to name byte 40", err)
	}
}

func TestAnAnswerFromTheClosedPortFailsTheFlood(t *testing.T) {
	l, dial := listen(t)
	go floodtest.Serve(l)
	everywhere := func(ctx context.Context, port uint32) (net.Conn, error) {
		conn, err := dial(ctx, floodtest.Port)
		if err != nil || port == floodtest.Port {
			return conn, err
		}
		return &answering{conn}, nil
	}
	err := floodtest.SmallFlood(deadline(t, time.Minute), everywhere)
	if err == nil || !strings.Contains(err.Error(), "nobody listens") {
		t.Errorf("got %v, want a complaint about the closed port", err)
	}
}

type answering struct{ net.Conn }

func (*answering) Read(p []byte) (int, error) { return 1, nil }

func TestServeRefusesARequestBeyondItsBounds(t *testing.T) {
	l, dial := listen(t)
	go floodtest.Serve(l)
	for name, request := range map[string][2]uint32{
		"too many bytes": {1 << 31, 0},
		"too long pause": {1, 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dial(t.Context(), floodtest.Port)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var b [8]byte
			binary.BigEndian.PutUint32(b[:4], request[0])
			binary.BigEndian.PutUint32(b[4:], request[1])
			if _, err := conn.Write(b[:]); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, err := conn.Read(b[:]); n != 0 || !errors.Is(err, io.EOF) {
				t.Errorf("got %d bytes and %v, want the connection closed", n, err)
			}
		})
	}
}
