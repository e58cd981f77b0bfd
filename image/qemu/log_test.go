package qemu

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func quietLog() *buildLog { return &buildLog{report: func(done, total int64) {}} }

func TestNinjaStepsAreRead(t *testing.T) {
	for _, c := range []struct {
		line        string
		done, total int64
		ok          bool
	}{
		{"[1/1292] Generating trace/trace.c", 1, 1292, true},
		{"[1292/1292] Linking target qemu-system-x86_64", 1292, 1292, true},
		{"[7/6] more than there are", 0, 0, false},
		{"[-1/6] negative", 0, 0, false},
		{"FAILED: [code=1] tcg.c.o", 0, 0, false},
		{"[1/", 0, 0, false},
		{"", 0, 0, false},
	} {
		done, total, ok := ninjaStep(c.line)
		if done != c.done || total != c.total || ok != c.ok {
			t.Errorf("ninjaStep(%q) = %d, %d, %v; want %d, %d, %v", c.line, done, total, ok, c.done, c.total, c.ok)
		}
	}
}

func TestTheLogKeepsTheLastLinesOnly(t *testing.T) {
	log := quietLog()
	for i := range 100 {
		fmt.Fprintf(log, "line %d\n", i)
	}
	fmt.Fprint(log, "no newline")
	lines := strings.Split(log.tail(), "\n")
	if len(lines) != tailLines+1 || lines[0] != "line 70" || lines[tailLines] != "no newline" {
		t.Errorf("tail = %d lines from %q to %q, want %d from line 70 to the unfinished one",
			len(lines), lines[0], lines[len(lines)-1], tailLines+1)
	}
}

func TestALineInPiecesIsOneLine(t *testing.T) {
	log := quietLog()
	for _, piece := range []string{"[3/", "4] Comp", "iling\nnext", "\n"} {
		fmt.Fprint(log, piece)
	}
	if got, want := log.tail(), "[3/4] Compiling\nnext"; got != want {
		t.Errorf("tail = %q, want %q", got, want)
	}
}

func TestALongLineIsCut(t *testing.T) {
	log := quietLog()
	for range 10 {
		fmt.Fprint(log, strings.Repeat("x", lineBytes-1))
	}
	fmt.Fprint(log, "\nshort\n")
	if got, want := log.tail(), strings.Repeat("x", lineBytes)+"\nshort"; got != want {
		t.Errorf("tail has %d bytes, want %d", len(got), len(want))
	}
}

func TestEveryStepIsReportedOnce(t *testing.T) {
	var got []int64
	log := &buildLog{report: func(done, total int64) { got = append(got, done, total) }}
	fmt.Fprint(log, "configured\n[1/5] Compiling a\nwarning: [2/5]\n[2/5] Compi")
	fmt.Fprint(log, "ling b\n")
	if want := []int64{1, 5, 2, 5}; !slices.Equal(got, want) {
		t.Errorf("reported %v, want %v", got, want)
	}
}

func FuzzTheLogIsBoundedAndTakesEverything(f *testing.F) {
	f.Add([]byte("[1/2] a\n[2/2] b\n"), 3)
	f.Add([]byte(strings.Repeat("\n", 99)), 1)
	f.Add(bytes.Repeat([]byte("y"), 3*lineBytes), 7)
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		size = max(1, size)
		log := quietLog()
		for rest := data; len(rest) > 0; {
			n, err := log.Write(rest[:min(size, len(rest))])
			if err != nil || n != min(size, len(rest)) {
				t.Fatalf("Write = %d, %v; want all and no error", n, err)
			}
			rest = rest[n:]
		}
		if got := len(log.tail()); got > (tailLines+1)*(lineBytes+1) {
			t.Fatalf("tail has %d bytes", got)
		}
	})
}
