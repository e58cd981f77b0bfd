// Package proxy carries byte streams between the parent's network and the enclave's vsock.
//
// A Proxy takes connections from a listener and dials the other side for each: TCP to vsock for the
// signer's clients, vsock to TCP for what the enclave calls. It reads nothing into the bytes. TLS
// ends inside the enclave, so what passes here is ciphertext.
//
// A half-closed connection stays half open: the end of one direction is passed on, and the other
// carries on until it ends too. Where the receiving side cannot be closed for writing (the emulator's
// vsock), the other direction gets a grace instead.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Dialer connects to where a proxy leads.
type Dialer func(ctx context.Context) (net.Conn, error)

// Defaults for a Proxy's zero fields.
const (
	DefaultMaxConnections = 512
	DefaultDialTimeout    = 10 * time.Second
	DefaultDrainTimeout   = 5 * time.Second
)

// A Proxy serves one listener. Its fields are not changed once Serve runs.
type Proxy struct {
	Dial Dialer // connects to the other side; required

	// MaxConnections bounds the connections at once. Further clients wait in the listener's queue.
	MaxConnections int

	DialTimeout  time.Duration // to reach the other side
	IdleTimeout  time.Duration // ends a connection on which nothing moved for so long; zero means never
	DrainTimeout time.Duration // what open connections get to finish once Serve must end

	// Report is told why a connection failed to reach the other side, or ended in an error. It may be
	// called from several goroutines. Nil is silent.
	Report func(error)

	counters counters
}

// Stats counts what a proxy has done.
type Stats struct {
	Accepted   uint64 // connections taken from the listener
	Active     int64  // of those, still open
	DialFailed uint64 // the other side was not reached
	Failed     uint64 // ended in an error, a timeout included
	Sent       uint64 // bytes from clients to the other side
	Received   uint64 // bytes from the other side to clients
}

type counters struct {
	accepted, dialFailed, failed, sent, received atomic.Uint64
	active                                       atomic.Int64
}

// Stats returns the counts so far. It may be called at any time.
func (p *Proxy) Stats() Stats {
	c := &p.counters
	return Stats{
		Accepted:   c.accepted.Load(),
		Active:     c.active.Load(),
		DialFailed: c.dialFailed.Load(),
		Failed:     c.failed.Load(),
		Sent:       c.sent.Load(),
		Received:   c.received.Load(),
	}
}

// retryPause is how long Serve waits after a passing failure to accept, such as too many open files.
const retryPause = 100 * time.Millisecond

// Serve accepts and carries connections until ctx ends or l fails for good. It then closes l, gives
// open connections DrainTimeout to finish, and returns when none is left: nil if ctx ended it, else
// the listener's error.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	if p.Dial == nil {
		l.Close()
		return errors.New("proxy: no dialer")
	}
	defer context.AfterFunc(ctx, func() { l.Close() })()
	defer l.Close()

	live, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	var open sync.WaitGroup
	err := p.accept(ctx, live, l, &open)
	l.Close()
	drained := make(chan struct{})
	go func() { open.Wait(); close(drained) }()
	select {
	case <-drained:
	case <-time.After(orDefault(p.DrainTimeout, DefaultDrainTimeout)):
		cut()
		<-drained
	}
	return err
}

// accept begins to handle connections, at most MaxConnections at once, until ctx ends. The connections
// themselves last until live does.
func (p *Proxy) accept(ctx, live context.Context, l net.Listener, open *sync.WaitGroup) error {
	slots := make(chan struct{}, orDefault(p.MaxConnections, DefaultMaxConnections))
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := l.Accept()
		switch {
		case err == nil:
			open.Go(func() { p.handle(live, conn); <-slots })
		case ctx.Err() != nil:
			return nil
		case isPassing(err):
			<-slots
			pause(ctx)
		default:
			return fmt.Errorf("proxy: %w", err)
		}
	}
}

// isPassing tells failures to accept that say nothing of the listener.
func isPassing(err error) bool {
	for _, e := range []error{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func pause(ctx context.Context) {
	select {
	case <-time.After(retryPause):
	case <-ctx.Done():
	}
}

// handle carries one connection from its acceptance to its end.
func (p *Proxy) handle(ctx context.Context, client net.Conn) {
	defer client.Close()
	p.counters.accepted.Add(1)
	p.counters.active.Add(1)
	defer p.counters.active.Add(-1)

	dialing, cancel := context.WithTimeout(ctx, orDefault(p.DialTimeout, DefaultDialTimeout))
	server, err := p.Dial(dialing)
	cancel()
	if err != nil {
		p.counters.dialFailed.Add(1)
		p.report(client, err)
		return
	}
	defer server.Close()
	if err := p.carry(ctx, client, server); err != nil {
		p.counters.failed.Add(1)
		p.report(client, err)
	}
}

func (p *Proxy) report(client net.Conn, err error) {
	if p.Report != nil {
		p.Report(fmt.Errorf("connection from %v: %w", client.RemoteAddr(), err))
	}
}

func orDefault[T int | time.Duration](v, fallback T) T {
	if v == 0 {
		return fallback
	}
	return v
}
