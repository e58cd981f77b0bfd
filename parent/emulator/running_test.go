package emulator_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/image/sandbox"
	"holdfast/parent/emulator"
	"holdfast/parent/heartbeat"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// A syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAMachineBootsAndLeavesNothing(t *testing.T) {
	m, tmp := machine(t, newGuest())
	var console syncBuffer
	m.Console = &console
	r, err := emulator.Start(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if r.BootTime <= 0 {
		t.Errorf("boot time = %v, want it positive", r.BootTime)
	}
	dirs, err := os.ReadDir(tmp)
	if err != nil || len(dirs) != 1 {
		t.Fatalf("run directories: %v, %v; want one", dirs, err)
	}
	if info, err := dirs[0].Info(); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("run directory's mode = %v, %v; want 0700", info.Mode(), err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	if err := r.Wait(); err != nil {
		t.Errorf("Wait after Close = %v, want nil", err)
	}
	checkEmpty(t, tmp)
	if got := console.String(); got != "booting\n" {
		t.Errorf("console = %q, want what the guest printed", got)
	}
}

func TestACancelledContextEndsTheMachine(t *testing.T) {
	m, tmp := machine(t, newGuest())
	ctx, cancel := context.WithCancelCause(t.Context())
	r, err := emulator.Start(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	interrupted := errors.New("interrupted")
	cancel(interrupted)
	if err := end(t, r); !errors.Is(err, interrupted) {
		t.Errorf("Wait = %v, want %v", err, interrupted)
	}
	checkEmpty(t, tmp)
}

func TestACancelledBootLeavesNothing(t *testing.T) {
	g := newGuest()
	g.silent = true
	m, tmp := machine(t, g)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r, err := emulator.Start(ctx, m); r != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Start = %v, %v; want nil and the context's error", r, err)
	}
	checkEmpty(t, tmp)
}

func TestABootWithoutHeartbeatFailsWithTheConsole(t *testing.T) {
	g := newGuest()
	g.silent, g.console = true, "init: no entropy\x1b[2J\r\n"
	m, tmp := machine(t, g)
	m.BootTimeout = 100 * time.Millisecond
	_, err := emulator.Start(t.Context(), m)
	checkError(t, err, "no heartbeat in 100ms", "init: no entropy?[2J")
	checkEmpty(t, tmp)
}

func TestAGuestThatEndsIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		console string
		exit    error
		want    []string
	}{
		"reset": {"bye\n", nil, []string{"the guest reset itself", "bye"}},
		"panic": {"[1.5] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n[1.5] CPU: 0\n", nil,
			[]string{"kernel panic: Attempted to kill init! exitcode=0x00000100", "CPU: 0"}},
		"QEMU fails": {"qemu-system-x86_64: bad CRC\n", &sandbox.ExitError{Command: "qemu-system-x86_64", Code: 1},
			[]string{"exit status 1", "bad CRC"}},
		"sandbox fails": {"", errors.New("sandbox: clone: operation not permitted"),
			[]string{"QEMU: sandbox: clone: operation not permitted", "the console is empty"}},
	} {
		for _, when := range []string{"before", "after"} {
			t.Run(name+" "+when+" the heartbeat", func(t *testing.T) {
				g := newGuest()
				g.console, g.end, g.silent = c.console, c.exit, when == "before"
				m, tmp := machine(t, g)
				if g.silent {
					close(g.ended)
				}
				r, err := emulator.Start(t.Context(), m)
				if !g.silent {
					if err != nil {
						t.Fatal(err)
					}
					close(g.ended)
					err = end(t, r)
				}
				var ended *emulator.EndError
				if !errors.As(err, &ended) {
					t.Errorf("error is %T, want %T", err, ended)
				}
				checkError(t, err, c.want...)
				checkEmpty(t, tmp)
			})
		}
	}
}

func TestADeviceThatEndsTakesTheMachineWithIt(t *testing.T) {
	g := newGuest()
	r := boot(t, g)
	close(g.crash)
	checkError(t, end(t, r), "vhost-device-vsock: exit status 101", "thread main panicked")
}

func TestADeviceThatNeverListensFailsTheBoot(t *testing.T) {
	g := newGuest()
	close(g.crash)
	m, tmp := machine(t, g)
	_, err := emulator.Start(t.Context(), m)
	checkError(t, err, "vhost-device-vsock: ")
	checkEmpty(t, tmp)
}

func TestAProgramThatCannotStartFailsTheBoot(t *testing.T) {
	for _, broken := range []string{"vhost-device-vsock", "QEMU"} {
		t.Run(broken, func(t *testing.T) {
			g := newGuest()
			m, tmp := machine(t, g)
			m = emulator.WithStarter(m, func(ctx context.Context, c emulator.Command) (emulator.Process, error) {
				if c.Name() == broken {
					return nil, errors.New("no user namespaces")
				}
				return g.start(ctx, c)
			})
			_, err := emulator.Start(t.Context(), m)
			checkError(t, err, broken+": no user namespaces")
			checkEmpty(t, tmp)
		})
	}
}

// TestRealProcessesAreGoneAfterwards runs sleeping shells in real sandboxes in the place of the two
// programs, as their own cannot be assumed here; the test plays the guest.
func TestRealProcessesAreGoneAfterwards(t *testing.T) {
	m, tmp := machine(t, newGuest())
	m = emulator.WithStarter(m, func(ctx context.Context, c emulator.Command) (emulator.Process, error) {
		return sandbox.Start(ctx, sandbox.Spec{
			Root:  "/",
			Binds: c.Binds()[:1],
			Args:  []string{"sh", "-c", ": > /vm/" + emulator.VhostSocket + "; sleep 600 & sleep 600"},
		})
	})
	go beat(tmp)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := emulator.Start(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(children(t)); n < 2 {
		t.Errorf("%d child processes run, want both programs", n)
	}
	cancel()
	if err := end(t, r); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want %v", err, context.Canceled)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	checkEmpty(t, tmp)
}

// beat sends the heartbeat as soon as someone listens for it.
func beat(tmp string) {
	for range 1000 {
		paths, _ := filepath.Glob(filepath.Join(tmp, "*", emulator.PortSocket(heartbeat.Port)))
		for _, path := range paths {
			if conn, err := net.Dial("unix", path); err == nil {
				conn.Write([]byte{heartbeat.Byte})
				conn.Read(make([]byte, 1))
				conn.Close()
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// children lists this process's child processes, from /proc.
func children(t *testing.T) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range stats {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // ended since
		}
		_, rest, _ := strings.Cut(string(data), ") ") // proc(5): pid (comm) state ppid
		if fields := strings.Fields(rest); len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) {
			found = append(found, fmt.Sprintf("%.40s", data))
		}
	}
	return found
}
