package main

import (
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pollPeriod is how often a wait for a socket looks at its context.
const pollPeriod = 20 * time.Millisecond

// exchangeVsock is an [exchange] over AF_VSOCK.
func exchangeVsock(ctx context.Context, cid, port uint32, message byte) (byte, error) {
	return exchangeByte(ctx, unix.AF_VSOCK, &unix.SockaddrVM{CID: cid, Port: port}, message)
}

// exchangeByte connects to an address of the family, sends message and returns
// the byte that comes back. The socket does not block, because a connect to a
// context that is not there would for two seconds.
func exchangeByte(ctx context.Context, family int, to unix.Sockaddr, message byte) (byte, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := connect(ctx, fd, to); err != nil {
		return 0, err
	}
	buffer := []byte{message}
	if _, err := unix.Write(fd, buffer); err != nil {
		return 0, os.NewSyscallError("write", err)
	}
	if err := wait(ctx, fd, unix.POLLIN); err != nil {
		return 0, err
	}
	switch n, err := unix.Read(fd, buffer); {
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0:
		return 0, io.ErrUnexpectedEOF
	}
	return buffer[0], nil
}

func connect(ctx context.Context, fd int, to unix.Sockaddr) error {
	err := unix.Connect(fd, to)
	for err == unix.EINPROGRESS || err == unix.ENOTCONN {
		if err := wait(ctx, fd, unix.POLLOUT); err != nil {
			return err
		}
		// A socket may be writable before it is connected.
		code, failure := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case failure != nil:
			err = failure
		case code != 0:
			err = unix.Errno(code)
		default:
			_, err = unix.Getpeername(fd)
		}
	}
	return os.NewSyscallError("connect", err)
}

// wait returns when one of the events, an error or a hang-up is there, or with
// ctx.
func wait(ctx context.Context, fd int, events int16) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: events}}, int(pollPeriod.Milliseconds()))
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("poll", err)
		}
		if n > 0 {
			return nil
		}
	}
}
