package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/mdlayher/vsock"

	"holdfast/enclave/nsm"
)

// A platform is what an enclave runs on, and all that it has of the world.
type platform struct {
	module *nsm.Device

	// dial reaches a port of the parent.
	dial func(ctx context.Context, port uint32) (net.Conn, error)

	// started is the time by the kernel's clock, which init has set. It dates
	// certificates; what protects from slashing asks the module instead.
	started time.Time

	log *slog.Logger
}

// dialParent returns a platform's dial for the parent that answered under a context
// identifier. The kernel gives up on a parent that does not answer after two
// seconds, so an ended ctx leaves no more than that behind.
func dialParent(cid uint32) func(context.Context, uint32) (net.Conn, error) {
	return func(ctx context.Context, port uint32) (net.Conn, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		type dialed struct {
			conn *vsock.Conn
			err  error
		}
		result := make(chan dialed, 1)
		go func() {
			conn, err := vsock.Dial(cid, port, nil)
			result <- dialed{conn, err}
		}()
		select {
		case d := <-result:
			if d.err != nil {
				return nil, fmt.Errorf("the parent's vsock port %d: %w", port, d.err)
			}
			return d.conn, nil
		case <-ctx.Done():
			go func() {
				if d := <-result; d.err == nil {
					_ = d.conn.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}
