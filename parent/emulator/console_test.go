package emulator_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"holdfast/parent/emulator"
)

// A gate is a writer that waits until it is opened.
type gate struct {
	open chan struct{}
	got  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return g.got.Write(p)
}

func TestTheConsoleIsCopiedWhole(t *testing.T) {
	var got bytes.Buffer
	c := emulator.NewConsole(&got)
	want := strings.Repeat("0123456789\n", 9000)
	for rest := want; rest != ""; {
		n := min(777, len(rest))
		if wrote, err := c.Write([]byte(rest[:n])); wrote != n || err != nil {
			t.Fatalf("Write = %d, %v; want %d and no error", wrote, err, n)
		}
		rest = rest[n:]
	}
	c.Close()
	<-c.Drained()
	if got.String() != want {
		t.Errorf("copied %d bytes, want the %d that were written", got.Len(), len(want))
	}
}

func TestASlowReaderLosesBytesAndIsTold(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	c := emulator.NewConsole(g)
	chunk := bytes.Repeat([]byte("x"), 1<<10)
	const chunks = 3 * emulator.PendingSize / (1 << 10)
	for range chunks {
		c.Write(chunk)
	}
	fmt.Fprint(c, "\nlast line\n")
	close(g.open)
	c.Close()
	<-c.Drained()
	kept := strings.Count(g.got.String(), "x")
	if kept == 0 || kept > 2*emulator.PendingSize {
		t.Errorf("kept %d bytes, want some, at most twice the bound %d", kept, emulator.PendingSize)
	}
	lost := chunks<<10 + len("\nlast line\n") - kept
	if want := fmt.Sprintf("[%d bytes of the console lost: the reader is too slow]", lost); !strings.Contains(g.got.String(), want) {
		t.Errorf("the reader was not told %q", want)
	}
	if got := c.Tail(); !strings.HasSuffix(got, "last line") {
		t.Errorf("tail ends %q, want the last line even so", got[len(got)-20:])
	}
}

type brokenWriter struct{ calls int }

func (w *brokenWriter) Write([]byte) (int, error) {
	w.calls++
	return 0, errors.New("disk full")
}

func TestAWriterThatFailsGetsNoMore(t *testing.T) {
	w := &brokenWriter{}
	c := emulator.NewConsole(w)
	for range 100 {
		fmt.Fprintln(c, "line")
	}
	c.Close()
	<-c.Drained()
	if w.calls != 1 {
		t.Errorf("%d writes after the first failed, want none", w.calls-1)
	}
	if got := c.Tail(); strings.Count(got, "line") != emulator.TailLines {
		t.Errorf("tail = %q, want the last %d lines", got, emulator.TailLines)
	}
}

func TestTheTailHasTheLastLines(t *testing.T) {
	c := emulator.NewConsole(nil)
	defer c.Close()
	if got := c.Tail(); !strings.Contains(got, "empty") {
		t.Errorf("tail of nothing = %q, want it to say so", got)
	}
	for i := range 50 {
		fmt.Fprintf(c, "line %d\r\n", i)
	}
	fmt.Fprint(c, strings.Repeat("y", 2*emulator.TailLineSize))
	lines := strings.Split(c.Tail(), "\n")
	if len(lines) != emulator.TailLines+1 || lines[0] != "  line 30" {
		t.Errorf("tail has %d lines from %q, want %d from line 30", len(lines), lines[0], emulator.TailLines+1)
	}
	if got := len(lines[len(lines)-1]); got != emulator.TailLineSize+2 {
		t.Errorf("the unfinished line has %d bytes, want it cut at %d", got, emulator.TailLineSize)
	}
}

func TestThePanicsReasonIsTheFirst(t *testing.T) {
	c := emulator.NewConsole(nil)
	defer c.Close()
	fmt.Fprint(c, "[    1.300000] Kernel panic - not sync")
	if got := c.Panicked(); got != "" {
		t.Errorf("a panic %q in half a line", got)
	}
	fmt.Fprint(c, "ing: VFS: Unable to mount root fs\r\n[ 1.4] Kernel panic - not syncing: again\n")
	if got, want := c.Panicked(), "VFS: Unable to mount root fs"; got != want {
		t.Errorf("panic = %q, want %q", got, want)
	}
}

func FuzzTheTailIsBoundedAndPrintable(f *testing.F) {
	f.Add([]byte("a\x1b[31mred\x1b[0m\n"))
	f.Add([]byte{0xff, 0xfe, '\n', 0, 7, 8, '\r', '\n'})
	f.Add(bytes.Repeat([]byte("é\n"), 100))
	f.Add(bytes.Repeat([]byte("\u202e"), 500))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := emulator.NewConsole(nil)
		defer c.Close()
		c.Write(data)
		tail := c.Tail()
		if !utf8.ValidString(tail) {
			t.Fatalf("tail %q is not UTF-8", tail)
		}
		for _, r := range tail {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Fatalf("tail has the unprintable %U", r)
			}
		}
		if lines := strings.Count(tail, "\n") + 1; lines > emulator.TailLines+1 {
			t.Fatalf("tail has %d lines", lines)
		}
	})
}
