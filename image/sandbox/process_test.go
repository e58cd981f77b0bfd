package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/image/sandbox"
)

func TestExitCodesPassThrough(t *testing.T) {
	s := spec(t)
	for _, code := range []int{0, 1, 2, 125, 126, 127, 128, 130, 255} {
		s.Args = []string{"inmate", "exit", fmt.Sprint(code)}
		err := sandbox.Run(context.Background(), s)
		var exit *sandbox.ExitError
		switch {
		case code == 0 && err == nil:
		case errors.As(err, &exit) && exit.Code == code && exit.Signal == 0 && exit.Status() == code:
		default:
			t.Errorf("exit %d: got %v", code, err)
		}
	}
}

func TestDeathBySignalIsReported(t *testing.T) {
	s := spec(t)
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP} {
		s.Args = []string{"inmate", "signal", fmt.Sprint(int(signal))}
		err := sandbox.Run(context.Background(), s)
		var exit *sandbox.ExitError
		if !errors.As(err, &exit) {
			t.Fatalf("signal %d: got %v, want an ExitError", signal, err)
		}
		if exit.Signal != signal || exit.Status() != 128+int(signal) || !strings.Contains(err.Error(), "killed by signal") {
			t.Errorf("signal %d: got %v, status %d", signal, err, exit.Status())
		}
	}
}

func TestStandardInputAndOutputStream(t *testing.T) {
	stdin, feed := io.Pipe()
	results, stdout := io.Pipe()
	s := spec(t, "copy")
	s.Stdin, s.Stdout = stdin, stdout
	p, err := sandbox.Start(context.Background(), s)
	must(t, err)
	for _, line := range []string{"first\n", "second\n"} { // each answer before the next question
		_, err := io.WriteString(feed, line)
		must(t, err)
		b := make([]byte, len(line))
		_, err = io.ReadFull(results, b)
		must(t, err)
		expect(t, "answer", string(b), line)
	}
	must(t, feed.Close())
	must(t, p.Wait())
}

func TestMuchDataPassesUnchanged(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	s := spec(t, "copy")
	s.Stdin = bytes.NewReader(want)
	if got := output(t, s); got != string(want) {
		t.Errorf("got %d bytes, want the %d that were sent", len(got), len(want))
	}
}

func TestLongCommandLinesPass(t *testing.T) {
	s := spec(t, "report")
	for range 4000 {
		s.Args = append(s.Args, strings.Repeat("x", 200))
	}
	f := parseFacts(t, output(t, s))
	expect(t, "arguments", f.Args, s.Args)
}

func TestCancelKillsEveryDescendant(t *testing.T) {
	r, w := pipe(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	s := spec(t, "family", "3")
	s.Stdout = w
	p, err := sandbox.Start(ctx, s)
	must(t, err)
	w.Close()
	awaitReady(t, r)
	reason := errors.New("changed our mind")
	cancel(reason)
	if err := p.Wait(); !errors.Is(err, reason) {
		t.Errorf("got %v, want %v", err, reason)
	}
	eof(t, r)
}

func TestADeadlineEndsTheCommand(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	err := sandbox.Run(ctx, spec(t, "sleep"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestACancelledContextStartsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := sandbox.Run(ctx, spec(t, "exit", "0")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestOrphansDieWithTheCommand(t *testing.T) {
	r, w := pipe(t)
	s := spec(t, "leave-orphan")
	s.Stdout = w
	must(t, sandbox.Run(context.Background(), s))
	w.Close()
	eof(t, r)
}

func TestEverythingDiesWithTheParent(t *testing.T) {
	r, w := pipe(t)
	cmd := helper(t, "start-and-wait", minimalRoot(t))
	cmd.Stdout = w
	must(t, cmd.Start())
	w.Close()
	awaitReady(t, r)
	must(t, cmd.Process.Kill())
	cmd.Wait() // says that it was killed
	eof(t, r)
}

func TestTheSandboxOutlivesTheThreadThatStartedIt(t *testing.T) {
	s := spec(t, "copy")
	stdin, feed := io.Pipe()
	s.Stdin = stdin
	var p *sandbox.Process
	var err error
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread() // without an unlock, the thread ends with the goroutine
		p, err = sandbox.Start(context.Background(), s)
	})
	thread.Wait()
	must(t, err)
	time.Sleep(100 * time.Millisecond)
	must(t, feed.Close())
	must(t, p.Wait())
}

func TestNothingIsLeftBehind(t *testing.T) {
	temp, bound := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	s := spec(t, "write", "/tmp/x", "x")
	s.Binds = []sandbox.Bind{{Source: bound, Target: "/usr/local/go", Writable: true}}
	before := snapshot(t, s.Root, temp, bound)
	must(t, sandbox.Run(context.Background(), s))

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	s.Args = []string{"inmate", "family", "2"}
	if err := sandbox.Run(ctx, s); err == nil {
		t.Error("got no error, want the context's")
	}
	expect(t, "host", snapshot(t, s.Root, temp, bound), before)
}

// snapshot lists the files below dirs, the mounts, the child processes and the
// open descriptors of this process.
func snapshot(t *testing.T, dirs ...string) string {
	t.Helper()
	var b strings.Builder
	for _, dir := range dirs {
		must(t, filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
			fmt.Fprintln(&b, name, d)
			return err
		}))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	b.Write(mounts)
	children, err := filepath.Glob("/proc/self/task/*/children")
	must(t, err)
	for _, name := range children {
		list, _ := os.ReadFile(name) // a thread may have ended
		b.Write(list)
	}
	open, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	fmt.Fprintln(&b, len(open), "descriptors")
	return b.String()
}

func TestTwentyAtOnceAllSucceed(t *testing.T) {
	root := minimalRoot(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			var out bytes.Buffer
			s := sandbox.Spec{Root: root, Args: []string{"inmate", "copy"}, Stdout: &out}
			s.Stdin = strings.NewReader(fmt.Sprint(i))
			if err := sandbox.Run(context.Background(), s); err != nil || out.String() != fmt.Sprint(i) {
				t.Errorf("run %d: got %q, %v", i, out.String(), err)
			}
		})
	}
	all.Wait()
}

// ordinaryUser is nobody's number on Debian. It needs no entry in /etc/passwd.
const ordinaryUser = 65534

func TestAllHoldsForAnOrdinaryUserToo(t *testing.T) {
	if os.Geteuid() != 0 {
		return // the tests around this one are that proof
	}
	dir, temp := publicDir(t, 0), publicDir(t, ordinaryUser)
	for from, name := range map[string]string{"/proc/self/exe": "sandbox.test", inmate: "inmate"} {
		b, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), b, 0o755))
	}
	cmd := exec.Command(filepath.Join(dir, "sandbox.test"), "-test.skip", "^TestTheGoCommand")
	cmd.Dir = temp
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "HOME="+temp, inmateVariable+"="+filepath.Join(dir, "inmate"))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: ordinaryUser, Gid: ordinaryUser},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("as user %d: %v\n%s", ordinaryUser, err, out)
	}
}

func BenchmarkRun(b *testing.B) {
	s := sandbox.Spec{Root: minimalRoot(b), Args: []string{"inmate", "exit", "0"}}
	for b.Loop() {
		must(b, sandbox.Run(context.Background(), s))
	}
}
