package rehearsal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// command is one of the built programs, told to stop as Ctrl-C would, and killed if it does not or if
// the demonstration dies. It runs in the private directory and has no terminal's input.
func (r *Run) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(r.Programs, program), args...)
	cmd.Dir = r.Dir
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd
}

// Output runs a program and returns what it prints, also where it exits with an error.
func (r *Run) Output(ctx context.Context, program string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := r.command(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s", program, args[0], err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// JSON runs a program and reads the JSON that it prints, also where it exits with an error.
func (r *Run) JSON(ctx context.Context, into any, program string, args ...string) error {
	out, err := r.Output(ctx, program, args...)
	if jsonErr := json.Unmarshal([]byte(out), into); jsonErr != nil && err == nil {
		return fmt.Errorf("%s %s: %w", program, args[0], jsonErr)
	}
	return err
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
