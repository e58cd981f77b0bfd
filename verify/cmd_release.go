package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/evidence"
	"holdfast/verify/pcrs"
	"holdfast/verify/release"
)

const releaseHelp = `usage: verify release [flags] URL FILE
       verify release --watch --evidence DIR [flags] URL... FILE

Checks a running enclave as "verify live" does. Only if every check passes,
seals the key file to the key that the attestation document binds, and sends it
over the same verified TLS identity, once. Prints the public keys of the
validators that the enclave now signs for.

With --watch it stays, and asks every address again and again. An enclave that
was restarted passes a full new check and is given the keys again. One live
instance has them at a time: another is supplied only after the last one's
address has shown another instance in its place, four times running, or has not
answered for --silence. When a check fails, or an instance that was replaced
answers again, it gives up with the exit status of the failure. Each release,
and a failed check, leaves a folder below DIR that "verify evidence" reads; the
folders are also what a restarted watch knows its releases by.

A host can hide a live instance from the watch and show it to validator
clients. No check from outside finds that; a store that all instances share, or
the enclave's strict mode, keeps the copies from signing against each other.
` + commonFlags + `
  --evidence DIR          store what the verdict rests on, and the receipt
  --save-certificate FILE store the enclave's certificate, if every check passes
  --nonce HEX             use this nonce of 32 bytes, for tests
  --watch                 keep a restarted enclave supplied
  --interval DURATION     with --watch: from one round to the next (default 15s)
  --deadline DURATION     with --watch: give up when no enclave has answered for
                          so long (default 15m)
  --silence DURATION      with --watch and several addresses: how long one must
                          not answer before another takes its place (default
                          13m, two epochs)
  --until DURATION        with --watch: end after so long, with status 0
  --allow-copies          with --watch: supply every instance. Two that do not
                          share a slashing store can be made to sign against
                          each other, and their validators are slashed

examples:
  verify release https://signer.example:9000 keys.json
  verify release --evidence release-7 https://signer.example:9000 keys.json
  verify release --watch --evidence releases https://signer.example:9000 keys.json
`

func runRelease(ctx context.Context, t *terminal, args []string) error {
	v := newSupply()
	if err := v.parse(t, args); err != nil {
		return err
	}
	if v.watch {
		return v.run(ctx, t)
	}
	return releaseOnce(ctx, t, v.visit)
}

// releaseOnce releases to one enclave, once.
func releaseOnce(ctx context.Context, t *terminal, v *visit) error {
	keyFile, err := readKeyFile(v.set.Arg(1))
	if err != nil {
		return err
	}
	defer keyFile.Clear()
	if err := v.run(ctx, v.set.Arg(0)); err != nil {
		return err
	}
	defer v.channel.Close()
	o := v.outcome()
	if v.result.ExitStatus() != 0 {
		return v.concludeFolder(t, o, v.folder())
	}
	if o.PublicKeys, err = v.release(ctx, t, keyFile, v.evidenceDir); err != nil {
		return releaseError(err)
	}
	if err := v.concludeFolder(t, o, v.folder()); err != nil || v.json {
		return err
	}
	fmt.Fprintf(t.stdout, "released to %s: the enclave signs for\n", o.Subject)
	for _, key := range o.PublicKeys {
		fmt.Fprintf(t.stdout, "  %s\n", key)
	}
	return nil
}

func readKeyFile(name string) (release.KeyFile, error) {
	data, err := readBounded(name, release.MaxKeyFileSize)
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("%s: empty", name)
	}
	return data, nil
}

// release seals and sends the key file to the enclave that was verified. Where
// dir is not empty, the receipt goes there.
func (v *visit) release(ctx context.Context, t *terminal, keyFile release.KeyFile, dir string) ([]string, error) {
	if v.result.Verdict != attestation.Good && v.result.Verdict != attestation.UnsafeEmulated {
		return nil, errors.New("nothing is released without a pass")
	}
	judgement := v.result.Judgement
	sealed, err := release.Seal(keyFile, judgement.Binding)
	if err != nil {
		return nil, err
	}
	publicKeys, err := release.Send(ctx, v.channel, sealed)
	if err != nil || dir == "" {
		return publicKeys, err
	}
	receipt := evidence.NewReceipt(v.seen, v.result.Document, judgement.Binding, judgement.Entry, v.result.Emulated)
	receipt.Time = time.Now().UTC()
	receipt.KeyFile, receipt.Sealed = pcrs.Digest(keyFile.Digest()), pcrs.Digest(release.Digest(sealed))
	receipt.PublicKeys = publicKeys
	if err := evidence.WriteReceipt(dir, receipt); err != nil {
		fmt.Fprintf(t.stderr, "verify: the release succeeded, but its receipt could not be written: %v\n", err)
	}
	return publicKeys, nil
}

func releaseError(err error) error {
	if errors.Is(err, release.ErrReleased) {
		return errorWithHint(exitFailed, err, "restart the enclave to give it another key file; ask yourself who released the first")
	}
	return err
}
