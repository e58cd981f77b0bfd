// Command rollback-demo shows that a host which lies about the past gets nothing slashable signed, with the
// programs that a user has, on emulated Nitro machines with the built image.
//
// First the host restores an older copy of the journal folder and asks the restarted enclave to contradict
// what it signed after that copy was made. Then it runs two enclaves from one bundle at once, on one DynamoDB
// table, and asks one to contradict the other. The network is made up: its slots are short, so that the floor
// of a restart passes in seconds.
//
// 'make rollback-demo' builds what it needs and runs it. Exit codes: 0 every refusal came with the right
// reason and every honest duty was signed, 1 not.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"holdfast/image/sandbox"
	"holdfast/internal/rehearsal"
)

func main() {
	sandbox.Init()
	os.Exit(rehearsal.Play("rollback-demo", play))
}

func play(ctx context.Context, r *rehearsal.Run, stdout io.Writer) error {
	n := newNetwork(time.Now())
	if err := os.WriteFile(r.Path(configFile), []byte(chainConfig), 0o644); err != nil {
		return err
	}
	l := &ledger{}
	for _, act := range []func(context.Context, *rehearsal.Run, *rehearsal.Network, *ledger) error{rollBack, runTwo} {
		if err := act(ctx, r, n, l); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(stdout, l.String()); err != nil {
		return err
	}
	return l.verdict()
}

// configFile is the network's description, as `keys new` reads it.
const configFile = "config.yaml"

// chainConfig is a network of short slots: mainnet's preset and forks up to Fulu, all from the start.
const chainConfig = `CONFIG_NAME: rollback
PRESET_BASE: mainnet
GENESIS_FORK_VERSION: 0x10000040
ALTAIR_FORK_VERSION: 0x20000040
ALTAIR_FORK_EPOCH: 0
BELLATRIX_FORK_VERSION: 0x30000040
BELLATRIX_FORK_EPOCH: 0
CAPELLA_FORK_VERSION: 0x40000040
CAPELLA_FORK_EPOCH: 0
DENEB_FORK_VERSION: 0x50000040
DENEB_FORK_EPOCH: 0
ELECTRA_FORK_VERSION: 0x60000040
ELECTRA_FORK_EPOCH: 0
FULU_FORK_VERSION: 0x70000040
FULU_FORK_EPOCH: 0
SECONDS_PER_SLOT: 1
SLOTS_PER_EPOCH: 2
`

// newNetwork is the same as duties need it. It began an hour ago.
func newNetwork(now time.Time) *rehearsal.Network {
	return &rehearsal.Network{
		Genesis: now.Add(-time.Hour).Truncate(time.Second), SlotDuration: time.Second, SlotsPerEpoch: 2,
		ValidatorsRoot: [32]byte{31: 1}, Previous: [4]byte{0x60, 0, 0, 0x40}, Current: [4]byte{0x70, 0, 0, 0x40}, Fork: "FULU",
	}
}

// newHolder makes a key holder of this network, and the bundle, after edit has changed its configuration.
func newHolder(ctx context.Context, r *rehearsal.Run, name string, n *rehearsal.Network, edit func(map[string]any), flags ...string) (*rehearsal.Holder, error) {
	h, err := r.NewHolder(ctx, name, append([]string{
		"--network", configFile, "--genesis-time", fmt.Sprint(n.Genesis.Unix()),
		"--genesis-validators-root", fmt.Sprintf("0x%x", n.ValidatorsRoot),
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	if edit != nil {
		if err := h.Edit(edit); err != nil {
			return nil, err
		}
	}
	_, err = h.Seal(ctx)
	return h, err
}

// A signer is an enclave that serves, and the validator client that asks it.
type signer struct {
	*rehearsal.Machine
	*rehearsal.Client
	name   string
	status rehearsal.Status
}

// start boots an enclave, releases the holder's data key to it, and connects the client. The caller stops it.
func start(ctx context.Context, r *rehearsal.Run, h *rehearsal.Holder, n *rehearsal.Network, name string, args ...string) (*signer, error) {
	m, err := r.Boot(ctx, name, append([]string{"-bundle", h.Bundle}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("booting %s: %w", name, err)
	}
	s := &signer{Machine: m, name: name}
	if err := s.unlock(ctx, h, n); err != nil {
		m.Stop()
		return nil, fmt.Errorf("unlocking %s: %w", name, err)
	}
	return s, nil
}

func (s *signer) unlock(ctx context.Context, h *rehearsal.Holder, n *rehearsal.Network) (err error) {
	if s.status, err = h.Unlock(ctx, s.Machine); err != nil {
		return err
	}
	attested := s.name + ".pem"
	if _, err = h.Verify(ctx, s.Machine, attested); err != nil {
		return err
	}
	s.Client, err = h.Client(s.Machine, n, attested)
	return err
}

// stop ends the client's connections and the enclave.
func (s *signer) stop() {
	s.Client.Close()
	s.Machine.Stop()
}

// clockSlack is for an enclave's clock that is behind this one: QEMU's module rounds to a second.
const clockSlack = time.Second

// sleepUntil waits until the enclave's clock has reached a time, or ctx ends.
func sleepUntil(ctx context.Context, t time.Time) error {
	select {
	case <-time.After(time.Until(t.Add(clockSlack))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
