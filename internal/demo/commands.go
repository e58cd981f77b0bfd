package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command is one of the built programs, told to stop as Ctrl-C would, and killed if it does not or if
// the demonstration dies.
func (d *demo) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(d.programs, program), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// runJSON runs a program and reads the JSON object that it prints, also where it exits with an error.
func (d *demo) runJSON(ctx context.Context, into any, program string, args ...string) error {
	var out, errs bytes.Buffer
	cmd := d.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if jsonErr := json.Unmarshal(out.Bytes(), into); jsonErr != nil && err == nil {
		err = jsonErr
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, args[0], err, &errs)
	}
	return nil
}

// What parent says: the URL, alone on a line, once the enclave serves it, and how long the boot took.
var (
	ready  = regexp.MustCompile(`^https://127\.0\.0\.1:[0-9]+$`)
	booted = regexp.MustCompile(`heartbeat after ([0-9.]+m?s)`)
)

// boot starts the emulated machine and waits until it is reached. What it returns ends it.
func (d *demo) boot(ctx context.Context) (end func(), err error) {
	stage := d.progress.Stage("boot")
	console := filepath.Join(d.dir, "console")
	cmd := d.command(ctx, "parent", "emulate", "--eif", d.image, "--listen", "127.0.0.1:0", "--console", console, "-C", filepath.Dir(d.programs))
	var errs lockedBuffer
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	end = func() {
		cmd.Cancel()
		cmd.Wait()
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if m := booted.FindStringSubmatch(errs.String()); m != nil && ready.MatchString(lines.Text()) {
			d.url, d.bootTime = lines.Text(), m[1]
			stage.Done(fmt.Sprintf("heartbeat after %s of emulation, reached at %s", d.bootTime, d.url))
			return end, nil
		}
	}
	end()
	tail, _ := os.ReadFile(console)
	return nil, fmt.Errorf("%s\nthe console's end:\n%s", strings.TrimSpace(errs.String()), lastLines(string(tail), 15))
}

// A lockedBuffer is written by a program while it is read here.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
