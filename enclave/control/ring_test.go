package control_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/enclave/control"
)

func TestAReaderThatKeepsUpSeesEveryLineOnce(t *testing.T) {
	var ring control.Ring
	next := uint64(0)
	for i := range 5000 {
		fmt.Fprintf(&ring, "line %d\n", i)
		logs := ring.After(next)
		if want := []string{fmt.Sprintf("line %d", i)}; !slices.Equal(logs.Lines, want) || logs.Dropped != 0 {
			t.Fatalf("got %q and %d dropped, want %q", logs.Lines, logs.Dropped, want)
		}
		next = logs.Next
	}
	if logs := ring.After(next); len(logs.Lines) != 0 || logs.Next != next {
		t.Errorf("got %v, want nothing new", logs)
	}
}

func TestAReaderThatIsLateIsToldHowMuchItMissed(t *testing.T) {
	var ring control.Ring
	const written = 5000
	for i := range written {
		fmt.Fprintf(&ring, "line %d\n", i)
	}
	logs := ring.After(10)
	if got := uint64(len(logs.Lines)) + logs.Dropped; got != written-10 || logs.Dropped == 0 {
		t.Errorf("got %d lines and %d dropped, want %d together", len(logs.Lines), logs.Dropped, written-10)
	}
	if last := logs.Lines[len(logs.Lines)-1]; last != fmt.Sprintf("line %d", written-1) {
		t.Errorf("got last line %q", last)
	}
}

func TestAReaderFromBeforeARestartBeginsAnew(t *testing.T) {
	var ring control.Ring
	fmt.Fprintln(&ring, "hello")
	if logs := ring.After(77); len(logs.Lines) != 1 || logs.Next != 1 {
		t.Errorf("got %+v, want the one line", logs)
	}
}

func TestALongLineIsCut(t *testing.T) {
	var ring control.Ring
	fmt.Fprintln(&ring, strings.Repeat("x", 1<<20))
	if got := len(ring.After(0).Lines[0]); got > 4096 {
		t.Errorf("got a line of %d bytes", got)
	}
}
