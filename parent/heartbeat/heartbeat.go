// Package heartbeat answers the enclave's first call to its parent.
//
// An enclave that has booted connects to its parent on vsock port 9000, sends one byte, 0xB7, and
// waits for the same byte. The convention is nitro-cli's: it is how a launcher learns that the
// enclave's init runs. The parent must listen before it starts the enclave, which calls only once.
package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	Port = 9000 // vsock port of the parent
	Byte = 0xB7 // what the enclave sends and what it is sent
)

const (
	// patience bounds one caller: the byte follows the connection at once.
	patience = 10 * time.Second

	// maxCallers bounds the callers at once. An enclave has two: it calls CID 2 and CID 3 together.
	maxCallers = 8
)

// Answer accepts callers on l until one has sent the byte and been sent it, and returns nil then.
// Callers that send anything else, or nothing in time, are dropped. Answer closes l, and returns
// the context's error when ctx ends first, or the listener's when it fails.
func Answer(ctx context.Context, l net.Listener) error {
	live, hangUp := context.WithCancel(ctx)
	var callers sync.WaitGroup
	defer callers.Wait()
	defer l.Close()
	defer hangUp()

	heard, failed := make(chan struct{}, 1), make(chan error, 1)
	callers.Go(func() { failed <- accept(live, l, &callers, heard) })
	select {
	case <-heard:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case err := <-failed:
		return err
	}
}

func accept(ctx context.Context, l net.Listener, callers *sync.WaitGroup, heard chan<- struct{}) error {
	slots := make(chan struct{}, maxCallers)
	for {
		slots <- struct{}{}
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("heartbeat: %w", err)
		}
		callers.Go(func() {
			defer func() { <-slots }()
			if exchange(ctx, conn) == nil {
				select {
				case heard <- struct{}{}:
				default:
				}
			}
		})
	}
}

// exchange reads the byte and sends it back.
func exchange(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return err
	}
	if b[0] != Byte {
		return errors.New("not a heartbeat")
	}
	_, err := conn.Write(b[:])
	return err
}
