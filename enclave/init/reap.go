package main

import (
	"fmt"
	"os"
	"syscall"
)

// reap waits for every child, its own and the orphans it inherits, until pid
// ends, and returns how it ended. It blocks: a poll would take a CPU.
func reap(pid int) (syscall.WaitStatus, error) {
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, os.NewSyscallError("wait4", err)
		case ended == pid && (status.Exited() || status.Signaled()):
			return status, nil
		}
	}
}

// describe says how a process ended.
func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return fmt.Sprintf("killed by signal %d (%v)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("exited with status %d", status.ExitStatus())
}
