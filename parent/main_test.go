package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast/image/sandbox"
	"holdfast/parent/emulator/emulatortest"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	testscript.Main(m, map[string]func(){"parent": main})
}

func TestTheCommandLine(t *testing.T) {
	eif := filepath.Join(t.TempDir(), "x.eif")
	if err := os.WriteFile(eif, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		"nothing":         {nil, exitUsage, "", "usage: parent COMMAND"},
		"help":            {[]string{"help"}, exitDone, "usage: parent COMMAND", ""},
		"unknown command": {[]string{"launch"}, exitUsage, "", `unknown command "launch"`},
		"emulate's help":  {[]string{"emulate", "-h"}, exitDone, "127.0.0.1:9000", ""},
		"unknown flag":    {[]string{"emulate", "-debug"}, exitUsage, "", "-debug (hint: parent emulate -h)"},
		"an argument":     {[]string{"emulate", "x.eif"}, exitUsage, "", `got argument "x.eif", want flags only`},
		"half an override": {[]string{"emulate", "-qemu", "/x"}, exitUsage, "",
			"-qemu and -root go together"},
		"all addresses":   {[]string{"emulate", "-listen", ":9000"}, exitUsage, "", `got host "", want a loopback address`},
		"a network's":     {[]string{"emulate", "-listen", "192.0.2.1:9000"}, exitUsage, "", "want a loopback address"},
		"no port":         {[]string{"emulate", "-listen", "127.0.0.1"}, exitUsage, "", "missing port"},
		"absent image":    {[]string{"emulate", "-listen", "127.0.0.1:0", "-eif", "/absent", "-qemu", "/", "-root", "/"}, exitFailed, "", "enclave image: stat /absent"},
		"no memory":       {[]string{"emulate", "-listen", "127.0.0.1:0", "-eif", eif, "-qemu", "/", "-root", "/", "-memory", "1"}, exitFailed, "", "memory: got 1 MiB"},
		"no checkout":     {[]string{"emulate", "-listen", "127.0.0.1:0", "-C", "/"}, exitFailed, "", "is in no Holdfast checkout"},
		"metrics for all": {[]string{"emulate", "-metrics", ":9001"}, exitUsage, "", `-metrics: got host ""`},
		"credentials":     {[]string{"emulate", "-credentials", "AKIA"}, exitUsage, "", "want imds, env or none"},
		"KMS's address":   {[]string{"emulate", "-kms", "kms.test"}, exitUsage, "", `-kms: got "kms.test", want HOST:PORT`},
		"a short poll":    {[]string{"emulate", "-poll", "1ms"}, exitUsage, "", "want at least 1s"},
		"a region alone":  {[]string{"emulate", "-region", "eu-central-1"}, exitUsage, "", "go with an s3:// -bundle"},
		"a bad source": {[]string{"emulate", "-listen", "127.0.0.1:0", "-eif", eif, "-qemu", "/", "-root", "/", "-bundle", "https://x/y"},
			exitFailed, "", "unknown scheme"},
		"console's path": {[]string{"emulate", "-listen", "127.0.0.1:0", "-console", "/absent/console"}, exitFailed, "", "/absent/console"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), c.args, &stdout, &stderr); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !strings.Contains(stdout.String(), c.stdout) || c.stdout == "" && stdout.Len() > 0 {
				t.Errorf("stdout %q, want %q", &stdout, c.stdout)
			}
			if !strings.Contains(stderr.String(), c.stderr) || c.stderr == "" && stderr.Len() > 0 {
				t.Errorf("stderr %q, want %q", &stderr, c.stderr)
			}
		})
	}
}

func TestAPortInUseFailsBeforeAnythingStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"emulate", "-listen", l.Addr().String()}, &stdout, &stderr); code != exitFailed {
		t.Errorf("exit code %d, want %d", code, exitFailed)
	}
	if !strings.Contains(stderr.String(), "address already in use") {
		t.Errorf("stderr %q, want the reason", &stderr)
	}
}

