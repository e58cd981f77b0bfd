package main

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// listen serves each connection by TCP, because a host without vsock loopback
// must run this test too. What differs is the address alone.
func listen(t *testing.T, serve func(net.Conn)) unix.Sockaddr {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				serve(conn)
			}()
		}
	}()
	return &unix.SockaddrInet4{Port: listener.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
}

func TestTheByteThatComesBackIsReturned(t *testing.T) {
	to := listen(t, func(conn net.Conn) {
		buffer := make([]byte, 1)
		_, _ = io.ReadFull(conn, buffer)
		time.Sleep(3 * pollPeriod)
		_, _ = conn.Write([]byte{buffer[0] + 1})
	})
	got, err := exchangeByte(t.Context(), unix.AF_INET, to, 0x41)
	if err != nil || got != 0x42 {
		t.Errorf("got %#x, %v, want 0x42", got, err)
	}
}

func TestAClosedConnectionIsAnError(t *testing.T) {
	to := listen(t, func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, 1)) })
	if _, err := exchangeByte(t.Context(), unix.AF_INET, to, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestARefusedConnectionIsAnError(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	_, err = exchangeByte(t.Context(), unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}, 1)
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v, want %v", err, unix.ECONNREFUSED)
	}
}

func TestAPeerThatNeverAnswersIsLeftWhenTheContextEnds(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	to := listen(t, func(net.Conn) { <-hold })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := exchangeByte(ctx, unix.AF_INET, to, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAnUnreachableContextIsAnErrorNotAHang(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// No machine has a context of this number, and this one may lack vsock.
	if _, err := exchangeVsock(ctx, unix.VMADDR_CID_ANY-1, heartbeatPort, heartbeatByte); err == nil {
		t.Error("got an answer")
	}
}
