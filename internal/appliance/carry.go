package appliance

import (
	"context"
	"net"
	"testing"
	"time"

	"holdfast/parent/proxy"
)

// Carry leads every connection that a listener accepts to where dial leads, as the
// parent's egress does, until the test ends.
func Carry(t testing.TB, listener net.Listener, dial proxy.Dialer) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	// The enclave's clients keep connections that nothing moves on, so waiting gains nothing.
	p := &proxy.Proxy{Dial: dial, DrainTimeout: time.Millisecond}
	go func() { served <- p.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
}
