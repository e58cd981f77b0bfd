// Package floodtest floods a guest's vsock from both sides at once, to show that the kernel keeps
// carrying packets.
//
// The flood is made of what the unpatched virtio driver cannot survive between two guests: more
// connection requests under way in each direction than the rings have room for, each of which makes
// the receiving driver queue a reply, while bulk data keeps the transmit rings full. See the patch in
// image/kernel/patches.
//
// Serve is the receiving half, Flood the sending one. Program guest, made to be the /init of a
// ramdisk, runs Serve on the guest's vsock and, if the kernel command line names a peer, floods it. So a
// host can flood one guest through vhost-device-vsock, or two guests each other through package
// crossover, which is how a hypervisor joins an enclave to its parent. The first shows that a kernel
// carries a load; only the second can deadlock the unpatched driver, since vhost-device-vsock always
// drains the guest's transmit ring.
package floodtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The vsock ports of a guest under test: one where Serve listens, one where nothing does.
const (
	Port       uint32 = 7000
	ClosedPort uint32 = 7001
)

// A load is the size of a flood, in connections at once.
type load struct {
	bulk   int // that carry data for a while
	storm  int // that are made to carry a few bytes
	closed int // to the port where nobody listens
}

// hostLoad is what vhost-device-vsock bears, which has a descriptor for each connection. peerLoad is
// what stops an unpatched kernel: on each side requests must be waiting that fill the transmit ring
// twice, so that the replies behind them can fill it once, and QEMU's virtio-mmio rings have 1024 buffers.
var (
	hostLoad = load{bulk: 16, storm: 300, closed: 100}
	peerLoad = load{bulk: 16, storm: 1500, closed: 2500}
)

const (
	bulkBytes  = 1 << 20                // each way, several times the default credit of 256 KiB
	bulkPause  = 300 * time.Millisecond // both sides only write
	stormBytes = 64
)

const (
	// dialTimeout bounds one attempt at a dial. The kernel gives up one of its own after 2 s.
	dialTimeout = 5 * time.Second
	// retryPause keeps dials that fail at once from spinning.
	retryPause = 20 * time.Millisecond
	// maxExchange bounds what a client may ask of Serve, in bytes.
	maxExchange = 64 << 20
)

// A Dial connects to a port of the guest.
type Dial = func(ctx context.Context, port uint32) (net.Conn, error)

// Flood floods a guest that runs Serve, from the host, until all of the flood has passed through whole,
// or ctx is done. A dial to Port that fails is repeated, since a storm may overrun the listener's queue
// or the kernel's two seconds; that a guest is deadlocked shows in that nothing passes at all. So ctx
// must have a deadline: a minute is plenty, even for an emulated guest.
func Flood(ctx context.Context, dial Dial) error { return hostLoad.flood(ctx, dial) }

// FloodPeer is Flood from one guest to another, with PeerDials dials at once.
func FloodPeer(ctx context.Context, dial Dial) error { return peerLoad.flood(ctx, dial) }

// PeerDials is how many dials FloodPeer has under way before the first of them is answered.
func PeerDials() int { return peerLoad.bulk + peerLoad.storm + peerLoad.closed }

func (l load) flood(ctx context.Context, dial Dial) error {
	if _, ok := ctx.Deadline(); !ok {
		return errors.New("flood without a deadline")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, l.bulk+l.storm+l.closed)
	start := func(n int, f func() error) {
		for range n {
			wg.Go(func() {
				if err := f(); err != nil {
					errs <- err
					cancel()
				}
			})
		}
	}
	start(l.bulk, func() error { return pass(ctx, dial, bulkBytes, bulkPause) })
	start(l.closed, func() error { return refused(ctx, dial) })
	start(l.storm, func() error { return pass(ctx, dial, stormBytes, 0) })
	wg.Wait()
	close(errs)
	return <-errs // the first; the others follow from the cancellation
}

// pass exchanges n bytes each way on a connection of its own.
func pass(ctx context.Context, dial Dial, n uint32, pause time.Duration) error {
	for attempt := 1; ; attempt++ {
		err := attemptPass(ctx, dial, n, pause)
		if err == nil {
			return nil
		}
		if corrupt := (*CorruptError)(nil); errors.As(err, &corrupt) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d bytes did not pass in %d attempts: %w (last: %v)", n, attempt, ctx.Err(), err)
		}
		time.Sleep(retryPause)
	}
}

