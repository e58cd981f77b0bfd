// Package journaltest is a server of slashing journals in memory, for tests of the
// enclave's side: honest by default, and able to lose, change, replace and roll back
// whatever it was given.
//
// Only tests link this package.
package journaltest

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"holdfast/enclave/slashing/journal/wire"
)

// Server keeps one journal. Make it with New.
type Server struct {
	mu       sync.Mutex
	entries  []wire.Entry
	torn     uint32
	down     bool
	conns    map[net.Conn]bool
	onAppend func(wire.Append) wire.Message
}

// New returns an honest server with an empty journal.
func New() *Server { return &Server{conns: make(map[net.Conn]bool)} }

// Dial is what a journal.Config dials with.
func (s *Server) Dial(context.Context) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down {
		return nil, errors.New("the server is down")
	}
	ours, theirs := net.Pipe()
	s.conns[ours] = true
	go s.serve(ours)
	return theirs, nil
}

// SetDown makes the server unreachable, and cuts every connection, or reachable.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
	s.cut()
}

// Cut ends every connection.
func (s *Server) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut()
}

func (s *Server) cut() {
	for conn := range s.conns {
		_ = conn.Close()
	}
	clear(s.conns)
}

// Entries returns a copy of the list of what the server keeps.
func (s *Server) Entries() []wire.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.entries)
}

// SetEntries replaces what the server keeps, and with it its head.
func (s *Server) SetEntries(entries []wire.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = slices.Clone(entries)
}

// SetTorn sets how many bytes the server says it set aside.
func (s *Server) SetTorn(bytes uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.torn = bytes
}

// OnAppend lets a function answer to records in the server's stead, which may call
// Keep. If it returns nil the connection is cut. A nil function is Keep.
func (s *Server) OnAppend(answer func(wire.Append) wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAppend = answer
}

// Keep appends a record, whatever it is, and returns its acknowledgement.
func (s *Server) Keep(a wire.Append) wire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries = append(s.entries, wire.Entry(a))
	return wire.Ack{Position: s.head()}
}

// Head returns the position of the last record.
func (s *Server) Head() wire.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.head()
}

func (s *Server) head() wire.Position {
	if len(s.entries) == 0 {
		return wire.Position{}
	}
	last := s.entries[len(s.entries)-1]
	header, err := wire.ParseHeader(last.Record)
	if err != nil {
		return wire.Position{Sequence: 1<<64 - 1}
	}
	return wire.Position{Sequence: header.Sequence, Digest: last.Digest}
}

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	for {
		request, err := wire.Receive(conn)
		if err != nil {
			return
		}
		for _, answer := range s.answers(request) {
			if answer == nil || wire.Send(conn, answer) != nil {
				return
			}
		}
	}
}

func (s *Server) answers(request wire.Message) []wire.Message {
	s.mu.Lock()
	head, entries, onAppend := wire.Head{Position: s.head(), Torn: s.torn}, s.entries, s.onAppend
	s.mu.Unlock()
	switch request := request.(type) {
	case wire.Hello:
		return []wire.Message{head}
	case wire.Read:
		var answers []wire.Message
		for _, entry := range entries {
			answers = append(answers, entry)
		}
		return append(answers, head)
	case wire.Append:
		if onAppend == nil {
			onAppend = s.Keep
		}
		return []wire.Message{onAppend(request)}
	}
	return []wire.Message{wire.Refusal{Code: wire.Malformed, Reason: "not a request"}}
}
