package vmring_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/image/cache"
	"holdfast/internal/testenv"
)

// startDemo starts a demonstration in a temporary directory of its own.
func startDemo(t *testing.T, program string) (cmd *exec.Cmd, out *console, tmp string) {
	t.Helper()
	tmp = t.TempDir()
	out = &console{}
	cmd = exec.Command(filepath.Join(testenv.Need(t, "HOLDFAST_BIN"), program))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, out, tmp
}

func TestTheDemonstrationShowsTheWholeJob(t *testing.T) {
	shows(t, "demo", "EIF", "PCR0", "PCR2", "agrees", "EMULATED", "UNSAFE", "validator", "verified with blst", "refused: 412", "state     serving")
}

// It exits with 0 only if every answer was as the demonstration demands.
func TestARolledBackJournalAndASecondEnclaveGetNothingSlashableSigned(t *testing.T) {
	shows(t, "rollback-demo", "target_at_restart_floor", "block_at_restart_floor", "source_below_restart_floor",
		"an honest new vote", "double_vote", "source_below_watermark", "double_block", "18 with one signature and one refusal")
}

// shows runs a demonstration, which must succeed, say all this, and leave nothing.
func shows(t *testing.T, program string, wants ...string) {
	cmd, out, tmp := startDemo(t, program)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range wants {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not say %q:\n%s", want, out)
		}
	}
	nothingLeft(t, tmp)
}

func TestInterruptingADemonstrationLeavesNothing(t *testing.T) {
	for _, c := range []struct{ program, after string }{
		{"demo", ""}, {"demo", "keys "}, {"demo", "heartbeat after"},
		{"rollback-demo", "keys sealed"}, {"rollback-demo", "DynamoDB Local, and a bundle"},
	} {
		t.Run(fmt.Sprintf("%s after %q", c.program, c.after), func(t *testing.T) {
			cmd, out, tmp := startDemo(t, c.program)
			deadline := time.Now().Add(2 * time.Minute)
			for !strings.Contains(out.String(), c.after) && time.Now().Before(deadline) {
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
			nothingLeft(t, tmp)
		})
	}
}

func TestTwoDemonstrationsAtOnceDoNotDisturbEachOther(t *testing.T) {
	first, out1, _ := startDemo(t, "demo")
	second, out2, _ := startDemo(t, "demo")
	for _, run := range []struct {
		cmd *exec.Cmd
		out *console
	}{{first, out1}, {second, out2}} {
		if err := run.cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, run.out)
		}
	}
}

func TestInterruptingABuildLeavesNothing(t *testing.T) {
	for _, after := range []string{"unpack", "toolchain: ", "fetch      kernel"} {
		t.Run("after "+after, func(t *testing.T) { interruptBuild(t, after) })
	}
}

// interruptBuild starts a build in an empty cache that only has the downloads, and interrupts it a moment
// after it has said something.
func interruptBuild(t *testing.T, after string) {
	store, tmp := t.TempDir(), t.TempDir()
	linkDownloads(t, store)
	out := &console{}
	bin := testenv.Need(t, "HOLDFAST_BIN")
	cmd := exec.Command(filepath.Join(bin, "image"), "build", "-C", filepath.Dir(bin), "-o", filepath.Join(tmp, "out.eif"))
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "HOLDFAST_CACHE="+store)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(2 * time.Minute)
	for !strings.Contains(out.String(), after) && time.Now().Before(deadline) && cmd.ProcessState == nil {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatalf("the interrupted build succeeded\n%s", out)
	}
	nothingLeft(t, tmp)
	half, err := filepath.Glob(filepath.Join(store, "tmp", "*"))
	if err != nil || len(half) > 0 {
		t.Errorf("the cache keeps %v, %v\n%s", half, err, out)
	}
}

// linkDownloads gives an empty cache what was downloaded, so that the test needs no network.
func linkDownloads(t *testing.T, store string) {
	t.Helper()
	shared, err := cache.Open("")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(shared.Dir(), "objects"), filepath.Join(store, "objects")); err != nil {
		t.Fatal(err)
	}
}

// nothingLeft checks that no process of a command that has ended and no file in its temporary directory
// remains. The kernel may take a moment to bury the last process of a namespace.
func nothingLeft(t *testing.T, tmp string) {
	t.Helper()
	var left []string
	for range 50 {
		if left = children(t); len(left) == 0 {
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

// children names the living children of this process, from /proc/PID/stat (proc(5)).
func children(t *testing.T) []string {
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
		if ok && len(fields) > 1 && fields[1] == fmt.Sprint(os.Getpid()) && fields[0] != "Z" {
			names = append(names, string(name))
		}
	}
	return names
}
