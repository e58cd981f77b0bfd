package journal

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"holdfast/enclave/slashing/journal/wire"
)

// Pauses before connecting again: none at first, then these, doubling, until a
// record has been acknowledged.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second
)

// writer sends a Store's batches as records, one at a time, over one connection
// after another. It alone knows the chain.
type writer struct {
	store   *Store
	dial    func(context.Context) (net.Conn, error)
	timeout time.Duration
	compact int
	log     *slog.Logger
	sealer  *sealer
	ready   chan struct{} // holds a token if a batch began to gather
	cancel  context.CancelFunc
	done    chan struct{}

	head   wire.Position // the last record acknowledged
	size   compaction
	flight *flight // the record sealed and not acknowledged, sent or not
	pause  time.Duration
	faulty bool // since a connection was lost, until all is well again
}

// flight is a record that is, or may be, or will be on its way. It is sent again as
// it is until it is acknowledged: another with its sequence number must never be.
type flight struct {
	position wire.Position
	snapshot bool
	record   []byte
	saved    *saved
}

func newWriter(s *Store, config Config, sealer *sealer, read *chain) *writer {
	return &writer{
		store:   s,
		dial:    config.Dial,
		timeout: config.Timeout,
		compact: config.CompactAfter,
		log:     config.Log,
		sealer:  sealer,
		ready:   make(chan struct{}, 1),
		done:    make(chan struct{}),
		head:    read.head,
		size:    read.size,
	}
}

func (w *writer) start(connection *link) {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() {
		defer close(w.done)
		w.run(ctx, connection)
	}()
}

func (w *writer) stop() {
	w.cancel()
	<-w.done
}

// wake says that there is something to take from the store.
func (w *writer) wake() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// run writes over one connection after another until the store ends.
func (w *writer) run(ctx context.Context, connection *link) {
	for connection != nil {
		err := w.serve(ctx, connection)
		if ctx.Err() != nil {
			return
		}
		w.fault(err)
		connection = w.reconnect(ctx)
	}
}

// fault lets probes know that nothing can be recorded, and why; the log is told once.
func (w *writer) fault(err error) {
	w.store.setLink(err)
	if !w.faulty {
		w.log.Warn("the slashing journal cannot record", "error", err)
	}
	w.faulty = true
}

// recovered is called when there is a connection and no record waits: one that the
// parent refuses again and again is a fault that goes on.
func (w *writer) recovered() {
	if w.faulty {
		w.store.setLink(nil)
		w.log.Info("the slashing journal records again", "head", w.head.Sequence)
	}
	w.faulty = false
}

// received is what the goroutine that reads a connection hands over.
type received struct {
	message wire.Message
	err     error
}

// serve writes records over a connection until it breaks, and returns why.
func (w *writer) serve(ctx context.Context, l *link) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.conn.Close()
	defer l.closeAtEnd(ctx)()
	if err := l.conn.SetReadDeadline(time.Time{}); err != nil { // the wait for an acknowledgement has a timer
		return err
	}
	incoming := make(chan received)
	go func() {
		for {
			m, err := wire.Receive(l.reader)
			select {
			case incoming <- received{m, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		if w.flight == nil && !w.board() {
			if err := w.idle(ctx, incoming); err != nil {
				return err
			}
			continue
		}
		if err := w.fly(ctx, l, incoming); err != nil {
			return err
		}
	}
}

// idle waits for something to write.
func (w *writer) idle(ctx context.Context, incoming <-chan received) error {
	select {
	case <-w.ready:
		return nil
	case r := <-incoming:
		if r.err != nil {
			return fmt.Errorf("the slashing journal is gone: %w", r.err)
		}
		return fmt.Errorf("the slashing journal sent a %T unasked", r.message)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// board seals what has gathered as the next record. False means there was nothing.
func (w *writer) board() bool {
	w.gather()
	snapshot := w.size.due(w.compact)
	b := w.store.take(snapshot)
	if b == nil {
		return false
	}
	record := w.sealer.seal(w.head, snapshot, &b.payload)
	w.flight = &flight{
		position: wire.Position{Sequence: w.head.Sequence + 1, Digest: sha256.Sum256(record)},
		snapshot: snapshot,
		record:   record,
		saved:    b.saved,
	}
	return true
}

// gather lets duties that are ready to run join the record, as long as there are
// some: that takes microseconds, and a record a disk's sync.
func (w *writer) gather() {
	for before, now := -1, w.store.gathered(); now > before; {
		runtime.Gosched()
		before, now = now, w.store.gathered()
	}
}

// fly sends the record and waits for its acknowledgement. Only one that names
// exactly this record counts; after any other the connection is of no more use.
func (w *writer) fly(ctx context.Context, l *link, incoming <-chan received) error {
	size := len(w.flight.record)
	if err := l.send(wire.Append{Digest: w.flight.position.Digest, Record: w.flight.record}, size); err != nil {
		return fmt.Errorf("sending record %d to the slashing journal: %w", w.flight.position.Sequence, err)
	}
	patience := within(w.timeout, size)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-incoming:
		return w.answer(r)
	case <-timer.C:
		return fmt.Errorf("the slashing journal did not acknowledge record %d within %v", w.flight.position.Sequence, patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *writer) answer(r received) error {
	if r.err != nil {
		return fmt.Errorf("waiting for record %d to be acknowledged: %w", w.flight.position.Sequence, r.err)
	}
	ack, err := want[wire.Ack](r.message)
	if err != nil {
		return err
	}
	if ack.Position != w.flight.position {
		return fmt.Errorf("the slashing journal acknowledges %v, want %v", ack.Position, w.flight.position)
	}
	w.land()
	return nil
}

// land makes the record in flight the head, and lets all go that waited for it.
func (w *writer) land() {
	w.head, w.pause = w.flight.position, 0
	w.store.advanceTo(w.head)
	w.size.add(w.flight.snapshot, len(w.flight.record))
	close(w.flight.saved.done)
	w.flight = nil
	w.recovered()
}

// reconnect returns a connection to a parent whose head is ours, or nil if the
// store has ended.
func (w *writer) reconnect(ctx context.Context) *link {
	for {
		select {
		case <-time.After(w.pause):
		case <-ctx.Done():
			return nil
		}
		w.pause = min(max(2*w.pause, firstPause), lastPause)
		connection, head, err := dial(ctx, w.dial, w.timeout)
		if err != nil {
			w.fault(err)
			continue
		}
		if err := w.resume(head.Position); err != nil {
			_ = connection.conn.Close()
			w.log.Error("the slashing journal is not the one that was written: nothing more will be signed", "error", err)
			w.store.end(err)
			return nil
		}
		if w.flight == nil {
			w.recovered()
		}
		return connection
	}
}

// resume compares the parent's head with ours. With the record in flight it may be
// there, which acknowledges it, or not, and then it is sent again.
func (w *writer) resume(head wire.Position) error {
	switch {
	case w.flight != nil && head == w.flight.position:
		w.land()
	case head == w.head:
	case w.flight != nil:
		return fmt.Errorf("the slashing journal was replaced or rolled back: its head is %v, want %v or %v; restart the enclave", head, w.head, w.flight.position)
	default:
		return fmt.Errorf("the slashing journal was replaced or rolled back: its head is %v, want %v; restart the enclave", head, w.head)
	}
	return nil
}
