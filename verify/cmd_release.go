package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"

	"holdfast/verify/attestation"
	"holdfast/verify/envelope"
	"holdfast/verify/evidence"
	"holdfast/verify/identity"
	"holdfast/verify/pcrs"
	"holdfast/verify/reference"
	"holdfast/verify/release"
)

const releaseHelp = `usage: verify release [flags] --identity FILE URL BUNDLE
       verify release --watch --evidence DIR [flags] --identity FILE URL... BUNDLE

Checks a running enclave as "verify live" does, and that it has this very
bundle's configuration, bound in the document and measured in PCR16 (E11, E12):
the parent instance gives it the bundle. Only if every check passes, opens the
bundle's data key with your age identity, seals it to the key that the document
binds, and sends it over the same verified TLS identity, once. Prints the public
keys of the validators that the enclave now signs for, which are the bundle's.

A bundle that is wrapped for AWS KMS alone needs no release.

With --watch it stays, and asks every address again and again. An enclave that
was restarted passes a full new check and is given the data key again. One live
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
  --identity FILE         your age identity, as age-keygen writes it, perhaps with
                          a passphrase, or an SSH private key (ssh-ed25519); may
                          be repeated. The passphrase is asked for on the
                          terminal, or read from the file that the variable
                          HOLDFAST_PASSPHRASE_FILE names
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
  verify release --identity key.txt https://signer.example:9000 bundle.hf
  verify release --identity key.txt --evidence release-7 https://signer.example:9000 bundle.hf
  verify release --watch --identity key.txt --evidence releases https://signer.example:9000 bundle.hf
`

func runRelease(ctx context.Context, t *terminal, args []string) error {
	v := newSupply()
	if err := v.parse(t, args); err != nil {
		return err
	}
	if err := v.open(v.set.Arg(v.set.NArg() - 1)); err != nil {
		return err
	}
	if v.watch {
		return v.run(ctx, t)
	}
	return v.releaseOnce(ctx, t)
}

// A sealedKey is a bundle with what opens its data key.
type sealedKey struct {
	envelope   *envelope.Envelope
	identities []age.Identity
}

// readBundle reads a bundle's file.
func readBundle(name string) (*envelope.Envelope, error) {
	data, err := reference.ReadFile(name, envelope.MaxSize)
	if err != nil {
		return nil, err
	}
	e, err := envelope.Parse(data)
	if err != nil {
		return nil, errorWithHint(exitFailed, fmt.Errorf("%s: %w", name, err), `"keys seal" makes a bundle`)
	}
	return e, nil
}

// openBundle reads a bundle and the identities, and makes sure that they open it,
// before anybody is asked anything.
func openBundle(name string, files []string) (sealedKey, error) {
	e, err := readBundle(name)
	if err != nil {
		return sealedKey{}, err
	}
	if e.Age == nil {
		return sealedKey{}, errorWithHint(exitFailed, fmt.Errorf("%s: %w", name, release.ErrNoAge), `"verify live --bundle" checks the enclave, and "verify policy" the policy of the KMS key`)
	}
	if len(files) == 0 {
		return sealedKey{}, usageError("--identity is missing: the age identity that opens the bundle")
	}
	k := sealedKey{envelope: e}
	if k.identities, err = identity.Load(files, askPassphrase); err != nil {
		return sealedKey{}, err
	}
	dataKey, err := k.dataKey()
	dataKey.Clear()
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return k, err
}

// dataKey opens the data key, which the caller clears.
func (k sealedKey) dataKey() (release.DataKey, error) {
	return release.OpenDataKey(k.envelope, k.identities)
}

// configuration returns the digest that the enclave must have.
func (k sealedKey) configuration() pcrs.Digest { return k.envelope.ConfigurationDigest() }

// releaseOnce releases to one enclave, once.
func (s *supply) releaseOnce(ctx context.Context, t *terminal) error {
	v := s.visit
	if err := v.run(ctx, v.set.Arg(0)); err != nil {
		return err
	}
	defer v.channel.Close()
	o := v.outcome()
	if v.result.ExitStatus() != 0 {
		return v.concludeFolder(t, o, v.folder())
	}
	var err error
	if o.PublicKeys, err = v.release(ctx, t, s.sealed, v.evidenceDir); err != nil {
		return releaseError(err)
	}
	if err := v.concludeFolder(t, o, v.folder()); err != nil || v.json {
		return err
	}
	fmt.Fprintf(t.stdout, "released bundle %s, version %d, to %s: the enclave signs for\n", s.sealed.envelope.Name, s.sealed.envelope.Version, o.Subject)
	for _, key := range o.PublicKeys {
		fmt.Fprintf(t.stdout, "  %s\n", key)
	}
	return nil
}

// release seals and sends the data key to the enclave that was verified. Where dir is
// not empty, the receipt goes there.
func (v *visit) release(ctx context.Context, t *terminal, k sealedKey, dir string) ([]string, error) {
	if v.result.Verdict != attestation.Good && v.result.Verdict != attestation.UnsafeEmulated {
		return nil, errors.New("nothing is released without a pass")
	}
	dataKey, err := k.dataKey()
	if err != nil {
		return nil, err
	}
	defer dataKey.Clear()
	sealed, err := release.Seal(dataKey, k.envelope, *v.result.Judgement)
	if err != nil {
		return nil, err
	}
	publicKeys, err := release.Send(ctx, v.channel, sealed)
	if err != nil {
		return nil, err
	}
	if dir != "" {
		if err := evidence.WriteReceipt(dir, v.receipt(k.envelope, sealed, publicKeys)); err != nil {
			fmt.Fprintf(t.stderr, "verify: the release succeeded, but its receipt could not be written: %v\n", err)
		}
	}
	return publicKeys, release.Compare(k.envelope, publicKeys)
}

// receipt says what was released just now.
func (v *visit) receipt(e *envelope.Envelope, sealed []byte, publicKeys []string) evidence.Receipt {
	judgement := v.result.Judgement
	r := evidence.NewReceipt(v.seen, v.result.Document, judgement.Binding, judgement.Entry, v.result.Emulated)
	r.Time = time.Now().UTC()
	r.Bundle = evidence.Bundle{Name: e.Name, Version: e.Version, Digest: e.Digest(), Configuration: e.ConfigurationDigest()}
	r.Sealed = release.Digest(sealed)
	r.PublicKeys = publicKeys
	return r
}

func releaseError(err error) error {
	if errors.Is(err, release.ErrReleased) {
		return errorWithHint(exitFailed, err, "if you did not do that, ask yourself who did, and restart the enclave")
	}
	return err
}
