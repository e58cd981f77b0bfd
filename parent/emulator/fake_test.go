package emulator_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/image/qemu"
	"holdfast/parent/emulator"
	"holdfast/parent/heartbeat"
)

// A guest stands in for QEMU and for vhost-device-vsock: it keeps to what they do on the sockets and
// on the console, and boots at once.
type guest struct {
	console string // printed before the heartbeat
	silent  bool   // boots without a heartbeat
	end     error  // why QEMU ends, once ended is closed
	ended   chan struct{}
	crash   chan struct{} // closed to make vhost-device-vsock end

	ports map[uint32]func(net.Conn) // what the guest listens on; the connection is closed afterwards
	lose  chan struct{}             // each value makes the device lose one request
}

func newGuest() *guest {
	return &guest{
		console: "booting\n",
		ended:   make(chan struct{}),
		crash:   make(chan struct{}),
		ports:   map[uint32]func(net.Conn){},
		lose:    make(chan struct{}, 10),
	}
}

// processFunc is a process whose end is a function's.
type processFunc func() error

func (f processFunc) Wait() error { return f() }

func (g *guest) start(ctx context.Context, c emulator.Command) (emulator.Process, error) {
	result := make(chan error, 1)
	switch c.Name() {
	case "vhost-device-vsock":
		go func() { result <- g.device(ctx, c) }()
	case "QEMU":
		go func() { result <- g.machine(ctx, c) }()
	default:
		return nil, fmt.Errorf("unknown program %s", c.Name())
	}
	return processFunc(func() error { return <-result }), nil
}

// inSandbox gives a path of a socket in the run directory that is as short as in the sandbox.
func inSandbox(c emulator.Command, name string) (path string, release func() error, err error) {
	dir, err := os.Open(c.RunDir())
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name), dir.Close, nil
}

func listenInSandbox(c emulator.Command, name string) (net.Listener, error) {
	path, release, err := inSandbox(c, name)
	if err != nil {
		return nil, err
	}
	defer release()
	l, err := net.Listen("unix", path)
	if err == nil {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
	}
	return l, err
}

func dialInSandbox(c emulator.Command, name string) (net.Conn, error) {
	path, release, err := inSandbox(c, name)
	if err != nil {
		return nil, err
	}
	defer release()
	return net.Dial("unix", path)
}

func (g *guest) device(ctx context.Context, c emulator.Command) error {
	l, err := listenInSandbox(c, emulator.HostSocket)
	if err != nil {
		return err
	}
	defer l.Close()
	vhost, err := listenInSandbox(c, emulator.VhostSocket)
	if err != nil {
		return err
	}
	defer vhost.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go g.serve(ctx, conn)
		}
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-g.crash:
		fmt.Fprintln(c.Output(), "thread main panicked")
		return errors.New("exit status 101")
	}
}

func (g *guest) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request, err := bufio.NewReaderSize(conn, 16).ReadString('\n')
	if err != nil {
		return
	}
	select {
	case <-g.lose:
		io.Copy(io.Discard, conn)
		return
	default:
	}
	var port uint32
	if n, err := fmt.Sscanf(request, "CONNECT %d\n", &port); n != 1 || err != nil {
		return
	}
	handler := g.ports[port]
	if handler == nil {
		return
	}
	fmt.Fprintf(conn, "OK %d\n", port)
	handler(conn)
}

func (g *guest) machine(ctx context.Context, c emulator.Command) error {
	io.WriteString(c.Output(), g.console)
	if !g.silent {
		conn, err := dialInSandbox(c, emulator.PortSocket(heartbeat.Port))
		if err != nil {
			return err
		}
		defer conn.Close()
		conn.Write([]byte{heartbeat.Byte})
		io.ReadFull(conn, make([]byte, 1))
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-g.ended:
		return g.end
	}
}

// machine describes a machine of which g is the guest, with a temporary directory of its own.
func machine(t *testing.T, g *guest) (m emulator.Machine, tmp string) {
	t.Helper()
	built := t.TempDir()               // before TMPDIR is set
	tmp, err := os.MkdirTemp("", "hf") // t.TempDir's path is too long for a socket's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(tmp) })
	t.Setenv("TMPDIR", tmp)

	for _, name := range []string{qemu.Program, qemu.Firmware, "x.eif"} {
		if err := os.WriteFile(filepath.Join(built, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m = emulator.Machine{Root: "/", QEMU: built, EIF: filepath.Join(built, "x.eif"), BootTimeout: 10 * time.Second}
	return emulator.WithStarter(m, g.start), tmp
}

// boot starts a machine with g as its guest and closes it when the test ends.
func boot(t *testing.T, g *guest) *emulator.Running {
	t.Helper()
	m, _ := machine(t, g)
	r, err := emulator.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return r
}

func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("%s is left behind", f.Name())
	}
}

func checkError(t *testing.T, err error, wants ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", wants)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	}
}

// end waits for the machine to end and returns why.
func end(t *testing.T, r *emulator.Running) error {
	t.Helper()
	select {
	case <-r.Done():
		return r.Wait()
	case <-time.After(10 * time.Second):
		t.Fatal("the machine did not end in 10 s")
		return nil
	}
}
