package emulator_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/parent/emulator"
	"holdfast/parent/emulator/emulatortest"
)

// signerPort is where the enclave serves HTTPS.
const signerPort = 5000

// TestTheEnclaveImageBootsAndSpeaksTLS boots the real image on the real machine: the heartbeat, the
// application's port, a TLS handshake that ends in the enclave, and nothing left afterwards.
func TestTheEnclaveImageBootsAndSpeaksTLS(t *testing.T) {
	m := emulatortest.Machine(t, emulatortest.EIFVariable)
	tmp, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	t.Setenv("TMPDIR", tmp)

	before := len(children(t))
	r, err := emulator.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Logf("heartbeat after %v", r.BootTime)

	reached := dialUntilReady(t, r)
	handshake(t, reached)
	refused(t, r)
	manyAtOnce(t, r)

	if err := r.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if left := children(t); len(left) > before {
		t.Errorf("processes left: %v", left)
	}
	checkEmpty(t, tmp)
}

// dialUntilReady connects to the signer's port. The application starts after the heartbeat.
func dialUntilReady(t *testing.T, r *emulator.Running) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		conn, err := r.Dial(ctx, signerPort)
		if err == nil {
			return conn
		}
		if !errors.Is(err, syscall.ECONNREFUSED) || ctx.Err() != nil {
			t.Fatalf("the signer's port: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// handshake shakes hands over conn and closes it. Whom it talks to is the attestation's matter.
func handshake(t *testing.T, conn net.Conn) {
	t.Helper()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	client := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err := client.Handshake(); err != nil {
		t.Errorf("TLS handshake with the enclave: %v", err)
		return
	}
	if n := len(client.ConnectionState().PeerCertificates); n == 0 {
		t.Error("the enclave showed no certificate")
	}
}

func refused(t *testing.T, r *emulator.Running) {
	t.Helper()
	if conn, err := r.Dial(t.Context(), 4999); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a port without a listener: %v, %v; want %v", conn, err, syscall.ECONNREFUSED)
	}
}

// manyAtOnce makes more connections at once than the device handles in one round.
func manyAtOnce(t *testing.T, r *emulator.Running) {
	t.Helper()
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			conn, err := r.Dial(t.Context(), signerPort)
			if err != nil {
				t.Errorf("one of many dials: %v", err)
				return
			}
			handshake(t, conn)
		})
	}
	all.Wait()
}
