package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// loopbackUp brings lo up, the only interface an enclave has. The kernel then
// gives it 127.0.0.1.
func loopbackUp() (string, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(socket) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return "", err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return "", os.NewSyscallError("SIOCGIFFLAGS", err)
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request); err != nil {
		return "", os.NewSyscallError("SIOCSIFFLAGS", err)
	}
	return "lo is up", nil
}
