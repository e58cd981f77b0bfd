package emulator

import (
	"context"
	"io"

	"holdfast/image/sandbox"
)

// What the tests reach into: the programs are replaced, the rest is as it is.

type (
	Command = command
	Process = process
)

// WithStarter returns m with its programs started by start.
func WithStarter(m Machine, start func(ctx context.Context, c Command) (Process, error)) Machine {
	m.start = start
	return m
}

func (c command) Name() string          { return c.name }
func (c command) Args() []string        { return c.args }
func (c command) Output() io.Writer     { return c.output }
func (c command) Binds() []sandbox.Bind { return c.binds }

// RunDir is the host's side of the shared directory.
func (c command) RunDir() string {
	for _, b := range c.binds {
		if b.Target == runTarget {
			return b.Source
		}
	}
	return ""
}

const (
	VhostSocket  = vhostSocket
	HostSocket   = hostSocket
	MaxReply     = maxReply
	TailLines    = tailLines
	TailLineSize = tailLineSize
	PendingSize  = pendingSize
)

var (
	PortSocket    = portSocket
	Connect       = connect
	DialPatiently = dialPatiently
	Handshake     = handshake
	ErrBadReply   = errBadReply
)

type Console = console

func NewConsole(w io.Writer) *Console       { return newConsole(w) }
func (c *console) Close()                   { c.close() }
func (c *console) Drained() <-chan struct{} { return c.drained }
func (c *console) Tail() string             { return c.tail() }
func (c *console) Panicked() string         { return c.panicked() }

// RunDir is the shared directory of r.
func RunDir(r *Running) string { return r.run.path }
