// Command demo shows Holdfast's main job from end to end, with the programs that a user has: it boots the
// built image on an emulated Nitro machine, verifies the enclave, releases a key to it, has it sign a
// duty over HTTPS, checks the signature with blst, and has the slashable twin of the duty refused.
//
// 'make demo' builds what it needs and runs it. Exit codes: 0 everything was as it should be, 1 not.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/image/progress"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Stdout, os.Stderr)
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "demo: interrupted; nothing is left running")
		os.Exit(1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// A demo is one run: where things are, and what came of each stage, for the table at the end.
type demo struct {
	programs, image, pcrs string
	dir                   string // private, removed at the end
	progress              *progress.Reporter

	url      string
	bootTime string
	checks   []check
	verdict  string
	key      bls.PublicKey
	signed   bls.Signature
	refusal  string
}

func run(ctx context.Context, stdout, stderr io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	checkout := filepath.Dir(filepath.Dir(self))
	dir, err := os.MkdirTemp("", "holdfast-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	d := &demo{
		programs: filepath.Dir(self),
		image:    filepath.Join(checkout, "build", "holdfast-x86_64.eif"),
		pcrs:     filepath.Join(checkout, "PCRS.md"),
		dir:      dir,
		progress: progress.New(stderr),
	}
	defer d.progress.Close()
	end, err := d.boot(ctx)
	if err != nil {
		return fmt.Errorf("booting: %w", err)
	}
	defer end()
	for _, stage := range []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"verify", d.verify},
		{"release", d.release},
		{"sign", d.sign},
		{"slashable", d.refuse},
	} {
		s := d.progress.Stage(stage.name)
		note, err := stage.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", stage.name, err)
		}
		s.Done(note)
	}
	return d.table(stdout)
}

// verify makes every check of the enclave, and keeps its certificate for the client that follows.
func (d *demo) verify(ctx context.Context) (string, error) {
	var result struct {
		Verdict  string
		Emulated bool
		Checks   []check
	}
	err := d.runJSON(ctx, &result, "verify", "live", "--unsafe-accept-emulated", "--json", "--pcrs", d.pcrs,
		"--save-certificate", d.certificate(), d.url)
	d.checks, d.verdict = result.Checks, result.Verdict
	if err != nil {
		return "", errors.Join(err, failures(result.Checks))
	}
	if !result.Emulated {
		return "", errors.New("the emulator's document was not recognised as emulated")
	}
	return fmt.Sprintf("%d checks; EMULATED and UNSAFE: no hardware signed this", len(result.Checks)), nil
}

func (d *demo) certificate() string { return filepath.Join(d.dir, "enclave.pem") }

// release makes a validator key and releases it to the enclave that was verified, after all checks again.
func (d *demo) release(ctx context.Context) (string, error) {
	var scalar [32]byte
	rand.Read(scalar[:])
	scalar[0] &= 0x3f // below the group's order, with room to spare
	key, err := bls.NewSecretKey(&scalar)
	if err != nil {
		return "", err
	}
	d.key = key.PublicKey()
	file := filepath.Join(d.dir, "keys.json")
	content := fmt.Sprintf(`{"version": 1, "network": {"name": "mainnet"}, "validators": [{"secret_key": "0x%s"}]}`, hex.EncodeToString(scalar[:]))
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return "", err
	}
	var result struct {
		PublicKeys []string `json:"public_keys"`
	}
	if err := d.runJSON(ctx, &result, "verify", "release", "--unsafe-accept-emulated", "--json", "--pcrs", d.pcrs, d.url, file); err != nil {
		return "", err
	}
	if len(result.PublicKeys) != 1 || result.PublicKeys[0] != d.key.String() {
		return "", fmt.Errorf("the enclave says that it signs for %v, want %s", result.PublicKeys, d.key)
	}
	return d.key.String(), os.Remove(file)
}

// Two votes for one target: whoever signs both is slashed.
var (
	vote     = attestation{slot: 13_500_000, source: 421_874, target: 421_875, head: [32]byte{0xaa}}
	slashing = attestation{slot: 13_500_000, source: 421_874, target: 421_875, head: [32]byte{0xbb}}
)

// sign has an attestation signed over HTTPS and checks the signature with blst.
func (d *demo) sign(ctx context.Context) (string, error) {
	client, err := d.client()
	if err != nil {
		return "", err
	}
	start := time.Now()
	signature, err := client.sign(ctx, d.key, vote)
	if err != nil {
		return "", err
	}
	took := time.Since(start)
	if !bls.Verify(d.key, vote.signingRoot(), signature) {
		return "", fmt.Errorf("signature %x does not verify under %s", signature, d.key)
	}
	d.signed = signature
	return fmt.Sprintf("attestation for epoch %d, signature good, in %d ms", vote.target, took.Milliseconds()), nil
}

// refuse asks for another vote with the same target, which must be refused by the slashing rules.
func (d *demo) refuse(ctx context.Context) (string, error) {
	client, err := d.client()
	if err != nil {
		return "", err
	}
	_, err = client.sign(ctx, d.key, slashing)
	var refused *refusedError
	if !errors.As(err, &refused) || refused.status != 412 {
		return "", fmt.Errorf("a second vote for epoch %d got %v, want a refusal with status 412", slashing.target, err)
	}
	d.refusal = refused.Error()
	return "refused: " + refused.Error(), nil
}
