package serve

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/enclave/serve/access"
)

// limitedListener accepts a bounded number of connections. Those between its limit
// and its spare ones are marked as surplus, for a server to say so; those beyond
// wait in the kernel's queue.
type limitedListener struct {
	net.Listener
	limit func() int
	spare int

	mu     sync.Mutex
	room   *sync.Cond
	open   int
	closed bool
}

// limit wraps a listener. The limit is asked for each connection.
func limit(l net.Listener, connections func() int, spare int) *limitedListener {
	limited := &limitedListener{Listener: l, limit: connections, spare: spare}
	limited.room = sync.NewCond(&limited.mu)
	return limited
}

// Accept waits for room and then for a connection.
func (l *limitedListener) Accept() (net.Conn, error) {
	if err := l.wait(); err != nil {
		return nil, err
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{Conn: conn, free: sync.OnceFunc(l.free), surplus: l.take() > l.limit()}, nil
}

func (l *limitedListener) wait() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && l.open >= l.limit()+l.spare {
		l.room.Wait()
	}
	if l.closed {
		return net.ErrClosed
	}
	return nil
}

// take counts one more connection. Only one Accept is under way, so that what wait
// found holds until then.
func (l *limitedListener) take() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
	return l.open
}

func (l *limitedListener) free() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	l.room.Signal()
}

// connections counts those that are open.
func (l *limitedListener) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// wake has a waiting Accept ask for the limit again.
func (l *limitedListener) wake() { l.room.Broadcast() }

// Close ends a wait for room too.
func (l *limitedListener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake()
	return l.Listener.Close()
}

// connection frees its place when it is closed, and knows who is at its other end.
type connection struct {
	net.Conn
	free    func()
	surplus bool

	presented  atomic.Pointer[generation] // whose identity its client saw
	identified atomic.Pointer[identified]

	patient atomic.Bool // with the first request
	phase   atomic.Int32
}

// identified is the judgement of one generation's list on a connection's client.
type identified struct {
	by *generation
	access.Identification
}

func (c *connection) Close() error {
	defer c.free()
	return c.Conn.Close()
}

// The phases of a connection, as far as deadlines go.
const (
	shakingHands int32 = iota
	shaken             // no deadline is set
	unused             // it waits for its first request
	used
)

// SetReadDeadline is where net/http bounds the wait for a first request as it
// bounds the reading of a header. A client may well open a connection that it then
// does not need, keep it for later, and lose the request that comes when it is
// closed. So that of a patient connection has the time of an idle one, up to its
// first byte.
func (c *connection) SetReadDeadline(t time.Time) error {
	switch phase := c.phase.Load(); {
	case phase == shakingHands && t.IsZero():
		c.phase.Store(shaken)
	case phase == shaken && !t.IsZero() && c.patient.Load():
		c.phase.Store(unused)
		t = time.Now().Add(idleTimeout)
	case phase != shakingHands && !t.IsZero():
		c.phase.Store(used) // a header may come with the handshake's last bytes
	}
	return c.Conn.SetReadDeadline(t)
}

// Read starts the time of a header with its first byte.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && c.phase.CompareAndSwap(unused, used) {
		if err := c.Conn.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
			return n, err
		}
	}
	return n, err
}
