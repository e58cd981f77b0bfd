package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/image/builder"
	"holdfast/image/cache"
	"holdfast/image/debian"
	"holdfast/image/progress"
	"holdfast/parent/emulator"
	"holdfast/parent/host"
	"holdfast/parent/proxy"
)

const emulateHelp = `usage: parent emulate [flags]

Boots an enclave image on an emulated Nitro machine, with the memory and processors given, and carries
HTTPS between a loopback address and the enclave until it is interrupted. Then nothing is left: no
process, and no file but the journal. The URL is printed on standard output once the enclave serves it.

The emulated machine measures the image as Nitro does, but nobody signs its attestation documents: they
are good for tests and for nothing else. Keys that matter do not belong here.

The emulator is built from pinned source the first time, which takes minutes, and kept in the cache.

  parent emulate
  parent emulate -eif build/holdfast-x86_64.eif -listen 127.0.0.1:9000 -memory 256 -cpus 2
  parent emulate -console console.txt     keep what the enclave prints on its console
  parent emulate -console -               show it on standard error
  parent emulate -qemu DIR -root DIR      use an emulator built elsewhere

With a bundle the enclave is fed: with the bundle, with every newer one that takes its place, and with
credentials for KMS before the last ones expire. Its calls to KMS and DynamoDB are carried to where the
bundle's configuration says, and nowhere else.

  parent emulate -bundle bundle.hf -journal journal -control hf.sock
  parent emulate -bundle s3://bucket/hoodi/bundle.hf -region eu-central-1 -credentials env -journal journal
  parent emulate -bundle bundle.hf -kms 127.0.0.1:8443 -dynamodb 127.0.0.1:8444
  parent emulate -bundle bundle.hf -journal journal -metrics 127.0.0.1:9001

The control socket is for 'parent status' and 'parent slashing'. Only the user that made it may connect.

Exit codes: 0 interrupted, 1 failed, 2 usage, 3 the enclave did not boot or ended by itself.

flags:
`

// signerPort is where the enclave serves HTTPS.
const signerPort = 5000

// readyTimeout is what the application gets from the heartbeat to its listener.
const readyTimeout = time.Minute

// idleTimeout ends connections that clients have forgotten. It is above the keep-alive of the
// validator clients' HTTP libraries.
const idleTimeout = 5 * time.Minute

// An emulation is one invocation of emulate.
type emulation struct {
	eif, listen, console string
	memory, cpus         int
	qemu, root           string
	checkout, cache      string
	quiet                bool
	feeding              feeding

	stdout, stderr io.Writer
	progress       *progress.Reporter
}

func emulate(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	e := &emulation{stdout: stdout, stderr: stderr}
	if err := e.parse(args); err != nil {
		return err
	}
	if !e.quiet {
		e.progress = progress.New(stderr)
		defer e.progress.Close()
	}
	l, err := net.Listen("tcp", e.listen)
	if err != nil {
		return err
	}
	defer l.Close()
	console, err := e.openConsole()
	if err != nil {
		return err
	}
	defer console.Close()
	services, err := e.feeding.services(ctx, stderr)
	if err != nil {
		return err
	}
	if services.Metrics != nil {
		defer services.Metrics.Close()
	}
	m, err := e.machine(ctx, console)
	if err != nil {
		return err
	}
	return e.serve(ctx, m, l, services)
}

func (e *emulation) parse(args []string) error {
	f := newFlags("emulate", emulateHelp, e.stdout)
	f.StringVar(&e.eif, "eif", "", "the enclave image, a `file`; default build/holdfast-x86_64.eif in the checkout")
	f.StringVar(&e.listen, "listen", "127.0.0.1:9000", "loopback `address` for HTTPS; port 0 takes a free one")
	f.IntVar(&e.memory, "memory", emulator.DefaultMemoryMiB, "the enclave's memory in `MiB`")
	f.IntVar(&e.cpus, "cpus", emulator.DefaultCPUs, "the enclave's processors")
	f.StringVar(&e.console, "console", "", "append the enclave's console to this `file`; - is standard error")
	f.StringVar(&e.qemu, "qemu", "", "override: `directory` of a built QEMU; wants -root")
	f.StringVar(&e.root, "root", "", "override: `directory` of the unpacked packages it runs in; wants -qemu")
	f.StringVar(&e.checkout, "C", ".", "a `directory` of the checkout")
	f.StringVar(&e.cache, "cache", "", "the cache `directory`; default $HOLDFAST_CACHE or the user's cache directory")
	f.BoolVar(&e.quiet, "q", false, "no progress")
	e.feeding.define(f)
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	if (e.qemu == "") != (e.root == "") {
		return usagef("-qemu and -root go together")
	}
	if err := checkLoopback("-listen", e.listen); err != nil {
		return err
	}
	return e.feeding.check()
}

