package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The heartbeat is a convention of the launcher: nitro-cli ends an enclave
// that does not call port 9000 of its parent, send one byte and get it back.
const (
	heartbeatPort = 9000
	heartbeatByte = 0xb7

	// heartbeatTimeout bounds the whole, heartbeatAttempt one call, and
	// heartbeatPause the haste with which a refused call is repeated.
	heartbeatTimeout = 30 * time.Second
	heartbeatAttempt = 5 * time.Second
	heartbeatPause   = 100 * time.Millisecond
)

// parentCIDs are the context identifiers under which a parent may be reached:
// 3 on Nitro, 2 under vhost-device-vsock. A call to the other may hang.
var parentCIDs = []uint32{3, 2}

// An exchange sends one byte to a port and returns the byte that comes back.
// It ends with ctx.
type exchange func(ctx context.Context, cid, port uint32, message byte) (byte, error)

// heartbeat calls all cids at once and returns the first that answers. Each is
// called again until heartbeatTimeout.
func heartbeat(ctx context.Context, call exchange, cids []uint32) (uint32, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	type result struct {
		cid uint32
		err error
	}
	results := make(chan result, len(cids))
	for _, cid := range cids {
		go func() { results <- result{cid, beat(ctx, call, cid)} }()
	}
	var failures []error
	for range cids {
		r := <-results
		if r.err == nil {
			return r.cid, nil
		}
		failures = append(failures, fmt.Errorf("CID %d: %w", r.cid, r.err))
	}
	return 0, fmt.Errorf("no parent answered: %w", errors.Join(failures...))
}

// beat calls one parent until it answers rightly or ctx ends. Its error is
// that of the last call.
func beat(ctx context.Context, call exchange, cid uint32) error {
	for {
		err := beatOnce(ctx, call, cid)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(heartbeatPause):
		}
	}
}

func beatOnce(ctx context.Context, call exchange, cid uint32) error {
	ctx, cancel := context.WithTimeout(ctx, heartbeatAttempt)
	defer cancel()
	answer, err := call(ctx, cid, heartbeatPort, heartbeatByte)
	if err == nil && answer != heartbeatByte {
		err = fmt.Errorf("got %#02x, want %#02x", answer, heartbeatByte)
	}
	return err
}
