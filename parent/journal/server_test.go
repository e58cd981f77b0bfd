package journal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal/wire"
	"holdfast/parent/journal"
)

// client is an enclave's end of a connection.
type client struct {
	t    *testing.T
	conn net.Conn
}

func connect(t *testing.T, socket string) *client {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t, conn}
}

func (c *client) send(messages ...wire.Message) {
	c.t.Helper()
	var b bytes.Buffer
	for _, m := range messages {
		if err := wire.Send(&b, m); err != nil {
			c.t.Fatal(err)
		}
	}
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) receive() wire.Message {
	c.t.Helper()
	m, err := wire.Receive(c.conn)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) hello() wire.Head {
	c.t.Helper()
	c.send(wire.Hello{})
	head, ok := c.receive().(wire.Head)
	if !ok {
		c.t.Fatal("no head")
	}
	return head
}

// after makes a record that follows head, and the position it will have.
func after(head wire.Position, snapshot bool) (wire.Append, wire.Position) {
	record := append(wire.Header{Snapshot: snapshot, Sequence: head.Sequence + 1, Previous: head.Digest}.AppendTo(nil), "a record's sealed part"...)
	digest := sha256.Sum256(record)
	return wire.Append{Digest: digest, Record: record}, wire.Position{Sequence: head.Sequence + 1, Digest: digest}
}

func (c *client) want(want wire.Message) {
	c.t.Helper()
	if got := c.receive(); got != want {
		c.t.Fatalf("got %+v, want %+v", got, want)
	}
}

// ended demands that the server has closed the connection.
func (c *client) ended() {
	c.t.Helper()
	if m, err := wire.Receive(c.conn); err == nil {
		c.t.Fatalf("got %+v, want the end", m)
	}
}

func TestRecordsThatArriveTogetherShareASync(t *testing.T) {
	server := serve(t, t.TempDir())
	c := connect(t, server.socket)
	head := c.hello().Position
	first, at := after(head, true)
	c.send(first)
	c.want(wire.Ack{Position: at})
	var entries []wire.Message
	var places []wire.Position
	for range 20 {
		var entry wire.Append
		entry, at = after(at, false)
		entries, places = append(entries, entry), append(places, at)
	}
	before := server.Stats()
	c.send(entries...)
	for _, place := range places {
		c.want(wire.Ack{Position: place})
	}
	if got := server.Stats().Syncs - before.Syncs; got > 2 {
		t.Errorf("20 records took %d syncs", got)
	}
	if got := server.Stats().Records; got != 21 {
		t.Errorf("got %d records in the statistics", got)
	}
}

func TestANewConnectionDisplacesTheOneBefore(t *testing.T) {
	server := serve(t, t.TempDir())
	old := connect(t, server.socket)
	first, at := after(old.hello().Position, true)
	old.send(first)
	old.want(wire.Ack{Position: at})
	stranger := connect(t, server.socket) // says nothing
	second, place := after(at, false)
	old.send(second)
	old.want(wire.Ack{Position: place})
	if head := connect(t, server.socket).hello(); head.Position != place {
		t.Errorf("got head %v, want %v", head, place)
	}
	old.ended()
	stranger.send(wire.Read{})
	stranger.ended()
}

func TestManyConnectionsInARowAreServed(t *testing.T) {
	server := serve(t, t.TempDir())
	var at wire.Position
	for n := range 50 {
		c := connect(t, server.socket)
		if head := c.hello(); head.Position != at {
			t.Fatalf("got head %v, want %v", head, at)
		}
		var entry wire.Append
		entry, at = after(at, n == 0)
		c.send(entry)
		c.want(wire.Ack{Position: at})
	}
}

func TestWhatDoesNotFitIsRefusedAndTheConnectionEnds(t *testing.T) {
	server := serve(t, t.TempDir())
	notFirst, _ := after(wire.Position{Sequence: 4, Digest: wire.Digest{1}}, true)
	for name, c := range map[string]struct {
		message wire.Message
		code    wire.Code
	}{
		"a gap":          {notFirst, wire.Conflict},
		"a second hello": {wire.Hello{}, wire.Malformed},
		"an answer":      {wire.Ack{}, wire.Malformed},
	} {
		client := connect(t, server.socket)
		client.hello()
		client.send(c.message)
		if refusal, ok := client.receive().(wire.Refusal); !ok || refusal.Code != c.code {
			t.Errorf("%s: got %+v, want %v", name, refusal, c.code)
		}
		client.ended()
	}
}

