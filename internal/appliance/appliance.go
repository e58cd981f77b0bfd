// Package appliance is the parent's part of an appliance, for tests: it keeps the
// journal of an enclave that a test runs, as a process or in a virtual machine,
// hands it bundles, and opens them as a key holder would.
package appliance

import (
	"context"
	"net"
	"testing"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/parent/journal"
)

// Ports are the vsock ports of one enclave: those that it listens on, and those of
// its parent. An emulated machine has them.
type Ports interface {
	Dial(ctx context.Context, port uint32) (net.Conn, error)
	Listen(port uint32) (net.Listener, error)
}

// journalPort is where an enclave reaches its journal.
const journalPort = 5555

// KeepJournal serves a folder as the enclave's journal until the test ends, or what
// it returns is called.
func KeepJournal(t testing.TB, ports Ports, dir string) (stop func()) {
	t.Helper()
	listener, err := ports.Listen(journalPort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	server := &journal.Server{Dir: dir}
	go func() { served <- server.Serve(ctx, listener) }()
	var stopped bool
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-served; err != nil {
			t.Errorf("journal: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// Control speaks to an enclave's control port until the test ends.
func Control(t testing.TB, ports Ports) *client.Client {
	t.Helper()
	client := client.New(func(ctx context.Context) (net.Conn, error) { return ports.Dial(ctx, message.Port) })
	t.Cleanup(client.Close)
	return client
}

// Wait asks an enclave until it is in a state.
func Wait(t testing.TB, c *client.Client, state message.State) message.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		status, err := c.Status(ctx)
		if err == nil && status.State == state {
			return status
		}
		if ctx.Err() != nil {
			t.Fatalf("got status %+v, %v, want state %q", status, err, state)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