func TestAnInterruptionIsASuccess(t *testing.T) {
	signal := errors.New("interrupt signal received")
	ctx, cancel := context.WithCancelCause(t.Context())
	if code := report(ctx, signal, io.Discard); code != exitFailed {
		t.Errorf("before the interruption: exit code %d, want %d", code, exitFailed)
	}
	cancel(signal)
	if code := report(ctx, signal, io.Discard); code != exitDone {
		t.Errorf("interrupted: exit code %d, want %d", code, exitDone)
	}
	if code := report(ctx, errors.New("disk full"), io.Discard); code != exitFailed {
		t.Errorf("another failure: exit code %d, want %d", code, exitFailed)
	}
}

func TestReadinessIsAwaitedWithinBounds(t *testing.T) {
	broken := errors.New("the machine ended")
	for name, c := range map[string]struct {
		refusals int
		then     error
		want     error
		longest  time.Duration
	}{
		"at once":   {0, nil, nil, 0},
		"in a bit":  {10, nil, nil, time.Second},
		"broken":    {3, broken, broken, time.Second},
		"never":     {1 << 30, nil, errNotServing, readyTimeout},
		"says both": {1 << 30, nil, syscall.ECONNREFUSED, readyTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin, left := time.Now(), c.refusals
				err := waitReady(t.Context(), func(context.Context) (net.Conn, error) {
					if left--; left >= 0 {
						return nil, syscall.ECONNREFUSED
					}
					near, _ := net.Pipe()
					return near, c.then
				})
				if took := time.Since(begin); !errors.Is(err, c.want) || took > c.longest {
					t.Errorf("%v after %v, want %v within %v", err, took, c.want, c.longest)
				}
			})
		})
	}
}

// TestEmulateServesTheEnclave is the command as a person runs it: boot, URL, HTTPS, interruption.
func TestEmulateServesTheEnclave(t *testing.T) {
	m := emulatortest.Machine(t, emulatortest.EIFVariable)
	tmp, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	console := filepath.Join(t.TempDir(), "console")
	sockets, err := os.MkdirTemp("", "hf") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	socket := filepath.Join(sockets, "control")
	t.Setenv("TMPDIR", tmp)

	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	r, w := io.Pipe()
	var stderr bytes.Buffer
	var done sync.WaitGroup
	code := -1
	done.Go(func() {
		defer w.Close()
		code = run(ctx, []string{"emulate", "-eif", m.EIF, "-qemu", m.QEMU, "-root", m.Root,
			"-listen", "127.0.0.1:0", "-console", console, "-control", socket, "-journal", t.TempDir(), "-q"}, w, &stderr)
	})
	line := make([]byte, 200)
	n, _ := r.Read(line)
	url := strings.TrimSpace(string(line[:n]))
	if !strings.HasPrefix(url, "https://127.0.0.1:") {
		done.Wait()
		t.Fatalf("printed %q, want the URL; exit code %d, stderr:\n%s", url, code, &stderr)
	}
	checkUp(t, url)
	checkWaits(t, socket)
	interrupt()
	done.Wait()
	if code != exitDone {
		t.Errorf("exit code %d, want %d; stderr:\n%s", code, exitDone, &stderr)
	}
	if log, err := os.ReadFile(console); err != nil || len(log) == 0 {
		t.Errorf("console file has %d bytes, %v; want what the enclave printed", len(log), err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket is left: %v", err)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// checkWaits asks an enclave without a bundle how it is.
func checkWaits(t *testing.T, socket string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"status", "-control", socket}, &stdout, &stderr); code != exitIdle {
		t.Errorf("status: exit code %d, want %d; %s", code, exitIdle, &stderr)
	}
	if !strings.Contains(stdout.String(), "waiting for a bundle") {
		t.Errorf("status: %q, want it to wait for a bundle", &stdout)
	}
}

func checkUp(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{
		Timeout: time.Minute,
		// Whom it talks to is the attestation's matter.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get(url + "/upcheck")
	if err != nil {
		t.Errorf("upcheck: %v", err)
		return
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(body) != "OK" {
		t.Errorf("upcheck = %s %q, %v; want 200 OK", resp.Status, body, err)
	}
}
