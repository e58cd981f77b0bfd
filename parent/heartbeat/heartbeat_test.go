package heartbeat_test

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"holdfast/parent/heartbeat"
)

// answering starts Answer on a new socket and returns the socket's path and Answer's result.
func answering(t *testing.T, ctx context.Context) (string, <-chan error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "vm.vsock_9000")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- heartbeat.Answer(ctx, l) }()
	return path, result
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func wait(t *testing.T, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("Answer did not return in 5 s")
		return nil
	}
}

func call(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Write([]byte{heartbeat.Byte}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); err != nil || len(got) != 1 || got[0] != heartbeat.Byte {
		t.Errorf("answer = %x, %v; want b7", got, err)
	}
}

func TestTheHeartbeatIsAnswered(t *testing.T) {
	path, result := answering(t, t.Context())
	call(t, dial(t, path))
	if err := wait(t, result); err != nil {
		t.Errorf("Answer = %v, want nil", err)
	}
	if _, err := net.Dial("unix", path); err == nil {
		t.Error("the listener is open after the heartbeat")
	}
}

func TestOtherCallersDoNotStandInTheWay(t *testing.T) {
	path, result := answering(t, t.Context())
	silent := dial(t, path)
	wrong := dial(t, path)
	if _, err := wrong.Write([]byte{0x7B}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(wrong); len(got) != 0 {
		t.Errorf("a wrong byte was answered with %x, %v; want the end", got, err)
	}
	closed := dial(t, path)
	closed.Close()

	call(t, dial(t, path))
	if err := wait(t, result); err != nil {
		t.Errorf("Answer = %v, want nil", err)
	}
	if got, err := io.ReadAll(silent); len(got) != 0 {
		t.Errorf("the silent caller got %x, %v; want the end", got, err)
	}
}

func TestAnswerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	path, result := answering(t, ctx)
	dial(t, path) // a caller that says nothing must not hold it
	reason := errors.New("the operator left")
	cancel(reason)
	if err := wait(t, result); !errors.Is(err, reason) {
		t.Errorf("Answer = %v, want %v", err, reason)
	}
}

func TestAnswerEndsWithItsListener(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := heartbeat.Answer(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Answer = %v, want %v", err, net.ErrClosed)
	}
}

func TestASecondCallerAtTheSameTimeIsNoError(t *testing.T) {
	path, result := answering(t, t.Context())
	a, b := dial(t, path), dial(t, path)
	for _, conn := range []net.Conn{a, b} {
		conn.Write([]byte{heartbeat.Byte}) // the later one may find the line closed
	}
	got := 0
	for _, conn := range []net.Conn{a, b} {
		answer, _ := io.ReadAll(conn)
		got += len(answer)
	}
	if err := wait(t, result); err != nil || got == 0 {
		t.Errorf("Answer = %v with %d answers, want nil with one or two", err, got)
	}
}
