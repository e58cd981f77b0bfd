package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// halfCloseGrace ends a connection whose one direction has ended, where that could not be passed on
// and nothing has moved since in the other.
const halfCloseGrace = 5 * time.Second

// bufferSize is the most that one direction holds.
const bufferSize = 32 << 10

var (
	errIdle = errors.New("idle for too long")
	errCut  = errors.New("cut off, as the proxy ends")
)

// A carriage is one connection under way.
type carriage struct {
	client, server net.Conn
	idle           *watch

	mu    sync.Mutex
	cause error // the first failure
	over  bool  // hung up: what fails from now on fails for that
}

// carry copies both directions until both have ended. The error is the first failure, if any.
func (p *Proxy) carry(ctx context.Context, client, server net.Conn) error {
	c := &carriage{client: client, server: server}
	c.idle = newWatch(p.IdleTimeout, func() { c.abort(errIdle) })
	defer c.idle.stop()
	defer context.AfterFunc(ctx, func() { c.abort(errCut) })()

	var both sync.WaitGroup
	both.Go(func() { c.direction(server, client, &p.counters.sent) })
	both.Go(func() { c.direction(client, server, &p.counters.received) })
	both.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cause
}

// failed notes the first failure.
func (c *carriage) failed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil && !c.over {
		c.cause = err
	}
}

// abort ends both directions.
func (c *carriage) abort(cause error) {
	c.failed(cause)
	c.hangUp()
}

func (c *carriage) hangUp() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.client.Close()
	c.server.Close()
}

// direction copies src to dst until src ends, then passes the end on.
func (c *carriage) direction(dst, src net.Conn, count *atomic.Uint64) {
	readErr, writeErr := c.copy(dst, src, count)
	switch half, ok := dst.(interface{ CloseWrite() error }); {
	case readErr != nil:
		c.abort(readErr)
	case writeErr != nil:
		// dst takes no more, but may have sent what is still on its way to src: a server that
		// answers and closes before it has read the whole request.
		c.failed(writeErr)
		c.idle.tighten(halfCloseGrace, c.hangUp)
	case ok:
		_ = half.CloseWrite() // fails if dst has closed by now, which the other direction sees
	default:
		c.idle.tighten(halfCloseGrace, c.hangUp)
	}
}

// copy returns nil twice at the end of src.
func (c *carriage) copy(dst, src net.Conn, count *atomic.Uint64) (readErr, writeErr error) {
	buf := make([]byte, bufferSize)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			c.idle.moved()
			wrote, err := dst.Write(buf[:n])
			count.Add(uint64(wrote))
			if err != nil {
				return nil, err
			}
			c.idle.moved()
		}
		switch {
		case err == io.EOF:
			return nil, nil
		case err != nil:
			return err, nil
		}
	}
}

// A watch calls a function when nothing has moved for a time.
type watch struct {
	mu    sync.Mutex
	limit time.Duration // zero means none
	timer *time.Timer   // nil while there is no limit
	over  bool
}

func newWatch(limit time.Duration, fire func()) *watch {
	w := &watch{}
	if limit > 0 {
		w.tighten(limit, fire)
	}
	return w
}

// tighten lowers the limit, if it is lower, and replaces the function.
func (w *watch) tighten(limit time.Duration, fire func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over || (w.timer != nil && w.limit <= limit) {
		return
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.limit, w.timer = limit, time.AfterFunc(limit, fire)
}

// moved starts the time afresh.
func (w *watch) moved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil && !w.over {
		w.timer.Reset(w.limit)
	}
}

func (w *watch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
}
