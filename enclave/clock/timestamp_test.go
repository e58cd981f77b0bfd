package clock_test

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"holdfast/enclave/clock"
	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
)

// documentOf makes a document that says little but the time.
func documentOf(t time.Time) []byte {
	return documentWith(encoded(map[string]any{"timestamp": uint64(t.UnixMilli()), "module_id": "i-1-enc1"}))
}

func documentWith(payload []byte) []byte {
	return encoded([]any{[]byte{0xa0}, map[int]int{}, payload, make([]byte, 96)})
}

func encoded(value any) []byte {
	data, err := cbor.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

// timeOf reads a document as a clock does.
func timeOf(t testing.TB, document []byte) (time.Time, error) {
	module := attester(func(context.Context, nsm.Request) ([]byte, error) { return document, nil })
	stopped := func() time.Duration { return 0 }
	c, err := clock.New(clock.Options{Module: module, Log: slog.New(slog.DiscardHandler), Monotonic: stopped})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(t.Context()); err != nil {
		if _, err := c.Now(); err == nil {
			t.Fatal("there is time after a failure")
		}
		return time.Time{}, err
	}
	return c.Now()
}

func TestAMisshapenDocumentIsNoTime(t *testing.T) {
	if got, err := timeOf(t, documentOf(begin)); err != nil || !got.Equal(begin) {
		t.Fatalf("got %v, %v; want %v", got, err, begin)
	}
	stamp := func(value any) []byte { return documentWith(encoded(map[string]any{"timestamp": value})) }
	twice := append([]byte{0xa2}, encoded(map[string]any{"timestamp": uint64(begin.UnixMilli())})[1:]...)
	twice = append(twice, encoded(map[string]any{"timestamp": uint64(begin.UnixMilli() + 1)})[1:]...)
	for name, document := range map[string][]byte{
		"empty":                nil,
		"no array":             encoded(map[string]int{}),
		"three parts":          encoded([]any{[]byte{}, map[int]int{}, []byte{}}),
		"five parts":           encoded([]any{[]byte{}, map[int]int{}, []byte{}, []byte{}, 1}),
		"trailing byte":        append(documentOf(begin), 0),
		"tagged":               append([]byte{0xd2}, documentOf(begin)...),
		"payload is no map":    documentWith(encoded(7)),
		"payload has trailing": documentWith(append(encoded(map[string]any{"timestamp": uint64(begin.UnixMilli())}), 0)),
		"no timestamp":         documentWith(encoded(map[string]any{"Timestamp": uint64(begin.UnixMilli())})),
		"timestamp twice":      documentWith(twice),
		"timestamp is text":    stamp("1795342800000"),
		"timestamp is null":    stamp(nil),
		"timestamp below zero": stamp(-5),
		"seconds":              stamp(uint64(begin.Unix())),
		"nanoseconds":          stamp(uint64(begin.UnixNano())),
		"highest":              stamp(uint64(1<<64 - 1)),
		"too long":             bytes.Repeat([]byte{0}, nsm.MaxDocumentSize+1),
	} {
		if got, err := timeOf(t, document); err == nil {
			t.Errorf("%s: got %v, want an error", name, got)
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, options := range []nsmtest.Options{{Indefinite: true}, {}, {Emulated: true}} {
		module, err := nsmtest.New(options)
		if err != nil {
			f.Fatal(err)
		}
		document, err := module.Device().Attest(f.Context(), nsm.Request{Nonce: []byte{1}})
		if err != nil {
			f.Fatal(err)
		}
		if _, err := timeOf(f, document); err != nil {
			f.Fatalf("a document of the module: %v", err)
		}
		f.Add(document)
	}
	f.Add(documentOf(begin))
	f.Fuzz(func(t *testing.T, document []byte) {
		if got, err := timeOf(t, document); err == nil && (got.Year() < 2026 || got.Year() > 2200) {
			t.Errorf("got %v", got)
		}
	})
}
