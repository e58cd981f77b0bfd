package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("connection refused")

func TestParentsAreCalledAtOnceAndTheOneThatAnswersDecides(t *testing.T) {
	for _, answering := range parentCIDs {
		synctest.Test(t, func(t *testing.T) {
			var both sync.WaitGroup
			both.Add(len(parentCIDs))
			call := func(ctx context.Context, cid, port uint32, message byte) (byte, error) {
				if port != 9000 || message != 0xb7 {
					t.Errorf("got port %d and byte %#x, want 9000 and 0xb7", port, message)
				}
				both.Done()
				both.Wait() // a call that waited for the other's end would deadlock here
				if cid == answering {
					return message, nil
				}
				<-ctx.Done()
				return 0, ctx.Err()
			}
			start := time.Now()
			got, err := heartbeat(t.Context(), call, parentCIDs)
			if err != nil || got != answering {
				t.Errorf("got CID %d, %v, want %d", got, err, answering)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("took %v, want no wait for the other", took)
			}
		})
	}
}

func TestARefusedOrWronglyAnsweredCallIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		call := func(_ context.Context, cid, _ uint32, message byte) (byte, error) {
			if cid != 3 {
				return 0, errRefused
			}
			switch calls.Add(1) {
			case 1:
				return 0, errRefused
			case 2:
				return 0x7b, nil
			}
			return message, nil
		}
		got, err := heartbeat(t.Context(), call, parentCIDs)
		if err != nil || got != 3 || calls.Load() != 3 {
			t.Errorf("got CID %d, %v after %d calls, want CID 3 after 3", got, err, calls.Load())
		}
	})
}

func TestACallThatHangsIsGivenUpAndRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		call := func(ctx context.Context, _, _ uint32, message byte) (byte, error) {
			if calls.Add(1) == 1 {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			return message, nil
		}
		if got, err := heartbeat(t.Context(), call, []uint32{3}); err != nil || got != 3 || calls.Load() != 2 {
			t.Errorf("got CID %d, %v after %d calls", got, err, calls.Load())
		}
	})
}

func TestWithoutAnAnswerTheHeartbeatFailsInTimeAndNamesEachParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := heartbeat(t.Context(), func(_ context.Context, cid, _ uint32, _ byte) (byte, error) {
			if cid == 2 {
				return 1, nil
			}
			return 0, errRefused
		}, parentCIDs)
		if took := time.Since(start); took != heartbeatTimeout {
			t.Errorf("took %v, want %v", took, heartbeatTimeout)
		}
		if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "CID 3: connection refused") ||
			!strings.Contains(err.Error(), "CID 2: got 0x01, want 0xb7") {
			t.Errorf("got %v", err)
		}
	})
}
