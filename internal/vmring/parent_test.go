package vmring_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/testenv"
	"holdfast/parent/emulator/emulatortest"
)

// An operation is a parent instance: a folder with what outlives the programs on it, and how 'parent emulate'
// is started there.
type operation struct {
	dir     string   // holds the journal, the control socket and the console
	tmp     string   // where programs have their temporary files
	flags   []string // beside those that every operation has
	environ []string // beside this process's
	out     *console // what all starts of the program printed on standard error
}

// newOperation makes a parent instance with an empty journal.
func newOperation(t *testing.T) *operation {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	o := &operation{dir: dir, tmp: filepath.Join(dir, "tmp"), out: &console{}}
	for _, name := range []string{o.tmp, o.journal()} {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			printed, _ := os.ReadFile(o.console())
			t.Logf("parent:\n%s\nconsole:\n%s", o.out, printed)
		}
	})
	return o
}

func (o *operation) journal() string { return filepath.Join(o.dir, "journal") }
func (o *operation) socket() string  { return filepath.Join(o.dir, "control") }
func (o *operation) console() string { return filepath.Join(o.dir, "console.txt") }

// A running is one start of 'parent emulate'.
type running struct {
	cmd   *exec.Cmd
	url   string
	ended chan error
}

// start runs 'parent emulate' until the enclave serves HTTPS. The program ends with the test.
func (o *operation) start(t *testing.T) *running {
	t.Helper()
	args := append([]string{
		"emulate", "-q", "-listen", "127.0.0.1:0", "-memory", "256", "-poll", "1s",
		"-eif", testenv.Need(t, "HOLDFAST_EIF"), "-qemu", testenv.Need(t, emulatortest.QEMUVariable), "-root", testenv.Need(t, emulatortest.RootVariable),
		"-console", o.console(), "-journal", o.journal(), "-control", o.socket(),
	}, o.flags...)
	r := &running{cmd: exec.Command(filepath.Join(testenv.Need(t, "HOLDFAST_BIN"), "parent"), args...), ended: make(chan error, 1)}
	r.cmd.Env = append(append(os.Environ(), "TMPDIR="+o.tmp), o.environ...)
	r.cmd.Stderr = o.out
	stdout, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		said <- strings.TrimSpace(line)
		io.Copy(io.Discard, stdout)
		r.ended <- r.cmd.Wait()
	}()
	t.Cleanup(func() { r.kill() })
	select {
	case r.url = <-said:
	case <-time.After(2 * time.Minute):
	}
	if !strings.HasPrefix(r.url, "https://") {
		t.Fatalf("the enclave does not serve: parent printed %q", r.url)
	}
	return r
}

// kill ends the program by SIGKILL, if it runs, and waits.
func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	<-r.ended
	r.ended <- nil
}

// stop interrupts the program and waits for its exit code.
func (r *running) stop(t *testing.T) int {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	return r.wait(t)
}

// wait waits until the program has ended by itself, for its exit code.
func (r *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-r.ended:
		r.ended <- nil
	case <-time.After(time.Minute):
		t.Fatal("the parent does not end")
	}
	return r.cmd.ProcessState.ExitCode()
}

// status is what 'parent status' prints, and its exit code.
func (o *operation) status(t *testing.T) (string, int) {
	t.Helper()
	stdout, stderr, code := program(t, "parent", "status", "-control", o.socket())
	return stdout + stderr, code
}

// await asks 'parent status' until it prints something, and returns all that it then prints.
func (o *operation) await(t *testing.T, want string) (string, int) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		printed, code := o.status(t)
		if strings.Contains(printed, want) {
			return printed, code
		}
		if time.Now().After(deadline) {
			t.Fatalf("parent status prints, without %q:\n%s", want, printed)
		}
	}
}

// A process is a living one below this.
type process struct {
	pid, parent int
	name        string
}

// descendants are all processes below this one, from /proc/PID/stat (proc(5)).
func descendants() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	all := map[int]process{}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		begin, end := bytes.IndexByte(stat, '('), bytes.LastIndex(stat, []byte(") "))
		if begin < 0 || end < begin {
			continue
		}
		p := process{name: string(stat[begin+1 : end])}
		p.pid, _ = strconv.Atoi(strings.TrimSpace(string(stat[:begin])))
		fields := strings.Fields(string(stat[end+2:]))
		if len(fields) < 2 || fields[0] == "Z" {
			continue
		}
		p.parent, _ = strconv.Atoi(fields[1])
		all[p.pid] = p
	}
	var below []process
	for _, p := range all {
		for at, ok := p, true; ok; at, ok = all[at.parent] {
			if at.parent == os.Getpid() {
				below = append(below, p)
				break
			}
		}
	}
	return below
}

// machines are the processes of emulators below this one.
func machines() (pids []int) {
	for _, p := range descendants() {
		if strings.HasPrefix(p.name, "qemu-system") {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// killMachine ends the one emulator by SIGKILL.
func killMachine(t *testing.T) {
	t.Helper()
	pids := machines()
	if len(pids) != 1 {
		t.Fatalf("got emulators %v, want one", pids)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// nothingRuns waits until no emulator runs.
func nothingRuns(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(machines()) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("emulators remain: %v", machines())
		}
	}
}

// A client asks one enclave, over connections that it keeps. It judges nothing: other tests do.
type client struct {
	url  string
	http http.Client
}

func newClient(t *testing.T, url string) *client {
	c := &client{url: url, http: http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 16,
	}}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// call returns an error where there was no whole answer.
func (c *client) call(method, path, body string) (int, string, error) {
	r, err := http.NewRequest(method, c.url+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Accept", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, string(text), err
}

// want wants an answer.
func (c *client) want(t *testing.T, status int, inBody, method, path, body string) {
	t.Helper()
	got, text, err := c.call(method, path, body)
	if err != nil || got != status || !strings.Contains(text, inBody) {
		t.Errorf("%s %.60s: got %d %s, %v; want %d and %q", method, path, got, text, err, status, inBody)
	}
}

func signPath(key testKey) string { return fmt.Sprintf("/api/v1/eth2/sign/%s", key.public) }
