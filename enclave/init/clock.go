package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// earliest is a time before this program was written. A hardware clock that
// says less is not set.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// setClock sets the system's clock from the hypervisor's, a PTP hardware clock
// (PTP_KVM), and leaves it alone where there is none. What is signed never
// rests on this clock alone: see the module's timestamp.
func setClock(device string, set func(time.Time) error) (string, error) {
	file, err := os.Open(device)
	if errors.Is(err, fs.ErrNotExist) {
		return "left alone, there is no " + device, nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }()
	// clock_gettime on a clock made of a descriptor is PTP_CLOCK_GETTIME.
	var now unix.Timespec
	if err := unix.ClockGettime(unix.FdToClockID(int(file.Fd())), &now); err != nil {
		return "", fmt.Errorf("%s: %w", device, os.NewSyscallError("clock_gettime", err))
	}
	return applyClock(time.Unix(now.Unix()).UTC(), set)
}

func applyClock(now time.Time, set func(time.Time) error) (string, error) {
	if now.Before(earliest) {
		return "", fmt.Errorf("got %v from the hypervisor, want at least %v", now, earliest)
	}
	return "set to " + now.Format(time.RFC3339Nano), set(now)
}

func setRealtime(now time.Time) error {
	spec := unix.NsecToTimespec(now.UnixNano())
	return os.NewSyscallError("clock_settime", unix.ClockSettime(unix.CLOCK_REALTIME, &spec))
}
