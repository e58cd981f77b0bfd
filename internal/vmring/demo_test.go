package vmring_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"holdfast/internal/testenv"
)

// startDemo starts the demonstration in a session and a temporary directory of its own.
func startDemo(t *testing.T) (cmd *exec.Cmd, out *console, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	out = &console{}
	cmd = exec.Command(filepath.Join(testenv.Need(t, "HOLDFAST_BIN"), "demo"))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out, tmp
}

func TestTheDemonstrationShowsTheWholeJob(t *testing.T) {
	cmd, out, tmp := startDemo(t)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"EIF", "PCR0", "PCR2", "agrees", "EMULATED", "UNSAFE", "validator", "verified with blst", "refused: 412"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out)
		}
	}
	nothingLeft(t, cmd.Process.Pid, tmp)
}

func TestInterruptingTheDemonstrationLeavesNothing(t *testing.T) {
	for _, after := range []string{"", "boot", "heartbeat after"} {
		t.Run(fmt.Sprintf("after %q", after), func(t *testing.T) {
			cmd, out, tmp := startDemo(t)
			deadline := time.Now().Add(time.Minute)
			for !strings.Contains(out.String(), after) && time.Now().Before(deadline) {
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(300 * time.Millisecond)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
				t.Fatalf("got %v, want exit code 1\n%s", err, out)
			}
			if !strings.Contains(out.String(), "interrupted") {
				t.Errorf("the interruption is not said:\n%s", out)
			}
			nothingLeft(t, cmd.Process.Pid, tmp)
		})
	}
}

// nothingLeft checks that no process of a session and no file in its temporary directory remains. The
// kernel may take a moment to bury the last process of a namespace.
func nothingLeft(t *testing.T, session int, tmp string) {
	t.Helper()
	var left []string
	for range 50 {
		if left = processesOf(t, session); len(left) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("processes remain: %q", left)
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) > 0 {
		t.Errorf("files remain: %v", entries)
	}
}

// processesOf returns the names of the processes in a session, from /proc/PID/stat (proc(5)).
func processesOf(t *testing.T, session int) []string {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		name, rest, ok := bytes.Cut(stat, []byte(") "))
		fields := strings.Fields(string(rest))
		if ok && len(fields) > 3 && fields[3] == fmt.Sprint(session) {
			names = append(names, string(name))
		}
	}
	return names
}
