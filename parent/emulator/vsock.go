package emulator

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/vsock"
)

// A dial is tried again where no reply comes, as vhost-device-vsock is known to mishandle connections
// that come at a bad moment (rust-vmm/vhost-device issue 963). A refusal is final.
const (
	dialAttempts = 3
	replyTimeout = 5 * time.Second // a guest that is alive accepts in milliseconds; TCG on a loaded machine takes longer
)

// ErrNoReply says that the guest neither accepted nor refused a connection in time.
var ErrNoReply = errors.New("no reply from the guest")

// Dial connects to a vsock port of the guest. A port on which nothing listens gives
// [syscall.ECONNREFUSED] at once; a guest that does not answer gives ErrNoReply within 15 s, or the
// context's error before.
func (r *Running) Dial(ctx context.Context, port uint32) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.live, cancel)()

	conn, err := dialPatiently(ctx, func(ctx context.Context) (net.Conn, error) {
		return connect(ctx, r.run.socket(hostSocket), port)
	})
	remote := &vsock.Addr{ContextID: GuestCID, Port: port}
	if err != nil && r.live.Err() != nil {
		err = context.Cause(r.live)
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: remote.Network(), Addr: remote, Err: err}
	}
	return &vsockConn{Conn: conn, local: &vsock.Addr{ContextID: ParentCID}, remote: remote}, nil
}

// dialPatiently dials again where no reply comes, each time with a bound of its own.
func dialPatiently(ctx context.Context, dial func(context.Context) (net.Conn, error)) (conn net.Conn, err error) {
	for range dialAttempts {
		attempt, cancel := context.WithTimeoutCause(ctx, replyTimeout, ErrNoReply)
		conn, err = dial(attempt)
		cancel()
		if !errors.Is(err, ErrNoReply) {
			break
		}
	}
	return conn, err
}

// Listen waits for the guest's connections to a port of its parent, CID 2.
func (r *Running) Listen(port uint32) (net.Listener, error) {
	name := portSocket(port)
	addr := &vsock.Addr{ContextID: ParentCID, Port: port}
	l, err := net.Listen("unix", r.run.socket(name))
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: addr.Network(), Addr: addr, Err: err}
	}
	// The name must go by its lasting path: the other may mean something else by then.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return &vsockListener{Listener: l, addr: addr, path: r.run.file(name)}, nil
}

// A vsockConn is a Unix connection to vhost-device-vsock. It has no CloseWrite: the device turns one into
// the close of both directions.
type vsockConn struct {
	net.Conn
	local, remote *vsock.Addr
}

func (c *vsockConn) LocalAddr() net.Addr  { return c.local }
func (c *vsockConn) RemoteAddr() net.Addr { return c.remote }

type vsockListener struct {
	net.Listener
	addr *vsock.Addr
	path string
	once sync.Once
}

// Close frees the port. What the machine's end has removed already is no error.
func (l *vsockListener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() {
		if e := os.Remove(l.path); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	})
	return err
}

func (l *vsockListener) Addr() net.Addr { return l.addr }

func (l *vsockListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &vsockConn{Conn: conn, local: l.addr, remote: &vsock.Addr{ContextID: GuestCID}}, nil
}
