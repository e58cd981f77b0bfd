package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

func TestACallThatIsNotInitsIsAUsageError(t *testing.T) {
	for _, args := range [][]string{
		nil, {"-parent-cid"}, {"-parent-cid", "x"}, {"-parent-cid", "0"}, {"-parent-cid", "1"}, {"-parent-cid", "-3"},
		{"-parent-cid", "4294967295"}, {"-parent-cid", "18446744073709551619"}, {"-parent-cid", "3", "more"},
		{"-parent-cid", "3", "-insecure"}, {"-listen", ":5000"}, {"-h"},
	} {
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); got != exitUsage {
			t.Errorf("%q: got exit code %d, want %d", args, got, exitUsage)
		}
		if !strings.Contains(stderr.String(), "usage: enclave -parent-cid N") || stdout.Len() != 0 {
			t.Errorf("%q: got %q on standard error and %q on standard output", args, stderr.String(), stdout.String())
		}
	}
}

func TestTheParentIsParsed(t *testing.T) {
	for _, cid := range []string{"2", "3", "16", "4294967294"} {
		if _, err := parse([]string{"-parent-cid", cid}); err != nil {
			t.Errorf("%s: %v", cid, err)
		}
	}
}

func TestWithoutAModuleNothingIsServed(t *testing.T) {
	if _, err := os.Stat("/dev/nsm"); err == nil {
		t.Fatal("this machine has /dev/nsm; this test is not for an enclave")
	}
	var stderr bytes.Buffer
	got := run(context.Background(), []string{"-parent-cid", "3"}, nil, nil, &stderr)
	if got != exitFailed || !strings.Contains(stderr.String(), "/dev/nsm") {
		t.Errorf("got exit code %d and %q, want %d and the device named", got, stderr.String(), exitFailed)
	}
}
