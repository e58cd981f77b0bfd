// Package nsm speaks to the Nitro Security Module, the device that measures
// an enclave, vouches for it and gives it entropy.
//
// The exchange with /dev/nsm is that of github.com/hf/nsm: one ioctl with a
// CBOR request of at most 4 KiB and a CBOR response of at most 12 KiB
// (include/uapi/linux/nsm.h). That package is unmaintained, and what it lacks
// is fenced off here, so that no caller sees it:
//
//   - It checks no size. Here every field of a request has a bound, and the
//     bounds together stay below the request's.
//   - It lets any number of callers in. The device serves one at a time, and a
//     call into it cannot be broken off for two minutes. Here callers take
//     turns, and one whose context ends leaves without waiting.
//   - It slices its buffer by the length that came back. Here a panic in the
//     exchange is an error.
//   - It passes on a response of any shape. Here exactly one part may be set,
//     it must be the one asked for, and lengths are checked.
//   - It knows no InvalidIndex. Here an error is a [Code], whatever its text.
//   - Its buffers are pooled and never cleared, so entropy stays in memory.
//     [Device.Random] is for stirring the kernel's pool, never for a key:
//     keys come from crypto/rand.
//   - Its Syscall option is called through a function value, which voids the
//     compiler's promise to keep the address valid. [Open] leaves it at
//     syscall.Syscall, which is nosplit: no stack moves on the way in.
package nsm

import (
	"context"
	"errors"
	"fmt"
	"os"

	hf "github.com/hf/nsm"
	"github.com/hf/nsm/request"
	"github.com/hf/nsm/response"
)

// A Session exchanges one request for one response. [Open] uses that of
// github.com/hf/nsm; a test uses one in memory.
type Session interface {
	Send(request.Request) (response.Response, error)
	Close() error
}

// ErrClosed is the error of a device that was closed.
var ErrClosed = errors.New("nsm: device is closed")

// A Code is the error with which the module answers a request. The codes are
// those of aws-nitro-enclaves-nsm-api, src/api/mod.rs.
type Code string

// The codes that callers tell apart.
const (
	InvalidArgument  Code = "InvalidArgument"
	InvalidIndex     Code = "InvalidIndex"
	ReadOnlyIndex    Code = "ReadOnlyIndex"
	InvalidOperation Code = "InvalidOperation"
	InputTooLarge    Code = "InputTooLarge"
)

// Error quotes the code.
func (c Code) Error() string { return fmt.Sprintf("module answered %q", string(c)) }

// A Device is the module. Any number of goroutines may use it; they take turns.
type Device struct {
	session Session
	turn    chan struct{} // holds one token while the session is in use
	closed  bool          // guarded by turn
}

// Open opens /dev/nsm.
func Open() (*Device, error) {
	session, err := hf.OpenSession(hf.Options{
		Open:    func() (hf.FileDescriptor, error) { return os.Open("/dev/nsm") },
		Syscall: hf.DefaultOptions.Syscall,
	})
	if err != nil {
		return nil, fmt.Errorf("nsm: %w", err)
	}
	return New(session), nil
}

// New makes a device of a session and takes the session over.
func New(session Session) *Device {
	return &Device{session: session, turn: make(chan struct{}, 1)}
}

// Close waits for the request under way and closes the session.
func (d *Device) Close() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.closed {
		return ErrClosed
	}
	d.closed = true
	return d.session.Close()
}

// outcome is what came of one exchange.
type outcome struct {
	response response.Response
	err      error
}

// send waits for its turn and exchanges one request, naming the operation in
// every error. When ctx ends first it returns at once; the exchange runs on and
// keeps its turn.
func (d *Device) send(ctx context.Context, operation string, req request.Request) (response.Response, error) {
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return response.Response{}, fmt.Errorf("nsm: %s: waiting for a turn: %w", operation, ctx.Err())
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-d.turn }()
		done <- d.exchange(req)
	}()
	select {
	case got := <-done:
		if got.err != nil {
			return response.Response{}, fmt.Errorf("nsm: %s: %w", operation, got.err)
		}
		return got.response, nil
	case <-ctx.Done():
		return response.Response{}, fmt.Errorf("nsm: %s: %w", operation, ctx.Err())
	}
}

// exchange runs with the turn taken.
func (d *Device) exchange(req request.Request) (out outcome) {
	if d.closed {
		return outcome{err: ErrClosed}
	}
	defer func() {
		if fault := recover(); fault != nil {
			out = outcome{err: fmt.Errorf("exchange panicked: %v", fault)}
		}
	}()
	res, err := d.session.Send(req)
	if err == nil {
		err = check(res)
	}
	return outcome{res, err}
}

// check demands that exactly one part of a response is set.
func check(res response.Response) error {
	parts := 0
	for _, set := range []bool{
		res.DescribePCR != nil, res.ExtendPCR != nil, res.LockPCR != nil, res.LockPCRs != nil,
		res.DescribeNSM != nil, res.Attestation != nil, res.GetRandom != nil, res.Error != "",
	} {
		if set {
			parts++
		}
	}
	if parts != 1 {
		return fmt.Errorf("got a response of %d parts, want 1", parts)
	}
	if res.Error != "" {
		return Code(res.Error)
	}
	return nil
}

// errOther is the error of a response that answers another request.
func errOther(operation string) error {
	return fmt.Errorf("nsm: %s: got the response to another request", operation)
}

// A Digest is the value of a register: a SHA-384. Its size is spelled out, so
// that init does not link the standard library's cryptography for a number.
type Digest = [48]byte
