// Command demo shows Holdfast's main job from end to end, with the programs that a user has: the key holder
// makes a key and seals a bundle; the built image boots on an emulated Nitro machine and is given the bundle;
// the holder verifies the enclave and releases the bundle's data key to it; a validator client has it sign a
// duty over HTTPS with a certificate of its own, checks the signature with blst, and has the slashable twin
// of the duty refused.
//
// 'make demo' builds what it needs and runs it. Exit codes: 0 everything was as it should be, 1 not.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/internal/rehearsal"
)

func main() { os.Exit(rehearsal.Play("demo", play)) }

// A demo is one run: who takes part, and what came of each stage, for the table at the end.
type demo struct {
	*rehearsal.Run
	network *rehearsal.Network
	holder  *rehearsal.Holder
	machine *rehearsal.Machine
	client  *rehearsal.Client

	sealed       string // what keys says of the bundle
	verification rehearsal.Verification
	vote         rehearsal.Attestation
	signed       bls.Signature
	refusal      string
	status       string // what parent says at the end
}

// A stage does a part and says what came of it.
type stage struct {
	name string
	run  func(context.Context) (string, error)
}

func play(ctx context.Context, r *rehearsal.Run, stdout io.Writer) error {
	d := &demo{Run: r, network: rehearsal.Mainnet()}
	if err := d.stages(ctx, []stage{{"keys", d.seal}, {"boot", d.boot}}); err != nil {
		return err
	}
	defer d.machine.Stop()
	if err := d.stages(ctx, []stage{
		{"verify", d.verify},
		{"release", d.release},
		{"channel", d.certify},
		{"sign", d.sign},
		{"slashable", d.refuse},
		{"status", d.show},
	}); err != nil {
		return err
	}
	return d.table(ctx, stdout)
}

func (d *demo) stages(ctx context.Context, stages []stage) error {
	for _, stage := range stages {
		s := d.Progress.Stage(stage.name)
		note, err := stage.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", stage.name, err)
		}
		s.Done(note)
	}
	return nil
}

// seal has keys make a folder, a key, a client's certificate and a bundle.
//
// After a start, strict freshness signs nothing before the next epoch, which on mainnet takes up to six
// minutes. This journal has no past that could be rolled back.
func (d *demo) seal(ctx context.Context) (note string, err error) {
	if d.holder, err = d.NewHolder(ctx, "holder", "--network", "mainnet", "--freshness", "journal"); err != nil {
		return "", err
	}
	said, err := d.holder.Seal(ctx)
	if err != nil {
		return "", err
	}
	d.sealed, _, _ = strings.Cut(said, "\n\n") // advice follows
	return "new, generate, client, seal: a bundle for mainnet with one key and one client", nil
}

// boot starts the machine, whose parent has the bundle for its enclave.
func (d *demo) boot(ctx context.Context) (note string, err error) {
	const journal = "journal"
	if err := os.Mkdir(d.Path(journal), 0o700); err != nil {
		return "", err
	}
	if d.machine, err = d.Boot(ctx, "parent", "-bundle", d.holder.Bundle, "-journal", journal); err != nil {
		return "", err
	}
	return fmt.Sprintf("heartbeat after %s of emulation, reached at %s", d.machine.BootTime, d.machine.URL), nil
}

// verify makes every check of the enclave once it has the bundle.
func (d *demo) verify(ctx context.Context) (note string, err error) {
	if _, err := d.machine.Await(ctx, rehearsal.WaitingForDataKey); err != nil {
		return "", err
	}
	if d.verification, err = d.holder.Verify(ctx, d.machine, "start.pem"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d checks; EMULATED and UNSAFE: no hardware signed this", len(d.verification.Checks)), nil
}

// release releases the bundle's data key to the enclave, after all checks again.
func (d *demo) release(ctx context.Context) (string, error) {
	if _, err := d.holder.Unlock(ctx, d.machine); err != nil {
		return "", err
	}
	return fmt.Sprintf("the enclave signs for %.20s…", d.holder.Key), nil
}

// certify verifies once more: the enclave now serves the bundle's certificate, which the client knows by its
// authority, and which is attested as the one before was.
func (d *demo) certify(ctx context.Context) (note string, err error) {
	const attested = "attested.pem"
	if _, err := d.holder.Verify(ctx, d.machine, attested); err != nil {
		return "", err
	}
	if d.client, err = d.holder.Client(d.machine, d.network, attested); err != nil {
		return "", err
	}
	return "the bundle's certificate serves now, and is attested too", nil
}

// sign has this epoch's attestation signed over HTTPS and verified with blst.
func (d *demo) sign(ctx context.Context) (note string, err error) {
	target := d.network.Epoch(time.Now())
	d.vote = rehearsal.Attestation{Source: target - 1, Target: target, Head: 0xaa}
	start := time.Now()
	if d.signed, err = d.client.Sign(ctx, d.vote); err != nil {
		return "", err
	}
	return fmt.Sprintf("attestation for epoch %d, signature good, in %d ms", target, time.Since(start).Milliseconds()), nil
}

// refuse asks for another vote with the same target: whoever signs both is slashed.
func (d *demo) refuse(ctx context.Context) (string, error) {
	twin := d.vote
	twin.Head = 0xbb
	_, err := d.client.Sign(ctx, twin)
	var refused *rehearsal.RefusedError
	if !errors.As(err, &refused) || refused.Status != http.StatusPreconditionFailed || !strings.Contains(refused.Message, "was signed before") {
		return "", fmt.Errorf("a second vote for epoch %d got %v, want a refusal with status 412, as signed before", twin.Target, err)
	}
	d.refusal = refused.Error()
	return "refused: " + d.refusal, nil
}

// show asks parent how the enclave is.
func (d *demo) show(ctx context.Context) (note string, err error) {
	d.status, err = d.machine.Status(ctx)
	return "as parent says it", err
}
