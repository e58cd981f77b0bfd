// Package rehearsal is what the demonstrations share: they play a key holder, the operator of a parent
// instance and a validator client, each with the programs that a user has, on an emulated Nitro machine.
// Whatever they make is in one private directory, which is removed.
package rehearsal

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"holdfast/image/progress"
)

// Play runs a demonstration until it ends or is interrupted, and returns its exit status: 0 if everything was
// as it should be, else 1.
func Play(name string, play func(ctx context.Context, r *Run, stdout io.Writer) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := within(ctx, name, play)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(os.Stderr, "%s: interrupted; nothing is left running\n", name)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	default:
		return 0
	}
	return 1
}

// within gives a demonstration its directory.
func within(ctx context.Context, name string, play func(context.Context, *Run, io.Writer) error) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "holdfast-"+name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	r := &Run{Programs: filepath.Dir(self), Dir: dir, Progress: progress.New(os.Stderr)}
	defer r.Progress.Close()
	return play(ctx, r, os.Stdout)
}

// A Run is one run of a demonstration.
type Run struct {
	Programs string // directory of the built programs, which lies in the checkout
	Dir      string // private; the programs are run in it
	Progress *progress.Reporter
}

// Checkout is the directory that the programs were built from.
func (r *Run) Checkout() string { return filepath.Dir(r.Programs) }

// Image is the built enclave image.
func (r *Run) Image() string { return filepath.Join(r.Checkout(), "build", "holdfast-x86_64.eif") }

// Published is the file of the published measurements.
func (r *Run) Published() string { return filepath.Join(r.Checkout(), "PCRS.md") }

// Path names a file of the private directory.
func (r *Run) Path(elements ...string) string {
	return filepath.Join(append([]string{r.Dir}, elements...)...)
}
