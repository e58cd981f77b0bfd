package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// applicationPath is where ramdisk 1 holds the application.
	applicationPath = "/app/enclave"

	// nobody owns nothing in the enclave.
	nobody = 65534
)

// start starts the application as nobody, without capabilities or the means
// to gain any, in a session of its own, and returns its process.
func start(parent uint32) (int, error) {
	// What prctl sets belongs to this thread, and the child inherits it from
	// the thread that forks. The thread keeps it, and init needs no exec.
	runtime.LockOSThread()
	if err := renouncePrivileges(unix.Prctl); err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer func() { _ = null.Close() }()
	// Not os/exec: its Wait would race with the reaper for the status.
	pid, err := syscall.ForkExec(applicationPath, arguments(parent), attributes(null.Fd()))
	if err != nil {
		return 0, fmt.Errorf("%s: %w", applicationPath, err)
	}
	return pid, nil
}

// arguments returns the application's, its name first.
func arguments(parent uint32) []string {
	return []string{applicationPath, "-parent-cid", strconv.FormatUint(uint64(parent), 10)}
}

// attributes describe the application's process. Its environment is empty: the
// application is configured by what is measured or sealed, and by nothing else.
func attributes(input uintptr) *syscall.ProcAttr {
	return &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []uintptr{input, 1, 2},
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}},
		},
	}
}

// renouncePrivileges sets no_new_privs and empties the bounding set. Changing
// to nobody then drops the capabilities themselves (capabilities(7)).
func renouncePrivileges(prctl func(option int, arg2, arg3, arg4, arg5 uintptr) error) error {
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("PR_SET_NO_NEW_PRIVS", err)
	}
	for capability := uintptr(0); ; capability++ {
		err := prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		// The kernel knows no capability of this number, so none above it.
		if err == unix.EINVAL && capability > unix.CAP_CHECKPOINT_RESTORE {
			return nil
		}
		if err != nil {
			return fmt.Errorf("capability %d: %w", capability, os.NewSyscallError("PR_CAPBSET_DROP", err))
		}
	}
}
