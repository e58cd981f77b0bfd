// Package journal keeps the enclave's slashing journal on the parent's disk.
//
// A Server does one thing: it makes what the enclave hands it durable, in order,
// and only then says so. The records are sealed; all it reads is where each belongs
// in the chain. It tells a record cut off by a crash, which was never acknowledged
// and is set aside, from one that went bad, at which it stops.
package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/enclave/slashing/journal/wire"
)

const (
	messageTimeout = 10 * time.Second // from a message's first byte to its last, and for every answer
	maxTogether    = 64               // records that share a sync
	maxStrangers   = 8                // connections that have not said hello
)

// Server serves one enclave at a time: a connection that says hello displaces the
// one before, which may be dead without anybody knowing. What an enclave that was
// displaced still sends does not reach the disk.
type Server struct {
	Dir string       // exists; nothing else uses it
	Log *slog.Logger // nil for none

	stats counters
	disk  disk // of tests; nil for Dir

	mu      sync.Mutex
	current net.Conn      // the connection that has, or waits for, the turn
	turn    chan struct{} // holds a token while no connection uses the chain
	chain   *chain
}

// Stats counts what a server has done since it was made.
type Stats struct {
	Records     uint64 // made durable
	Bytes       uint64 // of them
	Syncs       uint64 // of files
	FolderSyncs uint64
}

type counters struct{ records, bytes, syncs, folderSyncs atomic.Uint64 }

// Stats returns the counts. It may be called at any time.
func (s *Server) Stats() Stats {
	return Stats{s.stats.records.Load(), s.stats.bytes.Load(), s.stats.syncs.Load(), s.stats.folderSyncs.Load()}
}

// Serve opens the journal in Dir and serves it until ctx ends, and then returns nil.
// It returns an error at once if another server uses Dir, if Dir cannot be written,
// or if a record in it went bad (*DamageError). It closes the listener.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	defer listener.Close()
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	held, err := lock(s.Dir)
	if err != nil {
		return err
	}
	defer held.Close()
	if s.disk == nil {
		s.disk = directory{s.Dir}
	}
	s.chain = &chain{disk: s.disk, log: s.Log, stats: &s.stats}
	if err := s.chain.open(); err != nil {
		return fmt.Errorf("opening the journal in %s: %w", s.Dir, err)
	}
	defer s.chain.broken()
	s.turn = make(chan struct{}, 1)
	s.turn <- struct{}{}
	return s.accept(ctx, listener)
}

func (s *Server) accept(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(ctx, func() { _ = listener.Close() })()
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer cancel()
	strangers := make(chan struct{}, maxStrangers)
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			if err == nil {
				_ = conn.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accepting a connection to the journal: %w", err)
		}
		strangers <- struct{}{}
		sessions.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			c := &session{server: s, conn: conn, reader: bufio.NewReaderSize(conn, 64<<10)}
			err := c.greet()
			<-strangers
			if err == nil {
				err = s.serve(ctx, c)
			}
			if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
				s.Log.Warn("a connection to the journal ended", "error", err)
			}
		})
	}
}

// serve displaces the connection before and then serves this one.
func (s *Server) serve(ctx context.Context, c *session) error {
	s.mu.Lock()
	if s.current != nil {
		_ = s.current.Close()
	}
	s.current = c.conn
	s.mu.Unlock()
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil
	}
	defer func() { s.turn <- struct{}{} }()
	return c.run(s.chain)
}

// session is one connection.
type session struct {
	server *Server
	conn   net.Conn
	reader *bufio.Reader
}

// greet waits for the hello.
func (c *session) greet() error {
	if err := c.conn.SetReadDeadline(time.Now().Add(messageTimeout)); err != nil {
		return err
	}
	m, err := wire.Receive(c.reader)
	if err != nil {
		return err
	}
	if _, ok := m.(wire.Hello); !ok {
		return fmt.Errorf("got a %T, want a greeting", m)
	}
	return nil
}

// run answers until the connection ends or asks for what cannot be done.
func (c *session) run(chain *chain) error {
	if !chain.opened {
		if err := chain.open(); err != nil {
			return c.refuse(err)
		}
	}
	if err := c.send(wire.Head{Position: chain.head, Torn: chain.torn}); err != nil {
		return err
	}
	for {
		m, err := c.receive()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case wire.Read:
			err = c.readBack(chain)
		case wire.Append:
			err = c.append(chain, m)
		default:
			err = c.refuse(wire.Refusal{Code: wire.Malformed, Reason: fmt.Sprintf("got a %T, want a read or an append", m)})
		}
		if err != nil {
			return err
		}
	}
}

// receive waits for a message as long as it takes to begin, but not to end.
func (c *session) receive() (wire.Message, error) {
	if err := c.conn.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if _, err := c.reader.Peek(1); err != nil {
		return nil, err
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(messageTimeout)); err != nil {
		return nil, err
	}
	return wire.Receive(c.reader)
}

func (c *session) send(m wire.Message) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(messageTimeout)); err != nil {
		return err
	}
	return wire.Send(c.conn, m)
}

// refuse tells the enclave what went wrong and returns it, which ends the session.
func (c *session) refuse(err error) error {
	refusal, ok := errors.AsType[wire.Refusal](err)
	if !ok {
		refusal = wire.Refusal{Code: wire.Storage, Reason: truncated(err.Error())}
		if _, damaged := errors.AsType[*DamageError](err); damaged {
			refusal.Code = wire.Damaged
		}
	}
	if sending := c.send(refusal); sending != nil {
		return errors.Join(err, sending)
	}
	return err
}

func (c *session) readBack(chain *chain) error {
	var sending error
	err := chain.read(func(entry wire.Entry) error {
		sending = c.send(entry)
		return sending
	})
	if sending != nil {
		return sending
	}
	if err != nil {
		return c.refuse(err)
	}
	return c.send(wire.Head{Position: chain.head, Torn: chain.torn})
}

// append makes a record durable with all others that have arrived already.
func (c *session) append(chain *chain, first wire.Append) error {
	entries := []wire.Append{first}
	for len(entries) < maxTogether && c.arrived() {
		m, err := c.receive()
		if err != nil {
			return err
		}
		next, ok := m.(wire.Append)
		if !ok {
			return c.refuse(wire.Refusal{Code: wire.Malformed, Reason: fmt.Sprintf("got a %T among records", m)})
		}
		entries = append(entries, next)
	}
	durable, err := chain.append(entries)
	for _, position := range durable {
		if err := c.send(wire.Ack{Position: position}); err != nil {
			return err
		}
	}
	if err != nil {
		return c.refuse(err)
	}
	return nil
}

// arrived reports whether a whole message is in the buffer.
func (c *session) arrived() bool {
	prefix, err := c.reader.Peek(min(c.reader.Buffered(), wire.PrefixSize))
	if err != nil {
		return false
	}
	length, known := wire.FrameLength(prefix)
	return known && c.reader.Buffered() >= length
}
