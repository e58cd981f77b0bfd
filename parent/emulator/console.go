package emulator

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
)

// Bounds on what of the console is kept.
const (
	tailLines    = 20      // for errors
	tailLineSize = 300     // bytes of a line that an error shows
	pendingSize  = 1 << 20 // bytes that may wait for a slow writer
)

// panicMark begins the kernel's last words (kernel/panic.c).
const panicMark = "Kernel panic - not syncing: "

// A console takes what the guest prints. It never makes the guest wait: what a slow writer cannot
// take is dropped, and the writer is told how many bytes.
type console struct {
	mu      sync.Mutex
	wake    *sync.Cond
	pending []byte // waits for the writer
	lost    int    // bytes dropped since the last were taken
	closed  bool
	line    []byte   // the unfinished line
	last    []string // the last finished lines, oldest first
	panic   string   // the kernel's reason, once it has panicked

	drained chan struct{} // closed when the writer has all it will get
}

// newConsole copies to w, which may be nil.
func newConsole(w io.Writer) *console {
	c := &console{drained: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	if w == nil {
		w = io.Discard
	}
	go c.copyTo(w)
	return c
}

// Write never fails and never waits.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if room := pendingSize - len(c.pending); len(p) > room || c.lost > 0 {
		c.lost += len(p)
	} else {
		c.pending = append(c.pending, p...)
	}
	c.wake.Signal()
	c.keep(p)
	return len(p), nil
}

// keep cuts p into lines for the tail.
func (c *console) keep(p []byte) {
	for len(p) > 0 {
		part, after, ended := bytes.Cut(p, []byte{'\n'})
		c.line = append(c.line, part[:min(len(part), tailLineSize-len(c.line))]...)
		if ended {
			c.endLine()
		}
		p = after
	}
}

func (c *console) endLine() {
	line := printable(c.line)
	c.line = c.line[:0]
	if _, reason, ok := strings.Cut(line, panicMark); ok && c.panic == "" {
		c.panic = reason
	}
	c.last = append(c.last, line)
	if len(c.last) > tailLines {
		c.last = c.last[1:]
	}
}

// printable makes a line of the guest's safe to show: the guest must not steer a terminal.
func printable(line []byte) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r == '\r':
			return -1
		case unicode.IsPrint(r):
			return r
		}
		return '?'
	}, string(line))
}

// copyTo writes what is pending until close. A writer that fails gets no more.
func (c *console) copyTo(w io.Writer) {
	defer close(c.drained)
	for {
		data, lost, ok := c.take()
		if !ok {
			return
		}
		if _, err := w.Write(data); err != nil {
			w = io.Discard
		}
		if lost > 0 {
			fmt.Fprintf(w, "\n[%d bytes of the console lost: the reader is too slow]\n", lost)
		}
	}
}

// take waits for bytes, or for the end; ok is false when there are no more.
func (c *console) take() (data []byte, lost int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.pending) == 0 && c.lost == 0 && !c.closed {
		c.wake.Wait()
	}
	data, c.pending = c.pending, nil
	lost, c.lost = c.lost, 0
	return data, lost, len(data) > 0 || lost > 0
}

// close ends the copying; what is pending is still written. It does not wait for a writer that blocks:
// drained tells.
func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake.Signal()
}

// tail returns the last lines, the unfinished one included, each indented.
func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	lines := c.last
	if len(c.line) > 0 {
		lines = append(lines[:len(lines):len(lines)], printable(c.line))
	}
	if len(lines) == 0 {
		return "  (the console is empty)"
	}
	return "  " + strings.Join(lines, "\n  ")
}

// panicked returns the kernel's reason to panic, or "".
func (c *console) panicked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.panic
}
