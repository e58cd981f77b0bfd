package wire_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast/enclave/slashing/journal/wire"
)

var (
	at     = wire.Position{Sequence: 7, Digest: wire.Digest{1, 2, 3}}
	record = append(wire.Header{Sequence: 8, Previous: at.Digest}.AppendTo(nil), "sealed"...)
)

func messages() []wire.Message {
	return []wire.Message{
		wire.Hello{},
		wire.Head{},
		wire.Head{Position: at, Torn: 9},
		wire.Read{},
		wire.Entry{Digest: wire.Digest{4}, Record: record},
		wire.Append{Digest: wire.Digest{5}, Record: record},
		wire.Ack{Position: at},
		wire.Refusal{Code: wire.Storage, Reason: "no space left on device"},
	}
}

func encode(t testing.TB, m wire.Message) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := wire.Send(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEveryMessageArrivesAsItWasSent(t *testing.T) {
	var stream bytes.Buffer
	for _, m := range messages() {
		stream.Write(encode(t, m))
	}
	r := iotest.OneByteReader(&stream)
	for _, want := range messages() {
		if got, err := wire.Receive(r); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if _, err := wire.Receive(r); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

func TestAMessageCutShortIsNoEnd(t *testing.T) {
	for _, m := range messages() {
		whole := encode(t, m)
		for n := 1; n < len(whole); n++ {
			if _, err := wire.Receive(bytes.NewReader(whole[:n])); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%T cut at %d: got %v", m, n, err)
			}
		}
		if n, known := wire.FrameLength(whole); !known || n != len(whole) {
			t.Errorf("%T has length %d, want %d", m, n, len(whole))
		}
	}
}

func TestFramesThatBreakTheProtocolAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ frame, want string }{
		"unknown kind":       {"\x09\x00\x00\x00\x00", "unknown kind 9"},
		"kind zero":          {"\x00\x00\x00\x00\x00", "unknown kind 0"},
		"other greeting":     {"\x01\x00\x00\x00\x02hi", "greeting"},
		"longer than may be": {"\x03\x00\x00\x01\x00", "at most 64"},
		"record too long":    {"\x05\xff\xff\xff\xff", "at most 18874400"},
		"record too short":   {"\x05\x00\x00\x00\x20" + strings.Repeat("x", 32), "want 42 to"},
		"read with payload":  {"\x03\x00\x00\x00\x01x", "want none"},
		"digest of nothing":  {"\x06\x00\x00\x00\x28" + strings.Repeat("\x00", 39) + "x", "position 0"},
		"short head":         {"\x02\x00\x00\x00\x01x", "head has 1 bytes"},
		"empty refusal":      {"\x07\x00\x00\x00\x00", "refusal"},
		"refusal not UTF-8":  {"\x07\x00\x00\x00\x02\x01\xff", "UTF-8"},
	} {
		if _, err := wire.Receive(strings.NewReader(c.frame)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestNothingIsSentThatWouldBeRefused(t *testing.T) {
	for _, m := range []wire.Message{
		wire.Append{Record: make([]byte, wire.MaxRecord+1)},
		wire.Append{Record: []byte("short")},
		wire.Refusal{Reason: strings.Repeat("x", 513)},
		wire.Ack{Position: wire.Position{Digest: wire.Digest{1}}},
	} {
		var b bytes.Buffer
		if err := wire.Send(&b, m); err == nil || b.Len() > 0 {
			t.Errorf("%T: got %v and %d bytes", m, err, b.Len())
		}
	}
}

func TestAPromisedLengthTakesNoMemory(t *testing.T) {
	frame := []byte("\x05\x01\x20\x00\x00and then nothing")
	if got := testing.AllocsPerRun(10, func() { _, _ = wire.Receive(bytes.NewReader(frame)) }); got > 10 {
		t.Errorf("%v allocations", got)
	}
	long := wire.Append{Digest: wire.Digest{1}, Record: append(bytes.Clone(record), make([]byte, 3<<20)...)}
	if got, err := wire.Receive(bytes.NewReader(encode(t, long))); err != nil || !reflect.DeepEqual(got, wire.Message(long)) {
		t.Errorf("a long record does not arrive: %v", err)
	}
}

func TestHeadersHaveOneForm(t *testing.T) {
	for _, want := range []wire.Header{
		{Snapshot: true, Sequence: 1},
		{Sequence: 2, Previous: wire.Digest{1}},
		{Snapshot: true, Sequence: 1<<64 - 1, Previous: wire.Digest{1}},
	} {
		if got, err := wire.ParseHeader(want.AppendTo(nil)); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	first := wire.Header{Snapshot: true, Sequence: 1}.AppendTo(nil)
	change := func(at int, to byte) []byte { b := bytes.Clone(first); b[at] = to; return b }
	for want, bad := range map[string][]byte{
		"header of 42":    first[:41],
		"format 2":        change(0, 2),
		"flags 0x2":       change(1, 2),
		"sequence 0":      change(9, 0),
		"follows nothing": change(41, 1),
		"record 2":        change(9, 2),
	} {
		if _, err := wire.ParseHeader(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestARecordFollowsOneHeadOnly(t *testing.T) {
	header := wire.Header{Sequence: 8, Previous: at.Digest}
	if err := header.Follows(at); err != nil {
		t.Error(err)
	}
	for _, head := range []wire.Position{{}, {Sequence: 6, Digest: at.Digest}, {Sequence: 8, Digest: at.Digest}, {Sequence: 7}} {
		if header.Follows(head) == nil {
			t.Errorf("it follows %v", head)
		}
	}
}

func TestARefusalIsAnErrorThatSaysWhy(t *testing.T) {
	err := error(wire.Refusal{Code: wire.Storage, Reason: "disk full"})
	if got := err.Error(); got != `journal server refuses (storage): "disk full"` {
		t.Errorf("got %s", got)
	}
	if got := wire.Code(99).String(); got != "code 99" {
		t.Errorf("got %s", got)
	}
}

func FuzzReceive(f *testing.F) {
	for _, m := range messages() {
		f.Add(encode(f, m))
	}
	f.Add([]byte("\x05\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		m, err := wire.Receive(r)
		if err != nil {
			return
		}
		read := data[:len(data)-r.Len()]
		if again := encode(t, m); !bytes.Equal(again, read) {
			t.Fatalf("%x is read, but is sent as %x", read, again)
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(record)
	f.Add(wire.Header{Snapshot: true, Sequence: 1}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		header, err := wire.ParseHeader(data)
		if err == nil && !bytes.Equal(header.AppendTo(nil), data[:wire.HeaderSize]) {
			t.Fatalf("%x is read, but encodes to %x", data, header.AppendTo(nil))
		}
	})
}
