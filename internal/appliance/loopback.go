package appliance

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Loopback are ports of an enclave that runs as a process: connections in memory's
// place of vsock go over the loopback device. The zero value is not usable: see
// [NewLoopback].
type Loopback struct {
	mu     sync.Mutex
	parent map[uint32]net.Addr
	guest  map[uint32]net.Addr
}

// NewLoopback returns ports on which nobody listens.
func NewLoopback() *Loopback {
	return &Loopback{parent: make(map[uint32]net.Addr), guest: make(map[uint32]net.Addr)}
}

// Listen makes the parent listen. Part of [Ports].
func (l *Loopback) Listen(port uint32) (net.Listener, error) { return l.listen(l.parent, port) }

// Dial reaches the enclave. Part of [Ports].
func (l *Loopback) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	return l.dial(ctx, l.guest, port)
}

// ListenInside makes the enclave listen.
func (l *Loopback) ListenInside(port uint32) (net.Listener, error) { return l.listen(l.guest, port) }

// DialOut reaches the parent from the enclave.
func (l *Loopback) DialOut(ctx context.Context, port uint32) (net.Conn, error) {
	return l.dial(ctx, l.parent, port)
}

func (l *Loopback) listen(side map[uint32]net.Addr, port uint32) (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	side[port] = listener.Addr()
	return listener, nil
}

func (l *Loopback) dial(ctx context.Context, side map[uint32]net.Addr, port uint32) (net.Conn, error) {
	l.mu.Lock()
	address := side[port]
	l.mu.Unlock()
	if address == nil {
		return nil, fmt.Errorf("port %d: %w", port, syscall.ECONNREFUSED)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", address.String())
}
