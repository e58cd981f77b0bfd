package vmring_test

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/image/sandbox"
	"holdfast/internal/testenv"
	"holdfast/parent/emulator"
	"holdfast/parent/emulator/emulatortest"
	"holdfast/parent/proxy"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	// What outlives its parent becomes a child of this process, and so is found by nothingLeft.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// machine describes the emulated machine that boots an image in 256 MB.
func machine(t *testing.T, image string, console *console) emulator.Machine {
	t.Helper()
	m := emulatortest.Machine(t, image)
	m.MemoryMiB = 256
	m.Console = console
	return m
}

// A console keeps what the guest printed.
type console struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// boot starts an image and ends it with the test.
func boot(t *testing.T, image string) (*emulator.Running, *console) {
	t.Helper()
	var out console
	vm, err := emulator.Start(context.Background(), machine(t, image, &out))
	if err != nil {
		t.Fatalf("%v\nconsole:\n%s", err, &out)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Errorf("ending the machine: %v", err)
		}
		if t.Failed() {
			t.Logf("console:\n%s", &out)
		}
	})
	return vm, &out
}

// httpsPort is where the enclave serves.
const httpsPort = 5000

// serve carries a loopback port to the guest's HTTPS and returns its URL.
func serve(t *testing.T, vm *emulator.Running) string {
	t.Helper()
	waitForPort(t, vm, httpsPort)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	p := &proxy.Proxy{Dial: func(ctx context.Context) (net.Conn, error) { return vm.Dial(ctx, httpsPort) }}
	go func() { done <- p.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("proxy: %v", err)
		}
	})
	return "https://" + l.Addr().String()
}

// waitForPort waits until the guest's application listens.
func waitForPort(t *testing.T, vm *emulator.Running, port uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		conn, err := vm.Dial(ctx, port)
		if err == nil {
			conn.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the guest does not listen on port %d: %v", port, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// program runs one of the built programs in the checkout and returns its output and exit code.
func program(t *testing.T, name string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	bin := testenv.Need(t, "HOLDFAST_BIN")
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, filepath.Join(bin, name), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Dir(bin), &out, &errs
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatalf("%s %v: %v", name, args, err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}