// checkLoopback refuses to offer an emulated enclave to a network by a flag.
func checkLoopback(name, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usagef("%s: %w", name, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return usagef("%s: got host %q, want a loopback address such as 127.0.0.1: an emulated enclave protects nothing", name, host)
	}
	return nil
}

// nopCloser keeps standard error open.
type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (e *emulation) openConsole() (io.WriteCloser, error) {
	switch e.console {
	case "":
		return nopCloser{io.Discard}, nil
	case "-":
		return nopCloser{e.stderr}, nil
	}
	return os.OpenFile(e.console, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
}

// machine describes the machine, after building its emulator where none is given.
func (e *emulation) machine(ctx context.Context, console io.Writer) (emulator.Machine, error) {
	m := emulator.Machine{
		Root: e.root, QEMU: e.qemu, EIF: e.eif,
		MemoryMiB: e.memory, CPUs: e.cpus, Console: console,
	}
	if m.EIF != "" && m.QEMU != "" {
		return m, nil
	}
	checkout, err := builder.Find(e.checkout)
	if err != nil {
		return m, err
	}
	if m.EIF == "" {
		m.EIF = filepath.Join(checkout, "build", "holdfast-x86_64.eif")
	}
	if m.QEMU != "" {
		return m, nil
	}
	if _, err := os.Stat(m.EIF); err != nil { // before the emulator is built for nothing
		return m, fmt.Errorf("enclave image: %w (hint: make image)", err)
	}
	built, err := e.buildEmulator(ctx, checkout)
	if err != nil {
		return m, err
	}
	m.Root, m.QEMU = built.Root, built.QEMU
	return m, nil
}

func (e *emulation) buildEmulator(ctx context.Context, checkout string) (*builder.Emulator, error) {
	store, err := cache.Open(e.cache)
	if err != nil {
		return nil, err
	}
	store.OnWait = func(name string) {
		e.progress.Stage("waiting").Done("for another process that makes " + name)
	}
	mirrors, err := debian.Mirrors("", "")
	if err != nil {
		return nil, err
	}
	b := &builder.Builder{Checkout: checkout, Cache: store, Mirrors: mirrors, Progress: e.progress}
	return b.Emulator(ctx)
}

// serve boots the machine and carries connections until ctx, the machine or a service ends.
func (e *emulation) serve(ctx context.Context, m emulator.Machine, l net.Listener, services host.Config) error {
	stage := e.progress.Stage("boot")
	r, err := emulator.Start(ctx, m)
	if err != nil {
		return err
	}
	defer r.Close()
	hosting, err := host.Open(r, services)
	if err != nil {
		return err
	}
	stage.Done(fmt.Sprintf("heartbeat after %.3fs", r.BootTime.Seconds()))

	live, stop := context.WithCancel(ctx)
	defer stop()
	go func() { <-r.Done(); stop() }()
	group, live := errgroup.WithContext(live)
	group.Go(func() error { return hosting.Run(live) })
	group.Go(func() error { return e.carry(live, r, l) })
	if err := group.Wait(); err != nil && !ended(r) {
		return err
	}
	if ctx.Err() != nil {
		return r.Close()
	}
	return r.Wait()
}

// ended reports whether the machine has ended: then that is the reason for whatever else failed.
func ended(r *emulator.Running) bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

// carry carries HTTPS until ctx ends.
func (e *emulation) carry(ctx context.Context, r *emulator.Running, l net.Listener) error {
	stage := e.progress.Stage("enclave")
	dial := func(ctx context.Context) (net.Conn, error) { return r.Dial(ctx, signerPort) }
	if err := waitReady(ctx, dial); err != nil {
		return err
	}
	stage.Done("serves, EMULATED: its attestation is unsigned")
	fmt.Fprintf(e.stdout, "https://%s\n", l.Addr())
	p := &proxy.Proxy{Dial: dial, IdleTimeout: idleTimeout, DrainTimeout: time.Second, Report: e.note}
	return p.Serve(ctx, l)
}

// note shows a failed connection.
func (e *emulation) note(err error) {
	if !e.quiet {
		fmt.Fprintf(e.stderr, "parent: %v\n", err)
	}
}

var errNotServing = errors.New("the enclave has booted, but does not serve")

// waitReady dials until the enclave's application accepts.
func waitReady(ctx context.Context, dial proxy.Dialer) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for {
		conn, err := dial(ctx)
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("%w: %w", errNotServing, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%w within %v: %w", errNotServing, readyTimeout, err)
		}
	}
}
