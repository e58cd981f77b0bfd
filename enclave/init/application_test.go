package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary runs itself in these roles, because a reaper waits for every
// child of its process and would take those of other tests.
const roleVariable = "HOLDFAST_INIT_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role := os.Getenv(roleVariable); role {
	case "":
		if slices.Contains(os.Args[1:], "status") {
			printStatus()
			return
		}
		os.Exit(m.Run())
	case "middle":
		// Starts the orphan, names it, and leaves it behind.
		fmt.Println(spawn("orphan", os.Stderr))
	case "orphan":
		time.Sleep(50 * time.Millisecond)
	case "application":
		waitForOrphan()
		os.Exit(7)
	case "killed":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	default:
		reapRole(role)
	}
}

// spawn starts this binary in a role.
func spawn(role string, output *os.File) int {
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"test"}, &syscall.ProcAttr{
		Env:   []string{roleVariable + "=" + role},
		Files: []uintptr{0, output.Fd(), 2},
	})
	if err != nil {
		panic(err)
	}
	return pid
}

// waitForOrphan ends when a process that became the reaper's has been reaped:
// a zombie would still take a signal.
func waitForOrphan() {
	read, write, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	spawn("middle", write)
	_ = write.Close()
	var orphan int
	if _, err := fmt.Fscan(read, &orphan); err != nil {
		panic(err)
	}
	// The middle is this process's own child; once it is gone the orphan has
	// passed to the reaper.
	if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil {
		panic(err)
	}
	for range 1000 {
		if syscall.Kill(orphan, 0) == syscall.ESRCH {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	panic("the orphan was not reaped")
}

// reapRole reaps as init does until the application, in the role after the
// dash, ends. A subreaper inherits orphans as process 1 does.
func reapRole(role string) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	status, err := reap(spawn(strings.TrimPrefix(role, "reap-"), os.Stderr))
	fmt.Println(describe(status), err)
}

func TestTheReaperInheritsOrphansAndReturnsTheApplicationsEnd(t *testing.T) {
	for role, want := range map[string]string{
		"application": "exited with status 7 <nil>\n",
		"killed":      "killed by signal 9 (killed) <nil>\n",
	} {
		t.Run(role, func(t *testing.T) {
			command := exec.Command("/proc/self/exe")
			command.Env = []string{roleVariable + "=reap-" + role}
			command.Stderr = os.Stderr
			got, err := command.Output()
			if err != nil || string(got) != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
		})
	}
}

func TestTheApplicationIsToldItsParentAndNothingElse(t *testing.T) {
	want := []string{"/app/enclave", "-parent-cid", "4294967295"}
	if got := arguments(4294967295); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got := attributes(9)
	if got.Env == nil || len(got.Env) != 0 || got.Dir != "/" || !slices.Equal(got.Files, []uintptr{9, 1, 2}) {
		t.Errorf("got environment %q, directory %q, files %v", got.Env, got.Dir, got.Files)
	}
	credential := got.Sys.Credential
	if !got.Sys.Setsid || credential.Uid != 65534 || credential.Gid != 65534 || credential.NoSetGroups || len(credential.Groups) != 0 {
		t.Errorf("got %+v with %+v", got.Sys, credential)
	}
	if len(got.Sys.AmbientCaps) != 0 {
		t.Errorf("got ambient capabilities %v", got.Sys.AmbientCaps)
	}
}

func TestEveryCapabilityLeavesTheBoundingSet(t *testing.T) {
	var dropped []uintptr
	noNewPrivileges := false
	err := renouncePrivileges(func(option int, arg2, _, _, _ uintptr) error {
		switch {
		case option == unix.PR_SET_NO_NEW_PRIVS && arg2 == 1:
			noNewPrivileges = true
		case option == unix.PR_CAPBSET_DROP && arg2 <= unix.CAP_CHECKPOINT_RESTORE+2: // a newer kernel
			dropped = append(dropped, arg2)
		default:
			return unix.EINVAL
		}
		return nil
	})
	if err != nil || !noNewPrivileges || len(dropped) != unix.CAP_CHECKPOINT_RESTORE+3 {
		t.Errorf("got %v, no new privileges %t, dropped %v", err, noNewPrivileges, dropped)
	}
}

func TestPrivilegesThatCannotBeRenouncedStopTheBoot(t *testing.T) {
	for _, failing := range []int{unix.PR_SET_NO_NEW_PRIVS, unix.PR_CAPBSET_DROP} {
		err := renouncePrivileges(func(option int, _, _, _, _ uintptr) error {
			if option == failing {
				return unix.EPERM
			}
			return nil
		})
		if !errors.Is(err, unix.EPERM) {
			t.Errorf("option %d: got %v, want %v", failing, err, unix.EPERM)
		}
	}
	// A kernel without the capabilities of this one would end the loop early.
	err := renouncePrivileges(func(option int, _, _, _, _ uintptr) error {
		if option == unix.PR_CAPBSET_DROP {
			return unix.EINVAL
		}
		return nil
	})
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("got %v, want %v", err, unix.EINVAL)
	}
}

// printStatus is the application of the test below.
func printStatus() {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	fmt.Printf("%senviron:\t%q\nsession:\t%t\n", status, os.Environ(), session() == os.Getpid())
}

func session() int {
	id, _ := unix.Getsid(0)
	return id
}

func TestTheApplicationRunsWithoutPrivilege(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, as init has: run the test as root, or see the test that boots the image")
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	pids := make(chan int)
	go func() {
		// The goroutine ends with its thread, and with what it renounced.
		runtime.LockOSThread()
		if err := renouncePrivileges(unix.Prctl); err != nil {
			t.Error(err)
		}
		attr := attributes(0)
		attr.Files[1] = write.Fd()
		pid, err := syscall.ForkExec("/proc/self/exe", []string{"test", "status"}, attr)
		if err != nil {
			t.Error(err)
		}
		pids <- pid
	}()
	pid := <-pids
	_ = write.Close()
	status, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
		t.Error(err)
	}
	nobody := strings.Repeat("\t"+strconv.Itoa(nobody), 4)
	const none = "\t0000000000000000"
	for _, want := range []string{
		"Uid:" + nobody, "Gid:" + nobody, "Groups:\t \n", "NoNewPrivs:\t1",
		"CapInh:" + none, "CapPrm:" + none, "CapEff:" + none, "CapBnd:" + none, "CapAmb:" + none,
		"environ:\t[]", "session:\ttrue",
	} {
		if !bytes.Contains(status, []byte("\n"+want)) {
			t.Errorf("got no line %q in:\n%s", want, status)
		}
	}
}