func attemptPass(ctx context.Context, dial Dial, n uint32, pause time.Duration) error {
	conn, err := dialOnce(ctx, dial, Port)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var request [8]byte
	binary.BigEndian.PutUint32(request[:4], n)
	binary.BigEndian.PutUint32(request[4:], uint32(pause/time.Millisecond))
	if _, err := conn.Write(request[:]); err != nil {
		return err
	}
	return exchange(conn, n, pause)
}

// refused dials the port where nobody listens; only being accepted is wrong.
func refused(ctx context.Context, dial Dial) error {
	conn, err := dialOnce(ctx, dial, ClosedPort)
	if err != nil {
		return nil
	}
	defer conn.Close()
	// Some devices accept a connection before the guest has answered, and close it afterwards.
	conn.SetReadDeadline(time.Now().Add(dialTimeout))
	if n, _ := conn.Read(make([]byte, 1)); n > 0 {
		return fmt.Errorf("port %d answered, though nobody listens there", ClosedPort)
	}
	return nil
}

func dialOnce(ctx context.Context, dial Dial, port uint32) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return dial(ctx, port)
}

// Serve answers connections until the listener fails, as it does when it is closed.
func Serve(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go answer(conn)
	}
}

// answer serves one connection. What goes wrong shows on the other side.
func answer(conn net.Conn) {
	defer conn.Close()
	var request [8]byte
	if _, err := io.ReadFull(conn, request[:]); err != nil {
		return
	}
	n := binary.BigEndian.Uint32(request[:4])
	pause := time.Duration(binary.BigEndian.Uint32(request[4:])) * time.Millisecond
	if n > maxExchange || pause > time.Minute {
		return
	}
	if exchange(conn, n, pause) == nil {
		// The client closes first, so that it has read everything.
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		conn.Read(request[:1])
	}
}

// exchange writes n bytes while it reads n bytes, but reads nothing in the pause, so that the writers
// of both sides use up the credit and fill the rings.
func exchange(conn net.Conn, n uint32, pause time.Duration) error {
	written := make(chan error, 1)
	go func() {
		_, err := io.Copy(conn, &stream{left: n})
		written <- err
	}()
	time.Sleep(pause)
	err := verify(conn, n)
	if err != nil {
		conn.Close() // ends the writer
	}
	return errors.Join(err, <-written)
}

// A CorruptError says that a byte arrived other than it was sent: packets were lost, doubled or mixed.
type CorruptError struct {
	Offset    uint32
	Got, Want byte
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("byte %d is %#02x, want %#02x", e.Offset, e.Got, e.Want)
}

func verify(r io.Reader, n uint32) error {
	buf := make([]byte, chunk)
	for at := uint32(0); at < n; {
		got, err := r.Read(buf[:min(n-at, chunk)])
		if want := pattern(at); !bytes.Equal(buf[:got], want[:got]) {
			return corruption(at, buf[:got], want)
		}
		if at += uint32(got); err != nil && at < n {
			return fmt.Errorf("got %d of %d bytes: %w", at, n, err)
		}
	}
	return nil
}

// corruption names the first byte of got that differs from want; there is one.
func corruption(at uint32, got, want []byte) error {
	for i, g := range got {
		if g != want[i] {
			return &CorruptError{at + uint32(i), g, want[i]}
		}
	}
	return nil
}

// stream reads as the pattern's first bytes.
type stream struct{ at, left uint32 }

func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), int(s.left))], pattern(s.at))
	s.at, s.left = s.at+uint32(n), s.left-uint32(n)
	return n, nil
}

// The pattern repeats after a number of bytes that is prime, so that a packet lost, doubled or out of
// order shows. It is laid out once, because making it byte by byte is slow in an emulated guest.
const (
	period = 251
	chunk  = 32 << 10
)

var pattern = func() func(at uint32) []byte {
	table := make([]byte, period+chunk)
	for i := range table {
		table[i] = byte(i % period)
	}
	return func(at uint32) []byte { return table[at%period:][:chunk] }
}()
