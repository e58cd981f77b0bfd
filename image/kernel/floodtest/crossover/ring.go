package crossover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"
)

// The rings that a vsock device's back-end serves; the third, of events, is QEMU's own.
const (
	rxRing = 0
	txRing = 1
	rings  = 2
)

const (
	headerSize = 44 // struct virtio_vsock_hdr
	lenOffset  = 24 // of its field len

	// maxPacket bounds what a guest sends at once; Linux sends at most 64 KiB of payload.
	maxPacket = headerSize + 1<<20
	// maxRing is the largest split ring.
	maxRing = 32768
)

// Flags of a descriptor (virtio 1.2, 2.7.5).
const (
	descNext     = 1
	descWrite    = 2
	descIndirect = 4
)

// A ring is one split virtqueue, seen from the device.
type ring struct {
	size              uint16 // zero until the driver has said
	desc, avail, used []byte // guest memory; nil until the driver has said
	lastAvail         uint16 // index of the next chain to look at
	usedIndex         uint16
	enabled           bool
	kick, call        *os.File // event descriptors
	dirty             bool     // something was finished since the last call
}

func (r *ring) running() bool { return r.enabled && r.used != nil && r.kick != nil }

// availIndex reads the driver's index, which shares an aligned word with the flags.
func (r *ring) availIndex() uint16 {
	return uint16(atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.avail[0]))) >> 16)
}

// peekHead returns the first descriptor of the next chain, if there is one.
func (r *ring) peekHead() (head uint16, ok bool) {
	if r.availIndex() == r.lastAvail {
		return 0, false
	}
	slot := int(r.lastAvail % r.size)
	return binary.LittleEndian.Uint16(r.avail[4+2*slot:]), true
}

// finish hands the chain that peekHead gave back to the driver, with n bytes written to it.
func (r *ring) finish(head uint16, n uint32) {
	slot := 4 + 8*int(r.usedIndex%r.size)
	binary.LittleEndian.PutUint32(r.used[slot:], uint32(head))
	binary.LittleEndian.PutUint32(r.used[slot+4:], n)
	r.lastAvail++
	r.usedIndex++
	// The flags below the index are zero: do notify us.
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.used[0])), uint32(r.usedIndex)<<16)
	r.dirty = true
}

// notify interrupts the driver if anything was finished. A driver that asked for no interrupt takes
// one in its stride.
func (r *ring) notify() {
	if !r.dirty || r.call == nil {
		return
	}
	r.dirty = false
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	r.call.Write(one[:]) // fails only if the driver has closed it
}

// next returns the next chain, as buffers in guest memory; nil if there is none.
func (e *end) next(r *ring) (head uint16, buffers [][]byte, err error) {
	head, ok := r.peekHead()
	if !ok {
		return 0, nil, nil
	}
	for i, links := head, 0; ; links++ {
		if i >= r.size || links == int(r.size) {
			return 0, nil, fmt.Errorf("descriptor chain at %d leaves the ring of %d", i, r.size)
		}
		d := r.desc[16*int(i):]
		flags := binary.LittleEndian.Uint16(d[12:])
		if flags&descIndirect != 0 {
			return 0, nil, errors.New("indirect descriptor, which was not offered")
		}
		buffer, err := e.memory.guest(binary.LittleEndian.Uint64(d), uint64(binary.LittleEndian.Uint32(d[8:])))
		if err != nil {
			return 0, nil, err
		}
		buffers = append(buffers, buffer)
		if flags&descNext == 0 {
			return head, buffers, nil
		}
		i = binary.LittleEndian.Uint16(d[14:])
	}
}

// peek returns the next packet of a transmit ring and leaves it there; nil if there is none.
func (e *end) peek(r *ring) (head uint16, packet []byte, err error) {
	head, buffers, err := e.next(r)
	if buffers == nil || err != nil {
		return 0, nil, err
	}
	if n := size(buffers); n < headerSize || n > maxPacket {
		return 0, nil, fmt.Errorf("packet of %d bytes, want %d to %d", n, headerSize, maxPacket)
	}
	for _, b := range buffers {
		packet = append(packet, b...)
	}
	if got, want := binary.LittleEndian.Uint32(packet[lenOffset:]), len(packet)-headerSize; int64(got) != int64(want) {
		return 0, nil, fmt.Errorf("packet says it carries %d bytes, has %d", got, want)
	}
	return head, packet, nil
}

func size(buffers [][]byte) int {
	n := 0
	for _, b := range buffers {
		n += len(b)
	}
	return n
}

// scatter copies the parts, one after the other, into the buffers and returns how much it copied.
func scatter(buffers [][]byte, parts ...[]byte) int {
	n := 0
	for _, p := range parts {
		for len(p) > 0 && len(buffers) > 0 {
			k := copy(buffers[0], p)
			p, n = p[k:], n+k
			if buffers[0] = buffers[0][k:]; len(buffers[0]) == 0 {
				buffers = buffers[1:]
			}
		}
	}
	return n
}

// withLength returns a copy of a packet's header that says how long its payload is.
func withLength(header []byte, n int) []byte {
	h := append([]byte(nil), header...)
	binary.LittleEndian.PutUint32(h[lenOffset:], uint32(n))
	return h
}
