package qemu

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
)

// Bounds on what of the build's output is kept for an error.
const (
	tailLines = 30
	lineBytes = 1000 // a compiler's command line may be longer; its end is cut
)

// A buildLog takes the build's output, reports ninja's progress and keeps the last lines. Its methods
// may be called from several goroutines, as the sandbox copies stdout and stderr each in its own.
type buildLog struct {
	mu     sync.Mutex
	report func(done, total int64) // told of each of ninja's steps
	line   []byte                  // the unfinished line, at most lineBytes of it
	last   []string                // the last finished lines, oldest first
}

func (l *buildLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		part, after, ended := bytes.Cut(rest, []byte{'\n'})
		l.line = append(l.line, part[:min(len(part), lineBytes-len(l.line))]...)
		if ended {
			l.endLine()
		}
		rest = after
	}
	return len(p), nil
}

func (l *buildLog) endLine() {
	line := string(l.line)
	l.line = l.line[:0]
	if done, total, ok := ninjaStep(line); ok {
		l.report(done, total)
	}
	l.last = append(l.last, line)
	if len(l.last) > tailLines {
		l.last = l.last[1:]
	}
}

// tail returns the last lines, the unfinished one included.
func (l *buildLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.last
	if len(l.line) > 0 {
		lines = append(lines[:len(lines):len(lines)], string(l.line))
	}
	return strings.Join(lines, "\n")
}

// ninjaStep reads the "[n/m]" that ninja puts before each of its steps.
func ninjaStep(line string) (done, total int64, ok bool) {
	n, err := fmt.Sscanf(line, "[%d/%d] ", &done, &total)
	if err != nil || n != 2 || done < 0 || done > total {
		return 0, 0, false
	}
	return done, total, true
}
