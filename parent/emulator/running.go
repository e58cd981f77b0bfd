package emulator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"holdfast/image/sandbox"
	"holdfast/parent/heartbeat"
)

// Running is an emulated machine whose guest has booted.
type Running struct {
	BootTime time.Duration // from QEMU's start to the heartbeat

	run     *runDir
	console *console
	device  *console // what vhost-device-vsock prints

	live   context.Context // ends when the machine must; its cause says why
	cancel context.CancelCauseFunc
	parts  sync.WaitGroup // one for each process

	done    chan struct{}
	err     error // why it ended; valid once done is closed
	cleanup error
}

// An EndError says that the machine ended by itself.
type EndError struct {
	Reason  string
	Console string // its last lines, safe to print
}

func (e *EndError) Error() string {
	return fmt.Sprintf("the emulated machine ended: %s\nlast lines of its console:\n%s", e.Reason, e.Console)
}

// ErrNoHeartbeat says that the guest neither called nor ended in time.
var ErrNoHeartbeat = errors.New("no heartbeat")

var errClosed = errors.New("the emulated machine was closed")

// Start starts the machine and waits until its guest's heartbeat. The machine runs until Close, until
// ctx ends, or until its guest ends. When Start returns an error, nothing runs and no file is left.
func Start(ctx context.Context, m Machine) (*Running, error) {
	m, err := m.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	run, err := makeRunDir()
	if err != nil {
		return nil, fmt.Errorf("emulator: %w", err)
	}
	r := &Running{run: run, console: newConsole(m.Console), device: newConsole(nil), done: make(chan struct{})}
	r.live, r.cancel = context.WithCancelCause(ctx)
	if err := r.boot(m); err != nil {
		r.cancel(err)
		r.finish()
		return nil, errors.Join(fmt.Errorf("emulator: %w", err), r.cleanup)
	}
	go r.finish()
	return r, nil
}

// boot starts both programs and waits for the heartbeat.
func (r *Running) boot(m Machine) error {
	call, err := r.Listen(heartbeat.Port) // before the guest runs: it calls once
	if err != nil {
		return err
	}
	defer call.Close()
	ctx, stop := context.WithTimeoutCause(r.live, m.BootTimeout, ErrNoHeartbeat)
	defer stop()

	device := m.vsockCommand(r.run.path)
	device.output = r.device
	if err := r.launch(m.start, device, r.deviceEnd); err != nil {
		return err
	}
	if err := waitForFile(ctx, r.run.file(vhostSocket)); err != nil {
		return r.bootError(err, m)
	}
	begin := time.Now()
	machine := m.qemuCommand(r.run.path)
	machine.output = r.console
	if err := r.launch(m.start, machine, r.guestEnd); err != nil {
		return err
	}
	if err := heartbeat.Answer(ctx, call); err != nil {
		return r.bootError(err, m)
	}
	r.BootTime = time.Since(begin)
	return nil
}

func (r *Running) bootError(err error, m Machine) error {
	if !errors.Is(err, ErrNoHeartbeat) {
		return err
	}
	return fmt.Errorf("%w in %v; last lines of the console:\n%s", err, m.BootTimeout, r.console.tail())
}

// launch starts a command. When it ends, the machine does.
func (r *Running) launch(start starter, c command, reason func(error) string) error {
	p, err := start(r.live, c)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	r.parts.Go(func() {
		err := p.Wait()
		r.cancel(&EndError{Reason: reason(err), Console: r.console.tail()})
	})
	return nil
}

// guestEnd says why QEMU ended.
func (r *Running) guestEnd(err error) string {
	var exit *sandbox.ExitError
	switch reason := r.console.panicked(); {
	case reason != "":
		return "kernel panic: " + reason
	case err == nil:
		return "the guest reset itself"
	case errors.As(err, &exit):
		return err.Error()
	}
	return fmt.Sprintf("QEMU: %v", err)
}

// deviceEnd says why vhost-device-vsock ended, which it should not.
func (r *Running) deviceEnd(err error) string {
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Sprintf("vhost-device-vsock: %v; it printed:\n%s", err, r.device.tail())
}

// drainTimeout is what the console's reader gets to take the last of it.
const drainTimeout = time.Second

// finish waits for the end and clears up.
func (r *Running) finish() {
	<-r.live.Done()
	r.parts.Wait()
	r.device.close()
	r.console.close()
	select {
	case <-r.console.drained:
	case <-time.After(drainTimeout):
	}
	r.cleanup = r.run.remove()
	if cause := context.Cause(r.live); !errors.Is(cause, errClosed) {
		r.err = cause
	}
	close(r.done)
}

// Done is closed when the machine has ended and everything of it is gone.
func (r *Running) Done() <-chan struct{} { return r.done }

// Wait waits for the machine to end. The error is nil if Close ended it, the context's if that did, and
// an [*EndError] if the guest did.
func (r *Running) Wait() error {
	<-r.done
	return r.err
}

// Close ends the machine and waits until nothing of it is left. It may be called more than once.
func (r *Running) Close() error {
	r.cancel(errClosed)
	<-r.done
	return r.cleanup
}

// waitForFile waits until path exists.
func waitForFile(ctx context.Context, path string) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
