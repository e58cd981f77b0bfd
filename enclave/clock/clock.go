// Package clock tells the time that the parent instance cannot set: that of the
// Nitro Security Module, which puts a timestamp into every attestation document.
//
// A [Clock] reads the module's time at its start and regularly after, and counts on
// with the kernel's monotonic clock in between. What it promises is what slashing
// protection rests on:
//
//   - Its readings never go back.
//   - A reading is at most [MaxAhead] ahead of the module's time. A reading of the
//     module counts from when its answer came, so the clock lags by what the answer
//     took, and by what the module rounds off: Nitro's counts milliseconds, QEMU's
//     whole seconds.
//   - When the module could not be asked for [MaxAge], or its time went back too far,
//     there is no reading but an error, until the module's time is known again.
//
// The module's time may step. A step forward is believed at once: what the clock may
// not do is to be ahead. After a step back readings stand still until the module's
// time has caught up, and fail when that is more than [maxHold] away. Either is logged
// and counted.
package clock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/enclave/nsm"
)

const (
	// Interval is the time between two readings of the module.
	Interval = 10 * time.Second

	// retryAfter follows a reading that failed.
	retryAfter = 5 * time.Second

	// timeout bounds one reading. The module answers in milliseconds, in turn.
	timeout = 5 * time.Second

	// MaxAge is how long a reading of the module is counted on from.
	MaxAge = 5 * time.Minute

	// maxHold is how long readings stand still for the module's time to catch up.
	maxHold = 2 * time.Second

	// drift is how much the monotonic clock may gain or lose in a second of the
	// module's: 1000 ppm, twice what the kernel's own discipline would correct.
	drift = time.Second / 1000

	// MaxAhead bounds how far a reading is ahead of the module's time: standing still,
	// and drift since the last reading of the module.
	MaxAhead = maxHold + time.Duration(MaxAge/time.Second)*drift

	// tolerance is the difference between the module's time and that counted on that
	// is no step: a second that the module rounds off, and a half for the machine to
	// be slow in.
	tolerance = 1500 * time.Millisecond
)

// ErrNotRead is the error of a clock that never read the module's time.
var ErrNotRead = errors.New("the module's time was not read yet")

// A Module makes attestation documents. [nsm.Device] is one.
type Module interface {
	Attest(context.Context, nsm.Request) ([]byte, error)
}

// Options describe a clock. Module and Log are needed.
type Options struct {
	Module Module
	Log    *slog.Logger

	// Monotonic returns the time since some fixed moment and never goes back. It is
	// the kernel's monotonic clock if nil.
	Monotonic func() time.Duration
}

// A Clock tells the module's time. Make one with [New], then call [Clock.Sync] and
// let [Clock.Run] go on. Any number of goroutines may use it.
type Clock struct {
	module    Module
	log       *slog.Logger
	monotonic func() time.Duration

	syncing sync.Mutex // held while the module is read
	mu      sync.Mutex // guards what follows
	anchor  reading
	told    time.Time // the latest time that Now returned
	status  Status
}

// reading is one of the module's time.
type reading struct {
	time time.Time     // zero if there was none
	at   time.Duration // when the answer came, on the monotonic clock
	took time.Duration // from the question to the answer
}

// after returns the module's time as counted on to a later moment.
func (r reading) after(now time.Duration) time.Time { return r.time.Add(now - r.at) }

// Status is what there is to know of a clock, for metrics.
type Status struct {
	Age      time.Duration // since the last reading of the module; 0 if there was none
	Readings uint64        // that succeeded
	Failures uint64        // readings that did not
	Steps    uint64        // of the module's time, in either direction
	LastStep time.Duration // below zero if it went back
}

// New makes a clock that does not know the time yet.
func New(o Options) (*Clock, error) {
	if o.Module == nil || o.Log == nil {
		return nil, errors.New("clock: needs a module and a log")
	}
	if o.Monotonic == nil {
		start := time.Now()
		o.Monotonic = func() time.Duration { return time.Since(start) }
	}
	return &Clock{module: o.Module, log: o.Log, monotonic: o.Monotonic}, nil
}

// Run reads the module's time every [Interval], and sooner after a failure, until ctx
// ends. Failures are logged.
func (c *Clock) Run(ctx context.Context) {
	wait := Interval
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = Interval
		if err := c.Sync(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			c.log.Warn("the module's time could not be read", "error", err, "age", c.Status().Age)
			wait = retryAfter
		}
	}
}

// Sync reads the module's time. It takes at most five seconds.
func (c *Clock) Sync(ctx context.Context) error {
	c.syncing.Lock()
	defer c.syncing.Unlock()
	now, err := c.read(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.status.Failures++
		return fmt.Errorf("clock: %w", err)
	}
	c.note(now)
	c.anchor = now
	c.status.Readings++
	return nil
}

// read asks the module for a document, for its timestamp alone.
func (c *Clock) read(ctx context.Context) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	asked := c.monotonic()
	document, err := c.module.Attest(ctx, nsm.Request{})
	if err != nil {
		return reading{}, err
	}
	answered := c.monotonic()
	timestamp, err := parseTimestamp(document)
	return reading{time: timestamp, at: answered, took: answered - asked}, err
}

// note logs and counts a step: more than what two readings may differ by honestly.
func (c *Clock) note(now reading) {
	if c.anchor.time.IsZero() {
		return
	}
	elapsed := now.at - c.anchor.at
	step := now.time.Sub(c.anchor.after(now.at))
	allowed := tolerance + now.took + c.anchor.took + time.Duration(float64(drift)*elapsed.Seconds())
	if step.Abs() <= allowed {
		return
	}
	c.status.Steps++
	c.status.LastStep = step
	c.log.Warn("the module's time stepped", "step", step, "allowed", allowed, "since_last_reading", elapsed, "time", now.time)
}

// Now returns the module's time, or why it is not known.
func (c *Clock) Now() (time.Time, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.anchor.time.IsZero() {
		return time.Time{}, ErrNotRead
	}
	monotonic := c.monotonic()
	if age := monotonic - c.anchor.at; age > MaxAge {
		return time.Time{}, fmt.Errorf("the module's time was read %v ago, which is more than %v", age.Round(time.Second), MaxAge)
	}
	now := c.anchor.after(monotonic)
	switch ahead := c.told.Sub(now); {
	case ahead > maxHold:
		return time.Time{}, fmt.Errorf("the module's time went back: it is %v behind what it was, more than %v", ahead, maxHold)
	case ahead > 0:
		return c.told, nil
	}
	c.told = now
	return now, nil
}

// Status returns what there is to know of the clock.
func (c *Clock) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	status := c.status
	if !c.anchor.time.IsZero() {
		status.Age = c.monotonic() - c.anchor.at
	}
	return status
}
