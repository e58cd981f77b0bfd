package crossover_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"holdfast/image/kernel/floodtest/crossover"
)

// The fake guest's memory, from the guest's address guestBase on: per ring a page each of descriptors,
// available and used entries, then the buffers.
const (
	guestBase  = 0x100000
	userBase   = 0x7f0000000000
	memorySize = 1 << 20
	ringSize   = 8
	rxBuffer   = 200 // header included
	headerSize = 44
)

const (
	rx = 0
	tx = 1
)

func descAt(ring int) int       { return ring * 0x3000 }
func availAt(ring int) int      { return ring*0x3000 + 0x1000 }
func usedAt(ring int) int       { return ring*0x3000 + 0x2000 }
func bufferAt(ring, i int) int  { return 0x10000 + ring*0x40000 + i*0x4000 }
func user(offset int) uint64    { return userBase + uint64(offset) }
func guestOf(offset int) uint64 { return guestBase + uint64(offset) }

// A guest is a fake of QEMU and the driver behind it.
type guest struct {
	t    *testing.T
	conn *net.UnixConn
	mem  []byte
	kick [2]int
	call [2]int
	next [2]uint16 // next index in each available ring
	seen [2]uint16 // used entries looked at
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// connect performs the handshake that QEMU does.
func connect(t *testing.T, path string, cid uint64) *guest {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	g := &guest{t: t, conn: conn}
	g.share()
	if got := binary.NativeEndian.Uint64(g.ask(1, nil)); got != 1<<32|1<<30 {
		t.Fatalf("features are %#x", got)
	}
	if got := binary.NativeEndian.Uint64(g.ask(15, nil)); got != 1<<9 {
		t.Fatalf("protocol features are %#x", got)
	}
	config := g.ask(24, append(words(0, 8, 0), make([]byte, 8)...))
	if got := binary.LittleEndian.Uint64(config[12:]); got != cid {
		t.Fatalf("CID is %d, want %d", got, cid)
	}
	g.tell(3, nil)
	return g
}

// share makes memory and tells of it.
func (g *guest) share() {
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	must(g.t, err)
	defer unix.Close(fd)
	must(g.t, unix.Ftruncate(fd, memorySize))
	g.mem, err = unix.Mmap(fd, 0, memorySize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(g.t, err)
	g.t.Cleanup(func() { unix.Munmap(g.mem) })
	table := words(1, 0)
	for _, field := range []uint64{guestBase, memorySize, userBase, 0} {
		table = binary.NativeEndian.AppendUint64(table, field)
	}
	g.tell(5, table, fd)
}

// start sets up one ring.
func (g *guest) start(ring int) {
	g.tell(8, words(uint32(ring), ringSize))
	g.tell(10, words(uint32(ring), 0))
	address := words(uint32(ring), 0)
	for _, offset := range []int{descAt(ring), usedAt(ring), availAt(ring), 0} {
		address = binary.NativeEndian.AppendUint64(address, user(offset))
	}
	g.tell(9, address)
	for request, fd := range map[uint32]*int{12: &g.kick[ring], 13: &g.call[ring]} {
		var err error
		*fd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
		must(g.t, err)
		g.t.Cleanup(func() { unix.Close(*fd) })
		g.tell(request, binary.NativeEndian.AppendUint64(nil, uint64(ring)), *fd)
	}
	g.tell(18, words(uint32(ring), 1))
}

func words(w ...uint32) []byte {
	var b []byte
	for _, x := range w {
		b = binary.NativeEndian.AppendUint32(b, x)
	}
	return b
}

func (g *guest) tell(request uint32, payload []byte, fds ...int) {
	g.t.Helper()
	message := append(words(request, 1, uint32(len(payload))), payload...)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err := g.conn.WriteMsgUnix(message, oob, nil)
	must(g.t, err)
}

func (g *guest) ask(request uint32, payload []byte) []byte {
	g.t.Helper()
	g.tell(request, payload)
	g.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var header [12]byte
	_, err := io.ReadFull(g.conn, header[:])
	must(g.t, err)
	if got := binary.NativeEndian.Uint32(header[:]); got != request {
		g.t.Fatalf("reply is to request %d, want %d", got, request)
	}
	reply := make([]byte, binary.NativeEndian.Uint32(header[8:]))
	_, err = io.ReadFull(g.conn, reply)
	must(g.t, err)
	return reply
}

func (g *guest) describe(ring, i int, address uint64, n uint32, flags, next uint16) {
	d := g.mem[descAt(ring)+16*i:]
	binary.LittleEndian.PutUint64(d, address)
	binary.LittleEndian.PutUint32(d[8:], n)
	binary.LittleEndian.PutUint16(d[12:], flags)
	binary.LittleEndian.PutUint16(d[14:], next)
}

// offer makes a chain available and kicks.
func (g *guest) offer(ring int, head uint16) {
	avail := g.mem[availAt(ring):]
	binary.LittleEndian.PutUint16(avail[4+2*int(g.next[ring]%ringSize):], head)
	g.next[ring]++
	binary.LittleEndian.PutUint16(avail[2:], g.next[ring])
	_, err := unix.Write(g.kick[ring], []byte{1, 0, 0, 0, 0, 0, 0, 0})
	must(g.t, err)
}

// offerBuffer makes receive buffer i available.
func (g *guest) offerBuffer(i int) {
	g.describe(rx, i, guestOf(bufferAt(rx, i)), rxBuffer, 2, 0)
	g.offer(rx, uint16(i))
}

// send puts a packet in the transmit ring as two descriptors, 2i and 2i+1.
func (g *guest) send(i int, payload []byte) {
	at := bufferAt(tx, i)
	header := g.mem[at:][:headerSize]
	for k := range header {
		header[k] = byte(k)
	}
	binary.LittleEndian.PutUint32(header[24:], uint32(len(payload)))
	copy(g.mem[at+headerSize:], payload)
	g.describe(tx, 2*i, guestOf(at), headerSize, 1, uint16(2*i+1))
	g.describe(tx, 2*i+1, guestOf(at+headerSize), uint32(len(payload)), 0, 0)
	g.offer(tx, uint16(2*i))
}

// usedCount is how many chains the device has handed back.
func (g *guest) usedCount(ring int) uint16 {
	return binary.LittleEndian.Uint16(g.mem[usedAt(ring)+2:])
}

// await waits for n more used chains, as told by the call descriptor, and returns their heads and sizes.
func (g *guest) await(ring int, n uint16) (entries [][2]uint32) {
	g.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for g.usedCount(ring)-g.seen[ring] < n {
		if time.Now().After(deadline) {
			g.t.Fatalf("ring %d: %d chains came back, want %d", ring, g.usedCount(ring)-g.seen[ring], n)
		}
		unix.Poll([]unix.PollFd{{Fd: int32(g.call[ring]), Events: unix.POLLIN}}, 100)
	}
	for ; n > 0; n-- {
		u := g.mem[usedAt(ring)+4+8*int(g.seen[ring]%ringSize):]
		entries = append(entries, [2]uint32{binary.LittleEndian.Uint32(u), binary.LittleEndian.Uint32(u[4:])})
		g.seen[ring]++
	}
	return entries
}

// received returns the payload in a receive buffer, after looking at its header.
func (g *guest) received(entry [2]uint32) []byte {
	g.t.Helper()
	packet := g.mem[bufferAt(rx, int(entry[0])):][:entry[1]]
	if n := binary.LittleEndian.Uint32(packet[24:]); int(n) != len(packet)-headerSize {
		g.t.Fatalf("header says %d bytes, there are %d", n, len(packet)-headerSize)
	}
	if packet[0] != 0 || packet[23] != 23 || packet[43] != 43 {
		g.t.Error("the rest of the header has changed")
	}
	return packet[headerSize:]
}

// pair returns two connected guests and what Serve will return.
func pair(t *testing.T, c *crossover.Cable) (a, b *guest, served <-chan error) {
	t.Helper()
	dir := t.TempDir()
	var listeners [2]*net.UnixListener
	for i, name := range []string{"a", "b"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, name)})
		must(t, err)
		listeners[i] = l
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, result := make(chan struct{}), make(chan error, 1)
	go func() {
		result <- c.Serve(ctx, listeners[0], listeners[1])
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	a, b = connect(t, filepath.Join(dir, "a"), 16), connect(t, filepath.Join(dir, "b"), 17)
	return a, b, result
}

func started(t *testing.T) (a, b *guest, served <-chan error) {
	t.Helper()
	a, b, served = pair(t, crossover.New(16, 17))
	for _, g := range []*guest{a, b} {
		g.start(rx)
		g.start(tx)
	}
	return a, b, served
}

func TestPacketsCrossBothWays(t *testing.T) {
	a, b, _ := started(t)
	for _, way := range [][2]*guest{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		to.offerBuffer(0)
		from.send(0, []byte("hello"))
		if got := to.received(to.await(rx, 1)[0]); string(got) != "hello" {
			t.Errorf("got %q", got)
		}
		if got := from.await(tx, 1)[0]; got != [2]uint32{0, 0} {
			t.Errorf("sent chain came back as %d", got)
		}
	}
}

func TestAPacketStaysInItsRingUntilAllOfItIsThrough(t *testing.T) {
	a, b, _ := started(t)
	payload := bytes.Repeat([]byte("0123456789"), 40)
	const part = rxBuffer - headerSize // 156: it takes three buffers
	a.send(0, payload)
	b.offerBuffer(0)
	b.offerBuffer(1)
	entries := b.await(rx, 2)
	time.Sleep(50 * time.Millisecond)
	if n := a.usedCount(tx); n != 0 {
		t.Fatalf("%d chains came back before the packet was through", n)
	}
	b.offerBuffer(2)
	entries = append(entries, b.await(rx, 1)...)
	a.await(tx, 1)
	var got []byte
	for i, e := range entries {
		p := b.received(e)
		if want := min(part, len(payload)-i*part); len(p) != want {
			t.Errorf("part %d has %d bytes, want %d", i, len(p), want)
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, payload) {
		t.Error("the payload has changed")
	}
}

func TestPacketsKeepTheirOrderAroundTheRing(t *testing.T) {
	a, b, _ := started(t)
	for n := range 40 { // five times round
		b.offerBuffer(n % ringSize)
		a.send(n%(ringSize/2), []byte{byte(n)})
		if got := b.received(b.await(rx, 1)[0]); len(got) != 1 || got[0] != byte(n) {
			t.Fatalf("packet %d is %v", n, got)
		}
		a.await(tx, 1)
	}
}

func TestAnEmptyPacketTakesOneBuffer(t *testing.T) {
	a, b, _ := started(t)
	b.offerBuffer(0)
	b.offerBuffer(1)
	a.send(0, nil)
	a.await(tx, 1)
	if got := b.received(b.await(rx, 1)[0]); len(got) != 0 || b.usedCount(rx) != 1 {
		t.Errorf("got %d bytes in %d buffers", len(got), b.usedCount(rx))
	}
}

func TestAHeldCableCarriesNothingUntilItIsReleased(t *testing.T) {
	c := crossover.New(16, 17)
	c.Hold()
	a, b, _ := pair(t, c)
	for _, g := range []*guest{a, b} {
		g.start(rx)
		g.start(tx)
		g.offerBuffer(0)
		g.send(0, []byte("late"))
	}
	time.Sleep(100 * time.Millisecond)
	if n := a.usedCount(rx) + b.usedCount(rx) + a.usedCount(tx) + b.usedCount(tx); n != 0 {
		t.Fatalf("%d chains came back while the cable was held", n)
	}
	c.Release()
	for _, g := range []*guest{a, b} {
		if got := g.received(g.await(rx, 1)[0]); string(got) != "late" {
			t.Errorf("got %q", got)
		}
	}
}

func TestNothingMovesBeforeBothRingsRun(t *testing.T) {
	a, b, _ := pair(t, crossover.New(16, 17))
	a.start(tx)
	a.send(0, []byte("early"))
	time.Sleep(50 * time.Millisecond)
	if n := a.usedCount(tx); n != 0 {
		t.Fatalf("%d chains came back with nobody to receive", n)
	}
	b.start(rx)
	b.offerBuffer(0)
	if got := b.received(b.await(rx, 1)[0]); string(got) != "early" {
		t.Errorf("got %q", got)
	}
}

func TestAStoppedRingSaysHowFarItGot(t *testing.T) {
	a, b, _ := started(t)
	b.offerBuffer(0)
	b.offerBuffer(1)
	a.send(0, []byte("one"))
	b.await(rx, 1)
	a.await(tx, 1)
	if got := binary.NativeEndian.Uint32(b.ask(11, words(rx, 0))[4:]); got != 1 {
		t.Errorf("ring stopped at %d, want 1", got)
	}
}

func TestServeEndsWhenAGuestIsGone(t *testing.T) {
	a, _, served := started(t)
	a.conn.Close()
	select {
	case err := <-served:
		if !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want EOF", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("still serving")
	}
}

func TestServeFailsOnAGuestThatBreaksTheProtocol(t *testing.T) {
	for name, misbehave := range map[string]func(g *guest){
		"unknown request":            func(g *guest) { g.tell(99, words(0, 0)) },
		"message cut off":            func(g *guest) { g.tell(8, words(0)) },
		"message too long":           func(g *guest) { g.tell(2, make([]byte, 5000)) },
		"no such ring":               func(g *guest) { g.tell(8, words(2, 8)) },
		"ring of three":              func(g *guest) { g.tell(8, words(0, 3)) },
		"ring outside of memory":     func(g *guest) { g.tell(9, append(words(0, 0), make([]byte, 32)...)) },
		"table without memory":       func(g *guest) { g.tell(5, words(1, 0)) },
		"part of the configuration":  func(g *guest) { g.tell(24, words(4, 4, 0)) },
		"descriptor outside memory":  func(g *guest) { g.describe(tx, 0, 0, headerSize, 0, 0); g.offer(tx, 0) },
		"indirect descriptor":        func(g *guest) { g.describe(tx, 0, guestBase, 16, 4, 0); g.offer(tx, 0) },
		"descriptors in a circle":    func(g *guest) { g.describe(tx, 0, guestBase, 1, 1, 0); g.offer(tx, 0) },
		"head outside of the ring":   func(g *guest) { g.offer(tx, ringSize) },
		"packet without a header":    func(g *guest) { g.describe(tx, 0, guestBase, 8, 0, 0); g.offer(tx, 0) },
		"header that lies of length": func(g *guest) { g.describe(tx, 0, guestOf(bufferAt(rx, 7)), headerSize+9, 0, 0); g.offer(tx, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, served := started(t)
			b.offerBuffer(0)
			misbehave(a)
			select {
			case err := <-served:
				if err == nil || errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want a complaint", err)
				}
			case <-time.After(10 * time.Second):
				t.Error("still serving")
			}
		})
	}
}
