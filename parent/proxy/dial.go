package proxy

import (
	"context"
	"fmt"
	"net"

	"github.com/mdlayher/vsock"
)

// TCP returns a Dialer to a host and port.
func TCP(address string) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

// Vsock returns a Dialer to a port of the enclave with the given CID. The kernel gives up on an
// enclave that does not answer after two seconds (VSOCK_DEFAULT_CONNECT_TIMEOUT).
func Vsock(cid, port uint32) Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		dialed := make(chan result, 1)
		go func() {
			conn, err := vsock.Dial(cid, port, nil)
			if err != nil {
				dialed <- result{nil, err}
				return
			}
			dialed <- result{conn, nil}
		}()
		select {
		case r := <-dialed:
			return r.conn, r.err
		case <-ctx.Done():
			go func() { // the call cannot be broken off; what comes of it is not wanted
				if r := <-dialed; r.conn != nil {
					r.conn.Close()
				}
			}()
			return nil, fmt.Errorf("dial vsock vm(%d):%d: %w", cid, port, context.Cause(ctx))
		}
	}
}
