package devnet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shell launches a shell that runs a script, has a child then, and runs another script. Once it returns,
// with the child's number too, the first script is done.
func shell(t *testing.T, first, then string) (p *process, child int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "child")
	cmd := exec.Command("/bin/sh", "-c", first+"; sleep 600 & echo $! >"+file+".new && mv "+file+".new "+file+"; "+then)
	p = launch(t, cmd)
	for range 200 {
		if data, err := os.ReadFile(file); err == nil {
			child, err = strconv.Atoi(strings.TrimSpace(string(data)))
			if err != nil {
				t.Fatal(err)
			}
			return p, child
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the shell has started no child")
	return nil, 0
}

// alive says whether a process is there and no zombie that nobody has buried yet.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func TestStoppingAProgramEndsWhatItStarted(t *testing.T) {
	p, child := shell(t, ":", "wait")
	if p.ended() || !alive(child) {
		t.Fatal("the shell does not run")
	}
	p.stop(t)
	for range 100 {
		if !alive(child) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !p.ended() || alive(child) {
		t.Errorf("ended: %v, its child alive: %v", p.ended(), alive(child))
	}
}

func TestAProgramThatWillNotStopIsKilledWithTheTest(t *testing.T) {
	var p *process
	t.Run("the test that launched it", func(t *testing.T) {
		p, _ = shell(t, `trap "" TERM`, "while :; do sleep 1; done")
		if p.end(syscall.SIGTERM, 200*time.Millisecond) {
			t.Error("the shell heeds SIGTERM")
		}
	})
	if !p.ended() || p.err == nil {
		t.Errorf("ended: %v, %v", p.ended(), p.err)
	}
}
