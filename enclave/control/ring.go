package control

import (
	"bytes"
	"sync"

	"holdfast/enclave/control/message"
)

// Bounds of a ring: lines kept, and bytes kept of each.
const (
	ringLines   = 2048
	maxLineSize = 2048
)

// A Ring keeps the last lines of a log for the parent to fetch, since an enclave
// has no console on Nitro but in debug mode. It is an [io.Writer] for a handler of
// log/slog, which writes a line a call. The zero value is empty.
type Ring struct {
	mu    sync.Mutex
	lines [ringLines]string
	next  uint64 // number of the next line; the first is 0
}

// Write keeps a line. It never fails.
func (r *Ring) Write(line []byte) (int, error) {
	kept := bytes.TrimRight(line, "\n")
	if len(kept) > maxLineSize {
		kept = kept[:maxLineSize]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[r.next%ringLines] = string(kept)
	r.next++
	return len(line), nil
}

// After returns the lines from number after on, and how many of those were lost.
// A number that is not reached yet, from before a restart, stands for the first.
func (r *Ring) After(after uint64) message.Logs {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after > r.next {
		after = 0
	}
	first := after
	if r.next > ringLines {
		first = max(after, r.next-ringLines)
	}
	logs := message.Logs{Lines: make([]string, 0, r.next-first), Next: r.next, Dropped: first - after}
	for n := first; n < r.next; n++ {
		logs.Lines = append(logs.Lines, r.lines[n%ringLines])
	}
	return logs
}
