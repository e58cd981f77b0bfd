package devnet

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// command is one of the peers' programs, with a home of its own and nothing of the environment else: some
// read defaults from a home directory, and all may take settings from variables.
func (c *chain) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.programs, program), args...)
	cmd.Dir = c.dir
	cmd.Env = []string{"HOME=" + c.dir, "PATH=/usr/bin:/bin", "TMPDIR=" + c.dir}
	return cmd
}

// run runs a program that ends by itself.
func run(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	p := launch(t, cmd)
	select {
	case <-p.done:
	case <-time.After(2 * time.Minute):
		t.Fatalf("%s has not ended in 2 minutes", p.name)
	}
	if p.err != nil {
		t.Fatalf("%s: %v", p.name, p.err)
	}
}

// A process is a program that runs until it is stopped.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has been waited for
	err  error         // of Wait; valid once done is closed
}

// launch starts a program in a session of its own. It is killed, with whatever it started, when the test
// ends, and what it printed last is shown if the test failed.
func launch(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{name: filepath.Base(cmd.Path), cmd: cmd, done: make(chan struct{})}
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go p.supervise(started)
	if err := <-started; err != nil {
		t.Fatalf("starting %s: %v", p.name, err)
	}
	t.Cleanup(func() {
		p.end(syscall.SIGKILL, 10*time.Second)
		if t.Failed() {
			t.Logf("%s printed last:\n%s", p.name, out)
		}
	})
	return p
}

// supervise keeps its thread for as long as the program runs: the kernel sends Pdeathsig when the thread
// that forked ends.
func (p *process) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	if p.err = p.cmd.Start(); p.err != nil {
		started <- p.err
		return
	}
	started <- nil
	p.err = p.cmd.Wait()
}

// stop ends the program as an operator would, and waits until it has.
func (p *process) stop(t testing.TB) {
	t.Helper()
	if !p.end(syscall.SIGTERM, 20*time.Second) {
		t.Errorf("%s did not end within 20 seconds of being told to, and was killed", p.name)
		p.end(syscall.SIGKILL, 10*time.Second)
	}
}

// end sends a signal to the program's session and says whether it has ended within the time.
func (p *process) end(signal syscall.Signal, within time.Duration) bool {
	select {
	case <-p.done:
		return true
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, signal)
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

// ended says whether the program has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// maxTail bounds what is kept, and shown, of a program's output.
const maxTail = 24 << 10

// A tail keeps the last of what was written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if extra := len(l.text) - maxTail; extra > 0 {
		l.text = append(l.text[:0], l.text[extra:]...)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.ToValidUTF8(l.text, []byte("?")))
}
