package feed

import "time"

// Pauses after failures in a row.
const (
	firstPause   = 250 * time.Millisecond
	longestPause = time.Minute
)

// A backoff counts failures in a row. The zero value has seen none.
type backoff struct{ pause time.Duration }

// failed returns how long to wait now: twice as long as the last time, up to a minute.
func (b *backoff) failed() time.Duration {
	b.pause = min(max(2*b.pause, firstPause), longestPause)
	return b.pause
}

func (b *backoff) succeeded() { b.pause = 0 }
