package floodtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/image/kernel/floodtest/crossover"
	"holdfast/image/qemu"
	"holdfast/image/sandbox"
	"holdfast/internal/testenv"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// floodLimit bounds the two boots and the flood on a busy machine; on an idle one they take seconds.
const floodLimit = 8 * time.Minute

// The driver as Linux has it fails this test: once the cable is released both guests receive for a
// moment, then stop for good, and the flood's own deadline fails them two minutes later.
func TestTwoGuestsThatFloodEachOtherKeepReceiving(t *testing.T) {
	if testing.Short() {
		t.Skip("-short is set, and this boots two machines")
	}
	ctx, cancel := context.WithTimeout(t.Context(), floodLimit)
	defer cancel()
	run := t.TempDir()
	cable := crossover.New(16, 17)
	cable.Hold() // until all requests of both floods are queued
	var listeners [2]*net.UnixListener
	for i, name := range []string{"a", "b"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run, name)})
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	a := start(t, ctx, run, "a", 17)
	b := start(t, ctx, run, "b", 16)
	served := make(chan error, 1)
	go func() { served <- cable.Serve(ctx, listeners[0], listeners[1]) }()
	err := both(ctx, a, b, "guest: QUEUED")
	cable.Release()
	if err == nil {
		err = both(ctx, a, b, "guest: PASSED")
	}
	if err != nil {
		t.Errorf("%v\nconsole of a:\n%s\nconsole of b:\n%s", err, a, b)
	}
	cancel()
	<-served
}

// both waits until both guests have printed a text.
func both(ctx context.Context, a, b *console, text string) error {
	if err := a.await(ctx, text); err != nil {
		return fmt.Errorf("guest a: %w", err)
	}
	if err := b.await(ctx, text); err != nil {
		return fmt.Errorf("guest b: %w", err)
	}
	return nil
}

// start boots the flood image with its vsock on the cable's end of that name.
func start(t *testing.T, ctx context.Context, run, name string, peer int) *console {
	t.Helper()
	c := &console{changed: make(chan struct{}, 1)}
	p, err := sandbox.Start(ctx, sandbox.Spec{
		Root: testenv.Need(t, "HOLDFAST_QEMU_ROOT"),
		Binds: []sandbox.Bind{
			{Source: run, Target: "/vm", Writable: true},
			{Source: testenv.Need(t, "HOLDFAST_QEMU_DIR"), Target: "/qemu"},
			{Source: testenv.Need(t, "HOLDFAST_FLOOD_EIF"), Target: "/flood.eif"},
		},
		Args: []string{"/qemu/" + qemu.Program, "-L", "/qemu/" + qemu.Firmware,
			"-M", "nitro-enclave,vsock=c,id=" + name, "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512M", "-smp", "2",
			"-chardev", "socket,id=c,path=/vm/" + name, "-kernel", "/flood.eif",
			"-append", fmt.Sprintf(" peer=%d ", peer), // not measured, and joined to the image's own
			"-no-user-config", "-nodefaults", "-no-reboot", "-display", "none", "-monitor", "none", "-serial", "stdio"},
		Stdout: c,
		Stderr: c,
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() { c.end(p.Wait()) }()
	return c
}

// A console is what a guest has printed.
type console struct {
	mu      sync.Mutex
	text    bytes.Buffer
	ended   error
	changed chan struct{}
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note()
	return c.text.Write(p)
}

func (c *console) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = errors.Join(errors.New("the machine has ended"), err)
	c.note()
}

func (c *console) note() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *console) String() string {
	text, _ := c.state()
	return text
}

// await waits until the guest has printed a text. It fails if the guest says that it failed, or ends.
func (c *console) await(ctx context.Context, want string) error {
	for {
		text, ended := c.state()
		switch {
		case strings.Contains(text, want):
			return nil
		case strings.Contains(text, "guest: FAILED"):
			return fmt.Errorf("it failed before %q", want)
		case ended != nil:
			return ended
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no %q: %w", want, context.Cause(ctx))
		case <-c.changed:
		}
	}
}

func (c *console) state() (text string, ended error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text.String(), c.ended
}
