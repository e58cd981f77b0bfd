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

Checks a running enclave as "verify live" does. Only if every check passes,
seals the key file to the key that the attestation document binds, and sends it
over the same verified TLS identity, once. Prints the public keys of the
validators that the enclave now signs for.
` + commonFlags + `
  --evidence DIR          store what the verdict rests on, and the receipt
  --save-certificate FILE store the enclave's certificate, if every check passes
  --nonce HEX             use this nonce of 32 bytes, for tests

examples:
  verify release https://signer.example:9000 keys.json
  verify release --evidence release-7 https://signer.example:9000 keys.json
`

func runRelease(ctx context.Context, t *terminal, args []string) error {
	v := newVisit("release")
	if err := v.parse(t, releaseHelp, args, "URL", "FILE"); err != nil {
		return err
	}
	keyFile, err := readKeyFile(v.set.Arg(1))
	if err != nil {
		return err
	}
	defer keyFile.Clear()
	if err := v.run(ctx, v.set.Arg(0)); err != nil {
		return err
	}
	defer v.channel.Close()
	s := v.summary()
	if s.ExitStatus != 0 {
		return t.conclude(v.json, s, v.result)
	}
	if s.PublicKeys, err = v.release(ctx, t, keyFile); err != nil {
		return releaseError(err)
	}
	if err := t.print(v.json, s, v.result); err != nil || v.json {
		return err
	}
	fmt.Fprintf(t.stdout, "released to %s: the enclave signs for\n", s.Subject)
	for _, key := range s.PublicKeys {
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

// release seals and sends the key file to the enclave that was verified.
func (v *visit) release(ctx context.Context, t *terminal, keyFile release.KeyFile) ([]string, error) {
	if v.result.Verdict != attestation.Good && v.result.Verdict != attestation.UnsafeEmulated {
		return nil, errors.New("nothing is released without a pass")
	}
	sealed, err := release.Seal(keyFile, v.result.Judgement.Binding)
	if err != nil {
		return nil, err
	}
	publicKeys, err := release.Send(ctx, v.channel, sealed)
	if err != nil || v.evidenceDir == "" {
		return publicKeys, err
	}
	err = evidence.WriteReceipt(v.evidenceDir, evidence.Receipt{
		Time:       time.Now().UTC(),
		URL:        v.seen.URL,
		Release:    v.result.Judgement.Entry.Version,
		Emulated:   v.result.Emulated,
		Sealed:     pcrs.Digest(release.Digest(sealed)),
		PublicKeys: publicKeys,
	})
	if err != nil {
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
