// Command enclave is the application inside the enclave: ramdisk 1, measured
// into PCR2.
//
// It makes a TLS key and an HPKE key, has the Nitro Security Module attest to
// both, takes a sealed bundle from its parent on vsock port 5001 and the bundle's
// data key from AWS KMS or a release, and signs for validator clients over HTTPS
// on vsock port 5000. It listens nowhere else, and no flag or variable changes
// what it does.
//
// It exits with 0 when it is told to stop, 1 when it cannot serve, and 2 when
// it is called wrongly. Init reboots the enclave after any of them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/mdlayher/vsock"

	"holdfast/enclave/control"
	"holdfast/enclave/control/message"
	"holdfast/enclave/egress"
	"holdfast/enclave/nsm"
)

const (
	exitStopped = 0
	exitFailed  = 1
	exitUsage   = 2
)

const (
	// port is where the enclave serves HTTPS.
	port = 5000

	// anyContext listens whatever the enclave's own context identifier is
	// (VMADDR_CID_ANY): /dev/vsock, which tells it, is root's.
	anyContext = 0xffffffff
)

const usage = `usage: enclave -parent-cid N

Serves HTTPS on vsock port 5000, and its parent on 5001. Only init calls it.

  -parent-cid N   the context identifier under which the parent answered
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, _ io.Reader, _, stderr io.Writer) int {
	parent, err := parse(args)
	if err != nil {
		fmt.Fprintf(stderr, "enclave: %v\n\n%s", err, usage)
		return exitUsage
	}
	logs := new(control.Ring)
	log := slog.New(slog.NewTextHandler(io.MultiWriter(stderr, logs), nil))
	if err := listen(ctx, parent, logs, log); err != nil {
		log.Error("cannot serve", "error", err)
		return exitFailed
	}
	return exitStopped
}

// parse returns the parent's context identifier.
func parse(args []string) (uint32, error) {
	flags := flag.NewFlagSet("enclave", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	parent := flags.Uint("parent-cid", 0, "")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	switch {
	case flags.NArg() != 0:
		return 0, fmt.Errorf("got argument %q, want none", flags.Arg(0))
	case *parent < vsock.Host || *parent >= anyContext:
		return 0, fmt.Errorf("got -parent-cid %d, want %d to %d", *parent, vsock.Host, uint32(anyContext-1))
	}
	return uint32(*parent), nil
}

// listen serves on the module and the socket that only an enclave has.
func listen(ctx context.Context, parent uint32, logs *control.Ring, log *slog.Logger) error {
	// There is no swap: near the end of memory the collector works harder
	// before the kernel ends the program.
	if total := totalMemory(); total > 0 {
		debug.SetMemoryLimit(total / 4 * 3)
	}
	module, err := nsm.Open()
	if err != nil {
		return err
	}
	defer func() { _ = module.Close() }()
	dial := func(ctx context.Context, port uint32) (net.Conn, error) { return egress.Vsock(parent, port)(ctx) }
	made, err := assemble(ctx, platform{module: module, dial: dial, started: time.Now(), log: log}, logs)
	if err != nil {
		return err
	}
	clients, err := vsock.ListenContextID(anyContext, port, nil)
	if err != nil {
		return err
	}
	commands, err := vsock.ListenContextID(anyContext, message.Port, nil)
	if err != nil {
		return err
	}
	log.Info("listening", "https", port, "control", message.Port)
	return made.serve(ctx, clients, commands)
}