func TestNonsenseEndsTheConnectionAlone(t *testing.T) {
	server := serve(t, t.TempDir())
	for _, nonsense := range []string{"GET / HTTP/1.1\r\n\r\n", "\x01\x00\x00\x00\x02hi", "\x05\xff\xff\xff\xff"} {
		c := connect(t, server.socket)
		_, _ = io.WriteString(c.conn, nonsense)
		c.ended()
		c = connect(t, server.socket)
		c.hello()
		_, _ = io.WriteString(c.conn, nonsense)
		c.ended()
	}
	connect(t, server.socket).hello()
}

func TestTwoServersNeverShareADirectory(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, dir)
	connect(t, first.socket).hello()
	if err := serveOnce(t, dir); err == nil || !strings.Contains(err.Error(), "another server uses it") {
		t.Errorf("got %v", err)
	}
	first.stop()
	connect(t, serve(t, dir).socket).hello()
}

// serveOnce returns what a server says that is to end by itself.
func serveOnce(t *testing.T, dir string) error {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return (&journal.Server{Dir: dir}).Serve(ctx, listener)
}

func TestADirectoryThatIsNotThereIsAnError(t *testing.T) {
	if err := serveOnce(t, filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// journalFile returns the one file of the journal in a directory.
func journalFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.journal"))
	if err != nil || len(files) != 1 {
		t.Fatalf("got files %v, %v; want one", files, err)
	}
	return files[0]
}

func TestATornRecordOnTheDiskIsToldToTheEnclave(t *testing.T) {
	dir := t.TempDir()
	server := serve(t, dir)
	s := open(t, config(server.socket))
	for target := uint64(1); target < 4; target++ {
		if d := s.Record(t.Context(), chain, keyOf(1), vote(target)); d.Answer != slashing.Allowed {
			t.Fatal(d.Err)
		}
	}
	s.Close()
	server.stop()
	path := journalFile(t, dir)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-7); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	c := config(serve(t, dir).socket)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	if _, sequence := open(t, c).Head(); sequence != 2 {
		t.Errorf("got head %d, want 2", sequence)
	}
	if !strings.Contains(log.String(), "incomplete record") {
		t.Errorf("the enclave does not say so: %q", &log)
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "*.incomplete-0")); len(aside) != 1 {
		t.Errorf("got %v, want what was cut off", aside)
	}
}

func TestAServerDoesNotServeADamagedJournal(t *testing.T) {
	dir := t.TempDir()
	server := serve(t, dir)
	s := open(t, config(server.socket))
	for target := uint64(1); target < 4; target++ {
		if d := s.Record(t.Context(), chain, keyOf(1), vote(target)); d.Answer != slashing.Allowed {
			t.Fatal(d.Err)
		}
	}
	s.Close()
	server.stop()
	path := journalFile(t, dir)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	err = serveOnce(t, dir)
	if damage, ok := errors.AsType[*journal.DamageError](err); !ok || damage.File != filepath.Base(path) {
		t.Errorf("got %v, want a DamageError", err)
	}
	if again, _ := os.ReadFile(path); !bytes.Equal(again, data) {
		t.Error("the damaged file was changed")
	}
}

func TestASnapshotReplacesTheFilesBefore(t *testing.T) {
	dir := t.TempDir()
	c := config(serve(t, dir).socket)
	c.CompactAfter = 1000
	s := open(t, c)
	for target := uint64(1); target < 60; target++ {
		if d := s.Record(t.Context(), chain, keyOf(int(target%3)), vote(target)); d.Answer != slashing.Allowed {
			t.Fatal(d.Err)
		}
	}
	path := journalFile(t, dir)
	if filepath.Base(path) <= "00000000000000000040.journal" {
		t.Errorf("the journal begins with %s, want a late snapshot", filepath.Base(path))
	}
	if info, err := os.Stat(path); err != nil || info.Size() > 5000 {
		t.Errorf("got %v, %v; want a few records", info.Size(), err)
	}
}
