package clock_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hf/nsm/request"

	"holdfast/enclave/clock"
	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/enclave/slashing"
)

var begin = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

// world is a module and a monotonic clock whose times the test sets.
type world struct {
	mu        sync.Mutex
	module    time.Time
	monotonic time.Duration
	err       error         // of the next exchanges
	delay     time.Duration // that an exchange takes
	log       bytes.Buffer
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.module = w.module.Add(d)
	w.monotonic += d
}

func (w *world) step(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.module = w.module.Add(d)
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.module
}

func newWorld(t *testing.T, emulated bool) (*world, *clock.Clock) {
	t.Helper()
	w := &world{module: begin, monotonic: time.Hour}
	module, err := nsmtest.New(nsmtest.Options{
		Now:        w.now,
		Emulated:   emulated,
		Indefinite: true,
		Before: func(request.Request) error {
			w.pass(w.delay)
			return w.err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := clock.New(clock.Options{
		Module: module.Device(),
		Log:    slog.New(slog.NewTextHandler(&w.log, nil)),
		Monotonic: func() time.Duration {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.monotonic
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

func synced(t *testing.T, c *clock.Clock) {
	t.Helper()
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, c *clock.Clock, wanted time.Time) {
	t.Helper()
	if got, err := c.Now(); err != nil || !got.Equal(wanted) {
		t.Errorf("got %v, %v; want %v", got, err, wanted)
	}
}

func TestAClockThatNeverReadFails(t *testing.T) {
	_, c := newWorld(t, false)
	if got, err := c.Now(); !errors.Is(err, clock.ErrNotRead) || !got.IsZero() {
		t.Errorf("got %v, %v", got, err)
	}
	if c.Status() != (clock.Status{}) {
		t.Errorf("got %+v", c.Status())
	}
}

func TestAClockNeedsAModuleAndALog(t *testing.T) {
	if _, err := clock.New(clock.Options{}); err == nil {
		t.Error("it was made")
	}
}

func TestTimeIsTheModulesAndGoesOn(t *testing.T) {
	for _, emulated := range []bool{false, true} {
		w, c := newWorld(t, emulated)
		synced(t, c)
		want(t, c, begin)
		w.pass(90 * time.Second)
		want(t, c, begin.Add(90*time.Second))
		w.step(time.Hour) // nobody has asked the module
		want(t, c, begin.Add(90*time.Second))
	}
}

func TestAReadingCountsFromItsAnswer(t *testing.T) {
	w, c := newWorld(t, false)
	synced(t, c)
	w.pass(time.Minute)
	w.delay = 3 * time.Second // passes before the module makes its document
	synced(t, c)
	want(t, c, begin.Add(63*time.Second))
	if steps := c.Status().Steps; steps != 0 {
		t.Errorf("got %d steps, want none", steps)
	}
}

func TestAStepForwardIsBelievedLoggedAndCounted(t *testing.T) {
	w, c := newWorld(t, false)
	synced(t, c)
	w.pass(time.Minute)
	w.step(time.Hour)
	synced(t, c)
	want(t, c, begin.Add(time.Hour+time.Minute))
	if s := c.Status(); s.Steps != 1 || s.LastStep != time.Hour || s.Readings != 2 {
		t.Errorf("got %+v, want a step of an hour", s)
	}
	if !strings.Contains(w.log.String(), "stepped") || !strings.Contains(w.log.String(), "step=1h0m0s") {
		t.Errorf("logged %q", w.log.String())
	}
}

func TestAfterAStepBackTimeStandsStill(t *testing.T) {
	w, c := newWorld(t, false)
	synced(t, c)
	w.pass(time.Minute)
	want(t, c, begin.Add(time.Minute))
	w.step(-1800 * time.Millisecond)
	synced(t, c)
	want(t, c, begin.Add(time.Minute))
	w.pass(1700 * time.Millisecond)
	want(t, c, begin.Add(time.Minute))
	w.pass(time.Second)
	want(t, c, begin.Add(time.Minute+900*time.Millisecond))
	if s := c.Status(); s.Steps != 1 || s.LastStep != -1800*time.Millisecond {
		t.Errorf("got %+v, want a step back", s)
	}
}

func TestAfterALongStepBackThereIsNoTimeUntilItCatchesUp(t *testing.T) {
	w, c := newWorld(t, false)
	synced(t, c)
	w.pass(time.Minute)
	want(t, c, begin.Add(time.Minute))
	w.step(-10 * time.Second)
	synced(t, c)
	if got, err := c.Now(); err == nil || !strings.Contains(err.Error(), "went back") {
		t.Errorf("got %v, %v; want a refusal", got, err)
	}
	w.pass(9 * time.Second)
	want(t, c, begin.Add(time.Minute))
	w.pass(2 * time.Second)
	want(t, c, begin.Add(time.Minute+time.Second))
}

func TestDriftAndRoundingAreNoSteps(t *testing.T) {
	w, c := newWorld(t, false)
	synced(t, c)
	for range 20 {
		w.pass(time.Minute)
		w.step(50 * time.Millisecond)
		synced(t, c)
		w.pass(time.Minute)
		w.step(-1100 * time.Millisecond)
		synced(t, c)
		w.step(1050 * time.Millisecond)
	}
	if s := c.Status(); s.Steps != 0 {
		t.Errorf("got %+v, want no step", s)
	}
}

func TestAModuleThatCannotBeAskedStopsTheClock(t *testing.T) {
	w, c := newWorld(t, false)
	synced(t, c)
	w.err = errors.New("the device is gone")
	for range 5 {
		w.pass(clock.MaxAge / 5)
		if err := c.Sync(t.Context()); !errors.Is(err, w.err) {
			t.Errorf("got %v, want %v", err, w.err)
		}
	}
	want(t, c, begin.Add(clock.MaxAge))
	w.pass(time.Second)
	if got, err := c.Now(); err == nil {
		t.Errorf("got %v from a reading of more than %v ago", got, clock.MaxAge)
	}
	if s := c.Status(); s.Failures != 5 || s.Readings != 1 || s.Age != clock.MaxAge+time.Second {
		t.Errorf("got %+v", s)
	}
	w.err = nil
	synced(t, c)
	want(t, c, begin.Add(clock.MaxAge+time.Second))
}

// The promise that slashing protection rests on, whatever the module's time does.
func TestReadingsNeverGoBackNorFarAhead(t *testing.T) {
	if clock.MaxAhead > slashing.ClockMargin/2 {
		t.Fatalf("a reading may be %v ahead, a floor allows %v", clock.MaxAhead, slashing.ClockMargin/2)
	}
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 1))
		w, c := newWorld(t, seed%2 == 0)
		var last time.Time
		told := 0
		for range 300 {
			w.pass(time.Duration(random.Int64N(int64(40 * time.Second))))
			if random.IntN(3) == 0 {
				w.err = nil
				if random.IntN(4) == 0 {
					w.err = fmt.Errorf("no answer")
				}
				if random.IntN(5) == 0 {
					w.step(time.Duration(random.Int64N(int64(8*time.Second))) - 4*time.Second)
				}
				_ = c.Sync(t.Context())
			}
			got, err := c.Now()
			if err != nil {
				continue
			}
			told++
			if got.Before(last) {
				t.Fatalf("seed %d: went back from %v to %v", seed, last, got)
			}
			last = got
			// A step that no reading has seen yet is the module's, not the clock's.
			if w.err == nil && c.Status().Age == 0 && got.Sub(w.now()) > clock.MaxAhead {
				t.Fatalf("seed %d: %v ahead of the module", seed, got.Sub(w.now()))
			}
		}
		if told < 80 {
			t.Errorf("seed %d: told the time only %d times", seed, told)
		}
	}
}

func TestRunReadsEveryIntervalAndSoonerAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var failing bool
		var asked []time.Duration
		start := time.Now()
		module := attester(func(context.Context, nsm.Request) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, time.Since(start))
			if failing {
				return nil, errors.New("no answer")
			}
			return documentOf(begin.Add(time.Since(start))), nil
		})
		c, err := clock.New(clock.Options{Module: module, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); c.Run(ctx) }()
		time.Sleep(2*clock.Interval + 3*time.Second)
		mu.Lock()
		failing = true
		mu.Unlock()
		time.Sleep(clock.Interval + 4*time.Second)
		cancel()
		<-done
		third := 3 * clock.Interval
		want := []time.Duration{clock.Interval, 2 * clock.Interval, third, third + 5*time.Second}
		if fmt.Sprint(asked) != fmt.Sprint(want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
		if now, err := c.Now(); err != nil || !now.Equal(begin.Add(third+7*time.Second)) {
			t.Errorf("got %v, %v", now, err)
		}
	})
}

// A module that hangs holds up neither Now nor, for long, Sync.
func TestAModuleThatHangsIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangs := attester(func(ctx context.Context, _ nsm.Request) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		c, err := clock.New(clock.Options{Module: hangs, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := c.Sync(t.Context()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

type attester func(context.Context, nsm.Request) ([]byte, error)

func (a attester) Attest(ctx context.Context, r nsm.Request) ([]byte, error) { return a(ctx, r) }
