// Package crossover joins the vsock devices of two guests, as a crossover cable joins two hosts.
//
// What one guest puts in its transmit ring is copied into the other's receive ring as soon as there is
// a buffer for it, and not taken before: the cable itself holds nothing. AWS describes its hypervisor
// so ("we connect 2 VMs directly via vsock"), and it is what makes each guest's sending wait for the
// other's receiving. A device with memory of its own, such as vhost-device-vsock, hides that.
//
// Each end is a vhost-user back-end of the "socket" device: QEMU connects to it with
//
//	-chardev socket,id=c,path=END -device vhost-user-vsock-device,chardev=c
//
// or, on the nitro-enclave machine, with vsock=c. The protocol is that of QEMU's
// docs/interop/vhost-user.rst; rings are those of the virtio specification 1.2, section 2.7 (split,
// without indirect descriptors or event indices), packets those of its section 5.10.
//
// This is test equipment. It believes the QEMU that it serves, apart from bounds.
package crossover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// A Cable joins two guests.
type Cable struct {
	mu   sync.Mutex // guards what follows
	ends [2]*end
	held bool

	wake chan struct{} // holds a token if there may be something to carry
}

// New returns a cable for two guests with these context IDs.
func New(cidA, cidB uint64) *Cable {
	c := &Cable{wake: make(chan struct{}, 1)}
	for i, cid := range []uint64{cidA, cidB} {
		c.ends[i] = &end{cable: c, cid: cid}
	}
	return c
}

// Hold makes the cable carry nothing until Release. What the guests send waits in their rings and behind
// them, as when a host has other work.
func (c *Cable) Hold() { c.hold(true) }

// Release ends a Hold.
func (c *Cable) Release() { c.hold(false) }

func (c *Cable) hold(held bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = held
	c.kick()
}

// Serve accepts one front-end from each listener, the first guest's and the second's, and carries
// packets until ctx is done or a guest is gone. A cable serves once.
func (c *Cable) Serve(ctx context.Context, a, b *net.UnixListener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for i, l := range []*net.UnixListener{a, b} {
		wg.Go(func() { cancel(c.ends[i].serve(ctx, l)) })
	}
	wg.Go(func() { cancel(c.carry(ctx)) })
	wg.Wait()
	return context.Cause(ctx)
}

// serve serves one front-end.
func (e *end) serve(ctx context.Context, l *net.UnixListener) (err error) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	conn, err := l.AcceptUnix()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer func() { err = errors.Join(err, e.close()) }()
	for {
		m, err := readMessage(conn)
		if err != nil {
			return fmt.Errorf("guest %d: %w", e.cid, err)
		}
		reply, err := e.handle(m)
		if err != nil {
			return fmt.Errorf("guest %d: request %d: %w", e.cid, m.request, err)
		}
		if reply == nil {
			continue
		}
		if err := writeReply(conn, m.request, reply); err != nil {
			return fmt.Errorf("guest %d: %w", e.cid, err)
		}
	}
}

// kick has carry look at the rings again.
func (c *Cable) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// carry moves packets, one each way at a time, whenever there are some.
func (c *Cable) carry(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.wake:
		}
		moved, err := c.step()
		if err != nil {
			return err
		}
		if moved {
			c.kick()
		}
	}
}

// step moves at most one packet each way.
func (c *Cable) step() (moved bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held {
		return false, nil
	}
	there, err := move(c.ends[0], c.ends[1])
	if err != nil {
		return false, err
	}
	back, err := move(c.ends[1], c.ends[0])
	return there || back, err
}

// move moves the next packet of one guest's transmit ring, if there is one, to the other's receive
// ring, if there is room.
func move(from, to *end) (bool, error) {
	tx, rx := &from.rings[txRing], &to.rings[rxRing]
	if !tx.running() || !rx.running() {
		return false, nil
	}
	head, packet, err := from.peek(tx)
	if packet == nil || err != nil {
		return false, err
	}
	done, err := to.deliver(rx, packet, &from.delivered)
	rx.notify()
	if !done || err != nil {
		return false, err
	}
	tx.finish(head, 0)
	tx.notify()
	return true, nil
}

// deliver copies a packet into receive buffers; a packet's payload may take several, each with a header
// of its own. If the buffers run out it returns false, and *delivered says how much of the payload is
// through.
func (e *end) deliver(rx *ring, packet []byte, delivered *int) (bool, error) {
	header, payload := packet[:headerSize], packet[headerSize:]
	for {
		head, buffers, err := e.next(rx)
		if buffers == nil || err != nil {
			return false, err
		}
		part := payload[*delivered:]
		if room := size(buffers) - headerSize; room < len(part) {
			part = part[:max(room, 0)]
		}
		if len(part) == 0 && len(payload) > *delivered {
			return false, errors.New("receive buffer has no room for a payload")
		}
		n := scatter(buffers, withLength(header, len(part)), part)
		rx.finish(head, uint32(n))
		if *delivered += len(part); *delivered == len(payload) {
			*delivered = 0
			return true, nil
		}
	}
}
