// Package progress tells a person what a long build is doing: one line a stage, rewritten in place on
// a terminal, and repeated at a calm pace elsewhere, with how much is done and how long it has taken.
//
// A nil *Reporter, and the nil *Stage it gives, are silent, so that library code need not ask.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// A Reporter writes the stages of one command to one writer.
type Reporter struct {
	mu       sync.Mutex
	w        io.Writer
	terminal bool
	now      func() time.Time
	open     bool // an unfinished line stands on the terminal
}

// New returns a Reporter that writes to w, in place if w is a terminal.
func New(w io.Writer) *Reporter {
	f, ok := w.(*os.File)
	return &Reporter{w: w, terminal: ok && term.IsTerminal(int(f.Fd())), now: time.Now}
}

// The pace at which a stage that is under way is shown.
const (
	terminalPace = 100 * time.Millisecond
	logPace      = 10 * time.Second
)

// A Stage is one step of the work. Its methods may be called from several goroutines.
type Stage struct {
	r        *Reporter
	name     string
	start    time.Time
	shown    time.Time
	finished bool
}

// Stage begins a stage.
func (r *Reporter) Stage(name string) *Stage {
	if r == nil {
		return nil
	}
	now := r.now()
	s := &Stage{r: r, name: name, start: now, shown: now}
	if r.terminal {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.line(fmt.Sprintf("%-10s …", name), false)
	}
	return s
}

// Update says that done of total units are done. A total of zero means that it is not known. The unit
// "bytes" is shown as MB.
func (s *Stage) Update(done, total int64, unit string) {
	if s == nil {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	now, pace := s.r.now(), logPace
	if s.r.terminal {
		pace = terminalPace
	}
	if s.finished || now.Sub(s.shown) < pace {
		return
	}
	s.shown = now
	s.r.line(fmt.Sprintf("%-10s %s (%s)", s.name, amount(done, total, unit), seconds(now.Sub(s.start))), false)
}

// Done ends the stage with a note on what came of it.
func (s *Stage) Done(note string) { s.end(note, true) }

// Cached ends a stage whose result was already there.
func (s *Stage) Cached(note string) { s.end("cached: "+note, false) }

func (s *Stage) end(note string, timed bool) {
	if s == nil {
		return
	}
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if s.finished {
		return
	}
	s.finished = true
	if timed {
		note += " (" + seconds(s.r.now().Sub(s.start)) + ")"
	}
	s.r.line(fmt.Sprintf("%-10s %s", s.name, note), true)
}

// Close ends a line that was left standing on a terminal, as an error in the middle of a stage does.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open {
		fmt.Fprintln(r.w)
		r.open = false
	}
}

// line shows text; a line that is not final is rewritten by the next one on a terminal.
func (r *Reporter) line(text string, final bool) {
	if !r.terminal {
		fmt.Fprintln(r.w, text)
		return
	}
	fmt.Fprintf(r.w, "\r\x1b[K%s", text)
	if final {
		fmt.Fprintln(r.w)
	}
	r.open = !final
}

func amount(done, total int64, unit string) string {
	if unit == "bytes" {
		if total == 0 {
			return fmt.Sprintf("%.1f MB", float64(done)/1e6)
		}
		return fmt.Sprintf("%.1f of %.1f MB", float64(done)/1e6, float64(total)/1e6)
	}
	if total == 0 {
		return fmt.Sprintf("%d %s", done, unit)
	}
	return fmt.Sprintf("%d of %d %s", done, total, unit)
}

func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
