package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"holdfast/enclave/slashing/journal/wire"
)

// link is one connection to the parent.
type link struct {
	conn    net.Conn
	reader  *bufio.Reader
	timeout time.Duration // of one message
}

// dial connects, and returns what the parent says is its head.
func dial(ctx context.Context, connect func(context.Context) (net.Conn, error), timeout time.Duration) (*link, wire.Head, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := connect(ctx)
	if err != nil {
		return nil, wire.Head{}, fmt.Errorf("connecting to the journal: %w", err)
	}
	l := &link{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10), timeout: timeout}
	defer l.closeAtEnd(ctx)()
	head, err := request[wire.Head](l, wire.Hello{})
	if err != nil {
		_ = conn.Close()
		return nil, wire.Head{}, fmt.Errorf("greeting the journal: %w", err)
	}
	return l, head, nil
}

// closeAtEnd closes the connection when ctx ends, which ends what waits on it.
func (l *link) closeAtEnd(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = l.conn.Close() })
}

// slowest is how many bytes a second a long record is expected to go at least: a
// snapshot of very many keys may take longer than a duty can wait.
const slowest = 4 << 20

// within returns the timeout of a message that carries some bytes of a record.
func within(timeout time.Duration, size int) time.Duration {
	return timeout + time.Duration(size)*time.Second/slowest
}

// send writes a message that carries some bytes of a record.
func (l *link) send(m wire.Message, size int) error {
	if err := l.conn.SetWriteDeadline(time.Now().Add(within(l.timeout, size))); err != nil {
		return err
	}
	return wire.Send(l.conn, m)
}

// receive reads a message that carries some bytes of a record at most.
func (l *link) receive(size int) (wire.Message, error) {
	if err := l.conn.SetReadDeadline(time.Now().Add(within(l.timeout, size))); err != nil {
		return nil, err
	}
	m, err := wire.Receive(l.reader)
	if errors.Is(err, io.EOF) {
		err = errors.New("the parent closed the connection")
	}
	return m, err
}

// request sends a message and reads the answer, which must be a T.
func request[T wire.Message](l *link, m wire.Message) (T, error) {
	var none T
	if err := l.send(m, 0); err != nil {
		return none, err
	}
	answer, err := l.receive(0)
	if err != nil {
		return none, err
	}
	return want[T](answer)
}

// want returns a message as a T. A refusal is its own error.
func want[T wire.Message](m wire.Message) (T, error) {
	switch m := m.(type) {
	case T:
		return m, nil
	case wire.Refusal:
		var none T
		return none, m
	}
	var none T
	return none, fmt.Errorf("the journal answers with a %T, want a %T", m, none)
}

// readBack adds every record the parent has to a chain that is empty.
func (l *link) readBack(c *chain, head wire.Position) error {
	if err := l.send(wire.Read{}, 0); err != nil {
		return err
	}
	for {
		m, err := l.receive(wire.MaxRecord)
		if err != nil {
			return fmt.Errorf("reading the journal after record %d: %w", c.head.Sequence, err)
		}
		if entry, ok := m.(wire.Entry); ok {
			if err := c.add(entry); err != nil {
				return err
			}
			continue
		}
		end, err := want[wire.Head](m)
		if err != nil {
			return fmt.Errorf("reading the journal after record %d: %w", c.head.Sequence, err)
		}
		if end.Position != c.head || head != c.head {
			return fmt.Errorf("the journal ends with %v, but its server names %v at first and %v at last", c.head, head, end.Position)
		}
		return nil
	}
}
