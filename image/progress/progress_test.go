package progress

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// recorder returns a Reporter on a clock that the test moves.
func recorder(terminal bool) (*Reporter, *bytes.Buffer, *time.Time) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	return &Reporter{w: &out, terminal: terminal, now: func() time.Time { return now }}, &out, &now
}

func TestALogShowsAStageAtACalmPace(t *testing.T) {
	r, out, now := recorder(false)
	s := r.Stage("kernel")
	for i := range 30 {
		*now = now.Add(time.Second)
		s.Update(int64(i+1), 600, "objects")
	}
	s.Done("3.1 MB")
	want := "kernel     10 of 600 objects (10.0 s)\nkernel     20 of 600 objects (20.0 s)\nkernel     30 of 600 objects (30.0 s)\nkernel     3.1 MB (30.0 s)\n"
	if out.String() != want {
		t.Fatalf("got %q\nwant %q", out, want)
	}
}

func TestATerminalIsRewrittenInPlaceAndClosed(t *testing.T) {
	r, out, now := recorder(true)
	s := r.Stage("fetch")
	*now = now.Add(time.Second)
	s.Update(1_500_000, 3_000_000, "bytes")
	r.Close()
	r.Close()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "\r\x1b[Kfetch      1.5 of 3.0 MB (1.0 s)\n") {
		t.Fatalf("got %q", got)
	}
}

func TestCachedIsSaidWithoutATime(t *testing.T) {
	r, out, _ := recorder(false)
	r.Stage("kernel").Cached("3.1 MB")
	if out.String() != "kernel     cached: 3.1 MB\n" {
		t.Fatalf("got %q", out)
	}
}

func TestOnlyTheFirstEndCounts(t *testing.T) {
	r, out, now := recorder(false)
	s := r.Stage("boot")
	s.Done("up")
	*now = now.Add(time.Minute)
	s.Update(1, 2, "objects")
	s.Done("again")
	if out.String() != "boot       up (0.0 s)\n" {
		t.Fatalf("got %q", out)
	}
}

func TestNothingIsReportedToANilReporter(t *testing.T) {
	var r *Reporter
	s := r.Stage("kernel")
	s.Update(1, 2, "objects")
	s.Cached("")
	s.Done("")
	r.Close()
}

func TestAmountsWithAndWithoutATotal(t *testing.T) {
	for _, c := range []struct {
		done, total int64
		unit, want  string
	}{
		{5, 0, "objects", "5 objects"},
		{5, 9, "objects", "5 of 9 objects"},
		{2_500_000, 0, "bytes", "2.5 MB"},
	} {
		if got := amount(c.done, c.total, c.unit); got != c.want {
			t.Errorf("amount(%d, %d, %q) = %q, want %q", c.done, c.total, c.unit, got, c.want)
		}
	}
	if got := seconds(125 * time.Second); got != "2m5s" {
		t.Errorf("seconds = %q", got)
	}
}
