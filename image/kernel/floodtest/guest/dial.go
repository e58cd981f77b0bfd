package main

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/mdlayher/vsock"
	"golang.org/x/sys/unix"
)

// dialPatience is how long the kernel waits for an answer. Its own two seconds are less than a request
// waits on a cable that is held, and one that is given up empties the queue that the test is there to
// fill.
const dialPatience = time.Minute

// dial is vsock.Dial with that patience. It calls asked when the request is with the driver.
func dial(cid, port uint32, asked func()) (net.Conn, error) {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "vsock")
	patience := unix.NsecToTimeval(int64(dialPatience))
	err = unix.SetsockoptTimeval(fd, unix.AF_VSOCK, unix.SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience)
	if err == nil {
		err = connect(f, fd, &unix.SockaddrVM{CID: cid, Port: port}, asked)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return conn{f, &vsock.Addr{ContextID: cid, Port: port}}, nil
}

// connect waits in the runtime's poller, not in a thread.
func connect(f *os.File, fd int, to unix.Sockaddr, asked func()) error {
	err := unix.Connect(fd, to)
	asked()
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = syscall.Errno(code)
		}
		if result = err; err != nil {
			return true
		}
		_, err = unix.Getpeername(int(fd))
		return err == nil
	})
	return errors.Join(err, result)
}

// conn is a file of a connected socket as a net.Conn.
type conn struct {
	*os.File
	remote net.Addr
}

func (c conn) LocalAddr() net.Addr  { return &vsock.Addr{ContextID: anyCID} }
func (c conn) RemoteAddr() net.Addr { return c.remote }
