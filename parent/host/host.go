// Package host is what the parent does for a running enclave, on whatever machine it runs: it carries the
// enclave's calls to KMS and DynamoDB, keeps its journal, feeds it, shows its log and metrics, and opens its
// control port to the commands of this machine's operator.
//
// None of it is trusted by the enclave. It is all needed for the enclave to work.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing/journal/wire"
	"holdfast/parent/control"
	"holdfast/parent/credentials"
	"holdfast/parent/egress"
	"holdfast/parent/feed"
	"holdfast/parent/journal"
	"holdfast/parent/proxy"
	"holdfast/parent/source"
	"holdfast/verify/envelope"
)

// A Machine runs an enclave. emulator.Running is one.
type Machine interface {
	Dial(ctx context.Context, port uint32) (net.Conn, error)
	Listen(port uint32) (net.Listener, error)
}

// Config says what is done. Whatever is zero is not.
type Config struct {
	Bundles     source.Source
	Poll        time.Duration // of Bundles; zero is [feed.DefaultPoll]
	Credentials credentials.Source

	// Egress goes before what the bundle names. The egress ports are served if this is set or there are
	// bundles.
	Egress egress.Destinations

	Journal string       // an existing directory for the slashing journal
	Control string       // path of the control socket to make
	Metrics net.Listener // where metrics are served; taken over

	EnclaveLog func(line string) // gets each line of the enclave's log
	Log        *slog.Logger      // required
}

// isIdle reports whether there is nothing to do.
func (c *Config) isIdle() bool {
	return c.Bundles == nil && c.Credentials == nil && c.Egress == (egress.Destinations{}) &&
		c.Journal == "" && c.Control == "" && c.Metrics == nil
}

// A Host serves one machine. Make one with [Open].
type Host struct {
	Config
	machine Machine
	client  *client.Client
	feeder  *feed.Feeder
	egress  egress.Map
	tasks   []func(context.Context) error
	closers []io.Closer
}

// idleTimeout ends forgotten connections. Both KMS's and DynamoDB's clients keep theirs for a minute and a half
// at most.
const idleTimeout = 5 * time.Minute

// Open listens wherever the configuration asks it to. On an error nothing is left open but Metrics.
func Open(machine Machine, c Config) (_ *Host, err error) {
	if machine == nil || c.Log == nil {
		return nil, errors.New("host: incomplete configuration")
	}
	h := &Host{Config: c, machine: machine}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	h.client = client.New(func(ctx context.Context) (net.Conn, error) { return machine.Dial(ctx, message.Port) })
	h.egress.Set(c.Egress)
	if c.isIdle() {
		return h, nil
	}
	for _, open := range []func() error{h.openFeed, h.openEgress, h.openJournal, h.openControl, h.openMetrics} {
		if err := open(); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Run serves until ctx ends, which is no error, or until something fails for good.
func (h *Host) Run(ctx context.Context) error {
	defer h.close()
	group, ctx := errgroup.WithContext(ctx)
	for _, task := range h.tasks {
		group.Go(func() error { return task(ctx) })
	}
	group.Go(func() error { <-ctx.Done(); return nil })
	return group.Wait()
}

func (h *Host) close() {
	for _, c := range h.closers {
		_ = c.Close() // most are closed already
	}
	h.client.Close()
}

// do adds a task, and what it must close if it never runs.
func (h *Host) do(task func(context.Context) error, closers ...io.Closer) {
	h.tasks = append(h.tasks, task)
	h.closers = append(h.closers, closers...)
}

func (h *Host) openFeed() (err error) {
	h.feeder, err = feed.New(feed.Config{
		Enclave: h.client, Bundles: h.Bundles, Credentials: h.Credentials, Poll: h.Poll,
		OnBundle: h.route, Log: h.Log,
	})
	if err != nil {
		return err
	}
	h.do(func(ctx context.Context) error { h.feeder.Run(ctx); return nil })
	if h.EnclaveLog != nil {
		h.do(func(ctx context.Context) error { feed.Collect(ctx, h.client, h.EnclaveLog); return nil })
	}
	return nil
}

// route leads the egress ports to where a new bundle says, or to where the operator does.
func (h *Host) route(e *envelope.Envelope) error {
	named, err := egress.Named(e)
	if err != nil {
		return err
	}
	now := named.Over(h.Egress)
	if now != h.egress.Get() {
		h.egress.Set(now)
		h.Log.Info("egress", "kms", now.KMS, "dynamodb", now.DynamoDB)
	}
	return nil
}

func (h *Host) openEgress() error {
	if h.Bundles == nil && h.Egress == (egress.Destinations{}) {
		return nil
	}
	for _, port := range []uint32{egress.KMSPort, egress.DynamoDBPort} {
		l, err := h.machine.Listen(port)
		if err != nil {
			return err
		}
		h.carry(l, func(ctx context.Context) (net.Conn, error) { return h.egress.Dial(ctx, port) })
	}
	return nil
}

// carry adds a proxy from a listener to a dialer.
func (h *Host) carry(l net.Listener, dial proxy.Dialer) {
	p := &proxy.Proxy{Dial: dial, IdleTimeout: idleTimeout, DrainTimeout: time.Second, Report: func(err error) {
		h.Log.Warn("a connection failed", "error", err)
	}}
	h.do(func(ctx context.Context) error { return p.Serve(ctx, l) }, l)
}

func (h *Host) openJournal() error {
	if h.Journal == "" {
		return nil
	}
	if info, err := os.Stat(h.Journal); err != nil {
		return fmt.Errorf("journal: %w (hint: mkdir -m 700 %s, on a disk that stays)", err, h.Journal)
	} else if !info.IsDir() {
		return fmt.Errorf("journal: %s is not a directory", h.Journal)
	}
	l, err := h.machine.Listen(wire.Port)
	if err != nil {
		return err
	}
	s := &journal.Server{Dir: h.Journal, Log: h.Log}
	h.do(func(ctx context.Context) error { return s.Serve(ctx, l) }, l)
	return nil
}

func (h *Host) openControl() error {
	if h.Control == "" {
		return nil
	}
	l, err := control.Listen(h.Control)
	if err != nil {
		return err
	}
	h.carry(l, func(ctx context.Context) (net.Conn, error) { return h.machine.Dial(ctx, message.Port) })
	return nil
}
