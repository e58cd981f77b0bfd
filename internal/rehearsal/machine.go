package rehearsal

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// A Machine is a running `parent emulate` with its enclave.
type Machine struct {
	URL      string // where it serves HTTPS
	BootTime string // to the enclave's heartbeat, as parent says it

	run      *Run
	socket   string
	command  *exec.Cmd
	messages *lockedBuffer
}

// What parent says: the URL, alone on a line, once the enclave serves it, and how long the boot took.
var (
	ready  = regexp.MustCompile(`^https://127\.0\.0\.1:[0-9]+$`)
	booted = regexp.MustCompile(`heartbeat after ([0-9.]+m?s)`)
)

// Boot starts an emulated machine and waits until its enclave is reached. The name tells it from other
// machines of the run; args go to parent emulate. The caller stops it.
func (r *Run) Boot(ctx context.Context, name string, args ...string) (*Machine, error) {
	console := name + ".console"
	m := &Machine{run: r, socket: name + ".sock", messages: &lockedBuffer{}}
	args = append([]string{"emulate", "-C", r.Checkout(), "-eif", r.Image(), "-listen", "127.0.0.1:0",
		"-console", console, "-control", m.socket}, args...)
	m.command = r.command(ctx, "parent", args...)
	m.command.Stderr = m.messages
	stdout, err := m.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := m.command.Start(); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if took := booted.FindStringSubmatch(m.messages.String()); took != nil && ready.MatchString(lines.Text()) {
			m.URL, m.BootTime = lines.Text(), took[1]
			return m, nil
		}
	}
	m.Stop()
	tail, _ := os.ReadFile(r.Path(console))
	return nil, fmt.Errorf("%s\nthe console's end:\n%s", strings.TrimSpace(m.messages.String()), lastLines(string(tail), 15))
}

// Stop ends the machine as Ctrl-C would, and returns when it is gone.
func (m *Machine) Stop() {
	_ = m.command.Cancel() // it may have ended
	_ = m.command.Wait()   // interrupted, or why it ended, which its messages say
}

// Messages is the end of what parent has said so far, the enclave's log in it.
func (m *Machine) Messages() string { return lastLines(m.messages.String(), 15) }

// A Status is what `parent status` says.
type Status struct {
	State    string
	Bundle   *struct{ Version uint64 }
	Slashing *struct {
		Store, Freshness, Problem string
		Floor                     *struct {
			Epoch uint64 `json:",string"`
			Slot  uint64 `json:",string"`
		}
	}
}

// The states of an enclave, as parent status says them.
const (
	WaitingForDataKey = "waiting for the bundle's data key"
	Serving           = "serving"
)

// stateTimeout is what an enclave gets to reach a state: it is asked for a bundle every few seconds.
const stateTimeout = time.Minute

// Await asks parent for the enclave's status until it is in a state.
func (m *Machine) Await(ctx context.Context, state string) (s Status, err error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	for ctx.Err() == nil {
		s = Status{}
		// The exit status tells whether it signs, and so is an error in every other state.
		if err = m.run.JSON(ctx, &s, "parent", "status", "-control", m.socket, "-json"); s.State == state {
			return s, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return s, fmt.Errorf("the enclave is %q, want %q: %w\n%s", s.State, state, err, m.Messages())
}

// Status prints parent's status for people.
func (m *Machine) Status(ctx context.Context) (string, error) {
	return m.run.Output(ctx, "parent", "status", "-control", m.socket)
}

// A Watermark is what a key has signed, as far as the enclave's store knows: 0 where that is nothing.
type Watermark struct {
	Slot   uint64 `json:",string"`
	Source uint64 `json:"source_epoch,string"`
	Target uint64 `json:"target_epoch,string"`
}

// Watermark asks for that of the only key.
func (m *Machine) Watermark(ctx context.Context) (Watermark, error) {
	var all []Watermark
	if err := m.run.JSON(ctx, &all, "parent", "slashing", "watermarks", "-control", m.socket, "-json"); err != nil {
		return Watermark{}, err
	}
	if len(all) != 1 {
		return Watermark{}, fmt.Errorf("got watermarks of %d keys, want 1", len(all))
	}
	return all[0], nil
}
