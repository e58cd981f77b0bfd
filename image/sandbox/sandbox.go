// Package sandbox runs a command in a rootless build sandbox: the same
// surroundings whoever runs it and wherever, so that nothing of the machine
// can show in what is built.
//
// A command sees an unpacked toolchain as its read-only root, the directories
// bound into it, a fresh /proc, five devices, empty /tmp and /dev/shm, and a
// network with nothing in it but its own loopback, unless it asks for the host's
// ([Spec.Network]). Its user, group, host name,
// environment, umask, resource limits and personality are fixed. What still
// shows of the machine is the kernel's release, the processor, the memory and
// the clock; recipes must not depend on those.
//
// # How
//
// Start re-executes the running program under the name holdfast-sandbox in new
// user, mount, PID, network, UTS, IPC and cgroup namespaces. [Init], the first
// line of main, recognises that name: there the program is process 1 of the
// sandbox. It receives its order over a pipe, builds the root on a tmpfs that
// only its mount namespace has, drops every capability, starts the command,
// reaps, and reports how the command ended over a second pipe. Nothing is
// written to the host: when the last process ends, the kernel forgets it all.
//
// Only the caller's own user and group exist inside, as 1000. An ordinary
// number rather than 0 keeps tar and install from trying to change owners,
// which a namespace with a single user must refuse.
//
// # How it ends
//
// Everything inside dies with process 1, and process 1 ends when the command
// does, when the context is done, and when the program that started it dies.
//
// The sandbox isolates builds from their surroundings. It is not a jail for
// hostile code: the kernel's whole system call interface is open to it.
//
// Linux 5.12 or newer is needed, and user namespaces: see [Check].
package sandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

const (
	// childName is argv[0] of process 1. Init knows the sandbox by it.
	childName = "holdfast-sandbox"

	// insideID is the caller's user and group as seen from inside.
	insideID = 1000

	// copyGrace bounds the wait for the caller's own readers and writers once
	// the sandbox is dead: a Stdin that blocks for ever must not hold Wait.
	copyGrace = 5 * time.Second
)

// initialised is set by Init. Without Init at the start of main, the program
// re-executed as process 1 would start the sandbox again, and so on without end.
var initialised atomic.Bool

// Init turns the process into process 1 of a sandbox if Start made it for that,
// and then does not return. Every program that uses this package, test programs
// included, calls it before anything else.
func Init() {
	if len(os.Args) > 0 && os.Args[0] == childName {
		syscall.Exit(childMain()) // under the race detector, os.Exit takes a second
	}
	initialised.Store(true)
}

// Bind makes a file or directory of the host appear in the sandbox.
type Bind struct {
	Source   string // on the host; symbolic links are followed
	Target   string // inside: absolute, clean; made if it does not exist
	Writable bool
}

// Spec describes a command and its surroundings.
type Spec struct {
	// Root is the unpacked toolchain that is mounted read-only as /.
	Root string

	// Host keeps the host's own directories in place, with the host's rights
	// to write, and takes only the system directories (/usr, /bin, /lib…,
	// /etc) from Root. It suits a compiler that another program calls with
	// paths of the host. Without it the host is out of sight.
	Host bool

	// Network gives the command the host's network, with the host's resolver
	// configuration. What is fetched by it must be checked against a hash
	// before anything is built from it. Without it there is only a loopback.
	Network bool

	Binds []Bind

	// Dir is the working directory inside; empty means /.
	Dir string

	// Env adds to, or replaces, the fixed environment: PATH, HOME=/tmp,
	// LC_ALL=C, TZ=UTC, SOURCE_DATE_EPOCH=0, USER=build. PWD is always Dir.
	Env []string

	// Args is the command. Args[0] is looked up inside, in the fixed PATH,
	// unless it contains a slash.
	Args []string

	// Stdin, Stdout and Stderr are as in [exec.Cmd].
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ExitError says that the command ran and did not succeed.
type ExitError struct {
	Command string
	Code    int            // the exit status; 0 if Signal is set
	Signal  syscall.Signal // the signal that killed it, or 0
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s: killed by signal %d (%v)", e.Command, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("%s: exit status %d", e.Command, e.Code)
}

// Status is the exit status a shell would give: the command's own, or 128 plus
// the number of the signal that killed it.
func (e *ExitError) Status() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// Process is a command that runs in its sandbox.
type Process struct {
	name string
	done chan struct{}
	err  error
}

// Run starts the command and waits for it to end.
func Run(ctx context.Context, s Spec) error {
	p, err := Start(ctx, s)
	if err != nil {
		return err
	}
	return p.Wait()
}

// Start begins to run the command. When ctx is done, the command and all its
// descendants are killed. The caller must call Wait. Where the system does not
// allow sandboxes, Start or Wait returns a [*ForbiddenError].
func Start(ctx context.Context, s Spec) (*Process, error) {
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	if s.Network {
		s.Binds = append(slices.Clone(s.Binds), resolverBinds()...)
	}
	steps, err := layout(s)
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	dir := cmp.Or(s.Dir, "/")
	o := order{Layout: steps, Network: s.Network, Dir: dir, Env: environment(append(slices.Clone(s.Env), "PWD="+dir)), Args: s.Args}
	return start(ctx, o, s)
}

// resolverBinds shows the host's files that a resolver reads, those that it has.
func resolverBinds() []Bind {
	var binds []Bind
	for _, name := range []string{"/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"} {
		if _, err := os.Stat(name); err == nil {
			binds = append(binds, Bind{Source: name, Target: name})
		}
	}
	return binds
}

// Wait waits for the command to end. The error is nil if it exited with status
// 0, an [*ExitError] if it did not, the context's if that ended it, and any
// other if it could not be run.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

func (s Spec) validate() error {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return errors.New("no command")
	}
	if s.Dir != "" && !path.IsAbs(s.Dir) {
		return fmt.Errorf("working directory %q: want an absolute path", s.Dir)
	}
	for _, e := range s.Env {
		if i := strings.IndexByte(e, '='); i < 1 {
			return fmt.Errorf("environment %q: want NAME=value", e)
		}
	}
	texts := append(append([]string{s.Root, s.Dir}, s.Env...), s.Args...)
	for _, b := range s.Binds {
		texts = append(texts, b.Source, b.Target)
	}
	return validateTexts(texts)
}

