package kernel

import (
	"bytes"
	"strings"
)

// tail keeps the last lines written to it, for an error's message.
type tail struct {
	lines []string
	part  []byte // the line that has no end yet
}

const (
	tailLines = 30
	tailLine  = 500 // bytes of a line that are kept
)

func (t *tail) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		t.part = append(t.part, line[:min(len(line), tailLine-len(t.part))]...)
		if !found {
			return n, nil
		}
		t.lines = append(t.lines, string(t.part))
		t.lines = t.lines[max(0, len(t.lines)-tailLines):]
		t.part = t.part[:0]
		p = rest
	}
}

// String returns the lines, each with its newline.
func (t *tail) String() string {
	lines := t.lines
	if len(t.part) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(t.part))
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	return b.String()
}

// counter counts the steps that make announces: lines of two spaces, a tool's name in capitals and a
// file, as in "  CC      init/main.o".
type counter struct {
	update func(steps int64)
	steps  int64
	line   []byte // the start of the line that has no end yet
}

func (c *counter) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, rest, found := bytes.Cut(p, []byte("\n"))
		c.line = append(c.line, line[:min(len(line), 3-len(c.line))]...)
		if !found {
			return n, nil
		}
		if isStep(c.line) {
			c.steps++
			c.update(c.steps)
		}
		c.line = c.line[:0]
		p = rest
	}
}

func isStep(start []byte) bool {
	return len(start) == 3 && start[0] == ' ' && start[1] == ' ' && 'A' <= start[2] && start[2] <= 'Z'
}
