package main

import (
	"context"
	"log/slog"
	"net"
	"time"

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