// validateTexts refuses what the order's JSON and the kernel's strings cannot
// carry unchanged.
func validateTexts(texts []string) error {
	for _, t := range texts {
		if !utf8.ValidString(t) || strings.IndexByte(t, 0) >= 0 {
			return fmt.Errorf("%q: want UTF-8 without zero bytes", t)
		}
	}
	return nil
}

// start runs the order in new namespaces. An order without arguments only
// builds the root.
func start(ctx context.Context, o order, s Spec) (*Process, error) {
	if !initialised.Load() {
		return nil, errors.New("sandbox: sandbox.Init was not called at the start of main")
	}
	pipes, err := newPipes()
	if err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	p := &Process{name: "set-up", done: make(chan struct{})}
	if len(o.Args) > 0 {
		p.name = o.Args[0]
	}
	started := make(chan error, 1)
	go p.supervise(ctx, childCommand(ctx, s, pipes), pipes, o, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// childCommand is the command line and the namespaces of process 1.
func childCommand(ctx context.Context, s Spec, p *pipes) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{childName}
	cmd.Env = []string{} // the order carries the environment; GODEBUG and the like stay out
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.ExtraFiles = []*os.File{p.orderRead, p.outcomeWrite} // orderFD, outcomeFD
	cmd.WaitDelay = copyGrace
	var network uintptr = syscall.CLONE_NEWNET
	if s.Network {
		network = 0
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: network | syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC | syscall.CLONE_NEWCGROUP,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: insideID, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: insideID, HostID: os.Getegid(), Size: 1}},
		// A user other than 0 keeps capabilities across exec only as ambient ones.
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN, unix.CAP_SETPCAP},
		Pdeathsig:   syscall.SIGKILL,
		// A session of its own: the terminal's Ctrl-C goes to the caller
		// alone, which then decides.
		Setsid: true,
	}
	return cmd
}

// supervise owns the sandbox from clone to wait. The kernel sends Pdeathsig
// when the thread that cloned dies, not the process, so this goroutine keeps
// its thread for as long as the sandbox lives.
func (p *Process) supervise(ctx context.Context, cmd *exec.Cmd, pp *pipes, o order, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	defer pp.close()

	if err := cmd.Start(); err != nil {
		started <- cloneError(err)
		return
	}
	started <- nil
	pp.closeChildEnds()

	// Pdeathsig is set before the child's exec, and Start returns after it: a
	// caller that dies earlier leaves the child with half an order, which ends it.
	sendErr := writeOrder(pp.orderWrite, o)
	pp.orderWrite.Close()
	waitErr := cmd.Wait()
	out, outcomeErr := readOutcome(pp.outcomeRead)
	p.err = p.verdict(ctx, out, errors.Join(sendErr, outcomeErr, waitErr))
}

// verdict turns what process 1 reported, or failed to report, into Wait's error.
func (p *Process) verdict(ctx context.Context, out *outcome, transport error) error {
	switch {
	case out == nil && ctx.Err() != nil:
		return fmt.Errorf("sandbox: %s: %w", p.name, context.Cause(ctx))
	case out == nil:
		return fmt.Errorf("sandbox: %s: killed before it could report: %w", p.name, transport)
	case out.Step != "":
		return explain(&setupError{out.Step, out.Error, syscall.Errno(out.Errno)}, readSettings())
	case out.Code != 0 || out.Signal != 0:
		return &ExitError{Command: p.name, Code: out.Code, Signal: syscall.Signal(out.Signal)}
	}
	return transport
}

// setupError says which step towards the command failed, and the system's
// reason if it had one.
type setupError struct {
	step   string
	detail string
	errno  syscall.Errno
}

func (e *setupError) Error() string { return fmt.Sprintf("sandbox: %s: %s", e.step, e.detail) }

func (e *setupError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

func cloneError(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fmt.Errorf("sandbox: %w", err)
	}
	return explain(&setupError{stepClone, err.Error(), errno}, readSettings())
}
