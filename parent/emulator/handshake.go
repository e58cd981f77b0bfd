package emulator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// vhost-device-vsock's handshake is Firecracker's hybrid vsock: the host connects to the Unix socket
// and writes "CONNECT <port>\n"; once the guest has accepted, it reads "OK <port>\n" and the
// connection is the guest's. A guest that refuses shows as the end of the connection.

// maxReply is the length of the longest reply, "OK 4294967295\n".
const maxReply = 14

// errBadReply says that what answered does not speak the protocol.
var errBadReply = errors.New("malformed reply to CONNECT")

// handshake asks for the guest's port on a fresh connection. It reads no byte beyond the reply.
func handshake(conn io.ReadWriter, port uint32) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %d\n", port); err != nil {
		return err
	}
	reply, err := readReply(conn)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("OK %d\n", port); reply != want {
		return fmt.Errorf("%w: got %q, want %q", errBadReply, reply, want)
	}
	return nil
}

// readReply reads up to and including the first newline. It reads byte by byte, as what follows
// the newline is the guest's.
func readReply(r io.Reader) (string, error) {
	var reply strings.Builder
	var b [1]byte
	for {
		_, err := io.ReadFull(r, b[:])
		switch {
		case errors.Is(err, io.EOF) && reply.Len() == 0:
			return "", syscall.ECONNREFUSED
		case err != nil:
			return "", err
		}
		reply.WriteByte(b[0])
		if b[0] == '\n' {
			return reply.String(), nil
		}
		if reply.Len() == maxReply {
			return "", fmt.Errorf("%w: got %q and no newline", errBadReply, reply.String())
		}
	}
}

// lingerTime bounds how long an abandoned handshake is kept open.
const lingerTime = 30 * time.Second

// connect connects to the socket and shakes hands until ctx ends.
//
// vhost-device-vsock 0.3.0 crashes when it has to write the reply to a connection that is closed
// (VsockConnection::send_pkt unwraps the write), and spins on one that closes before it has read the
// request. So a handshake that is given up stays open in the background until it ends by itself.
func connect(ctx context.Context, path string, port uint32) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(lingerTime)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	result := make(chan error, 1)
	go func() { result <- handshake(conn, port) }()
	select {
	case err := <-result:
		if err == nil {
			err = conn.SetDeadline(time.Time{})
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	case <-ctx.Done():
		go func() { <-result; conn.Close() }()
		return nil, context.Cause(ctx)
	}
}
