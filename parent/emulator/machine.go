// Package emulator runs an enclave image on QEMU's nitro-enclave machine.
//
// The machine loads the EIF as a Nitro instance does, measures it into PCR0 to PCR2, and emulates the
// NSM. Its attestation documents are unsigned: what runs here proves nothing to anyone. It is for
// tests and for the demonstration, on any Linux machine, as any user: QEMU interprets the guest's
// instructions (TCG), so neither KVM nor a vsock driver of the host is needed.
//
// Two programs run, each in a sandbox without a network: QEMU, and vhost-device-vsock, which carries
// the guest's vsock to Unix sockets. Both share one private directory with the caller and nothing
// else. They and the directory are gone when the guest ends, when the context does, and when the
// caller dies.
//
// # Where the vsock differs from a Nitro instance's
//
// vhost-device-vsock knows the parent as CID 2 only, so the enclave's call to CID 3 times out. It
// carries no half-closed connection: when either end has closed for writing, the other direction is
// cut too, or the close is not seen. A guest that connects to a port on which nobody listens is
// not refused but waits for its own timeout. Bytes that wait for a slow reader on the host
// are lost when the guest closes.
package emulator

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/image/qemu"
	"holdfast/image/sandbox"
)

// CIDs as the guest sees them.
const (
	GuestCID  = 16
	ParentCID = 2
)

// Defaults for a Machine's zero fields.
const (
	DefaultMemoryMiB   = 256
	DefaultCPUs        = 2
	DefaultBootTimeout = 2 * time.Minute // a boot takes seconds on an idle machine
)

// Bounds on a Machine's size. The least memory is what the Nitro driver asks for
// (NE_ERR_ENCLAVE_MEM_MIN_SIZE); the others keep a slip of the pen from taking the host's memory.
const (
	minMemoryMiB = 64
	maxMemoryMiB = 16 << 10
	maxCPUs      = 16
)

// A Machine describes an emulated machine and the image that it boots.
type Machine struct {
	Root string // unpacked "qemu" package set: the root of the sandboxes
	QEMU string // directory that image/qemu built
	EIF  string // the enclave image

	MemoryMiB   int           // zero means DefaultMemoryMiB
	CPUs        int           // zero means DefaultCPUs
	BootTimeout time.Duration // from start to heartbeat; zero means DefaultBootTimeout

	// Console gets what the guest prints, as it prints it. A writer that is slower than the guest
	// loses part of it and is told how much. Nil discards.
	Console io.Writer

	start starter // nil means in a sandbox
}

// withDefaults returns the machine with its zero fields filled in, or what is wrong with it.
func (m Machine) withDefaults() (Machine, error) {
	if m.MemoryMiB == 0 {
		m.MemoryMiB = DefaultMemoryMiB
	}
	if m.CPUs == 0 {
		m.CPUs = DefaultCPUs
	}
	if m.BootTimeout == 0 {
		m.BootTimeout = DefaultBootTimeout
	}
	if m.start == nil {
		m.start = startInSandbox
	}
	switch {
	case m.MemoryMiB < minMemoryMiB || m.MemoryMiB > maxMemoryMiB:
		return m, fmt.Errorf("memory: got %d MiB, want %d to %d", m.MemoryMiB, minMemoryMiB, maxMemoryMiB)
	case m.CPUs < 1 || m.CPUs > maxCPUs:
		return m, fmt.Errorf("CPUs: got %d, want 1 to %d", m.CPUs, maxCPUs)
	case m.BootTimeout < 0:
		return m, fmt.Errorf("boot timeout: got %v, want it positive", m.BootTimeout)
	}
	return m, m.checkFiles()
}

func (m Machine) checkFiles() error {
	for _, f := range []struct{ what, path string }{
		{"enclave image", m.EIF},
		{"QEMU", filepath.Join(m.QEMU, qemu.Program)},
		{"QEMU's firmware", filepath.Join(m.QEMU, qemu.Firmware)},
		{"sandbox root", m.Root},
	} {
		if f.path == "" {
			return fmt.Errorf("%s: no path given", f.what)
		}
		if _, err := os.Stat(f.path); err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
	}
	return nil
}

// Where the sandboxes see what they share with the host. The paths of the sockets must be short.
const (
	runTarget  = "/vm"
	qemuTarget = "/qemu"
	eifTarget  = "/enclave.eif"
)

// deviceBuffer is how many bytes of one connection the guest may send before the host has taken them,
// and so the largest packet. A packet that does not fit in 32 KiB with its bookkeeping reaches the
// device in pieces since Linux 6.12.43 (virtio_vsock_alloc_skb), and vhost-device-vsock 0.3.0 drops
// what is in pieces: the connection then hangs.
const deviceBuffer = 28 << 10

// vsockCommand runs vhost-device-vsock: QEMU talks to it over one socket, the host over another.
func (m Machine) vsockCommand(run string) command {
	return command{
		name: "vhost-device-vsock",
		args: []string{"vhost-device-vsock", "--vm", fmt.Sprintf("guest-cid=%d,socket=%s,uds-path=%s,tx-buffer-size=%d",
			GuestCID, filepath.Join(runTarget, vhostSocket), filepath.Join(runTarget, hostSocket), deviceBuffer)},
		root:  m.Root,
		binds: []sandbox.Bind{{Source: run, Target: runTarget, Writable: true}},
	}
}

// qemuCommand runs the machine. A guest that resets itself ends it, as on Nitro.
func (m Machine) qemuCommand(run string) command {
	return command{
		name: "QEMU",
		args: []string{qemuTarget + "/" + qemu.Program,
			"-L", qemuTarget + "/" + qemu.Firmware,
			"-M", "nitro-enclave,vsock=vsock,id=emulated",
			"-accel", "tcg,thread=multi", "-cpu", "max",
			"-m", fmt.Sprintf("%dM", m.MemoryMiB), "-smp", fmt.Sprint(m.CPUs),
			"-chardev", "socket,id=vsock,path=" + filepath.Join(runTarget, vhostSocket),
			"-kernel", eifTarget,
			"-no-user-config", "-nodefaults", "-no-reboot",
			"-display", "none", "-monitor", "none", "-serial", "stdio",
		},
		root: m.Root,
		binds: []sandbox.Bind{
			{Source: run, Target: runTarget, Writable: true},
			{Source: m.QEMU, Target: qemuTarget},
			{Source: m.EIF, Target: eifTarget},
		},
	}
}

// A command is a program to run beside the caller.
type command struct {
	name   string // for errors
	args   []string
	root   string
	binds  []sandbox.Bind
	output io.Writer // takes both stdout and stderr
}

// A process runs until it ends by itself or until the context it was started with does.
type process interface {
	Wait() error
}

// A starter starts a command. When ctx ends, the command and all it has started are killed.
type starter func(ctx context.Context, c command) (process, error)

func startInSandbox(ctx context.Context, c command) (process, error) {
	p, err := sandbox.Start(ctx, sandbox.Spec{
		Root:   c.root,
		Binds:  c.binds,
		Args:   c.args,
		Stdout: c.output,
		Stderr: c.output,
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}
