package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A console takes one line for each step of the boot.
type console struct {
	out    io.Writer
	uptime func() time.Duration
}

// say writes a line with the time since the kernel started. A console that
// fails has nobody to tell.
func (c console) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	_, _ = fmt.Fprintf(c.out, "[%8.3f] init: %s\n", c.uptime().Seconds(), line)
}

func uptime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// attachConsole makes /dev/console standard input, output and error. The
// kernel does so before it starts init only where the ramdisk has the node.
func attachConsole() (string, error) {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: "/dev/console", Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	for standard := range 3 {
		if err := unix.Dup3(fd, standard, 0); err != nil {
			return "", os.NewSyscallError("dup3", err)
		}
	}
	return "attached", nil
}

// reboot ends the enclave. It lets the console drain first, because the
// kernel does not.
func reboot(log console) {
	log.say("rebooting")
	_ = unix.IoctlSetInt(1, unix.TCSBRK, 1)
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	log.say("reboot: %v", err)
	os.Exit(1) // the kernel panics, and its panic= reboots
}
