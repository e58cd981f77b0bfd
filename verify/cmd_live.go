package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/channel"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/outcome"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

const liveHelp = `usage: verify live [flags] URL

Asks a running enclave for an attestation document with a fresh nonce, and
checks it: form, certificate chain to AWS's root, signature, time, nonce, the
measurements against PCRS.md, and that the document is bound to this very TLS
connection. With a bundle, also that the enclave has its configuration.
` + commonFlags + `
  --bundle FILE           check that the enclave binds the configuration of this
                          bundle, and has it in PCR16, locked (E11, E12)
  --evidence DIR          store everything the verdict rests on in a new folder
  --save-certificate FILE store the enclave's certificate, for a client's trust
                          store, if every check passes
  --nonce HEX             use this nonce of 32 bytes, for tests

examples:
  verify live https://signer.example:9000
  verify live --bundle bundle.hf https://signer.example:9000
  verify live --evidence audit-2026-11 --json https://signer.example:9000
  verify live --save-certificate signer.pem https://signer.example:9000
`

// A visit is one live verification: the flags of it, and what came of them.
type visit struct {
	*verification
	evidenceDir, certificateFile, nonce string

	// configuration is that of the bundle that the enclave must have, and zero where
	// none was named.
	configuration pcrs.Digest

	channel *channel.Channel
	seen    evidence.Evidence
	result  attestation.Result
}

func newVisit(name string) *visit {
	v := &visit{verification: newVerification(name)}
	v.set.StringVar(&v.evidenceDir, "evidence", "", "")
	v.set.StringVar(&v.certificateFile, "save-certificate", "", "")
	v.set.StringVar(&v.nonce, "nonce", "", "")
	return v
}

func runLive(ctx context.Context, t *terminal, args []string) error {
	v := newVisit("live")
	var bundleFile string
	v.set.StringVar(&bundleFile, "bundle", "", "")
	if err := v.parse(t, liveHelp, args, "URL"); err != nil {
		return err
	}
	if bundleFile != "" {
		bundle, err := readBundle(bundleFile)
		if err != nil {
			return err
		}
		v.configuration = bundle.ConfigurationDigest()
	}
	if err := v.run(ctx, v.set.Arg(0)); err != nil {
		return err
	}
	defer v.channel.Close()
	return v.concludeFolder(t, v.outcome(), v.folder())
}

// run fetches, verifies and stores. An error means that there is no result.
func (v *visit) run(ctx context.Context, url string) error {
	if err := v.look(ctx, url); err != nil {
		return err
	}
	if v.evidenceDir != "" {
		if err := v.store(v.evidenceDir); err != nil {
			return err
		}
	}
	return v.saveCertificate()
}

// look fetches and verifies.
func (v *visit) look(ctx context.Context, url string) error {
	options, err := v.options(time.Now())
	if err != nil {
		return err
	}
	nonce := live.NewNonce()
	if v.nonce != "" {
		if nonce, err = parseNonce(v.nonce); err != nil {
			return err
		}
	}
	if v.channel, err = channel.Open(url); err != nil {
		return errorWithHint(exitUsage, err)
	}
	v.seen, err = live.Fetch(ctx, v.channel, nonce)
	v.seen.Configuration = v.configuration
	switch {
	case errors.Is(err, live.ErrMalformed):
		return errorWithHint(int(report.Malformed), err, "does a Holdfast enclave answer at this address?")
	case err != nil:
		return err
	}
	v.result = v.seen.Verify(options)
	return nil
}

// store writes what the verdict rests on into a new folder.
func (v *visit) store(dir string) error {
	return evidence.Write(dir, v.folder())
}

func (v *visit) folder() evidence.Folder {
	return evidence.Folder{Evidence: v.seen, Measurements: v.Measurements, Signature: v.Signature}
}

func (v *visit) outcome() outcome.Outcome {
	return outcome.Outcome{Subject: v.seen.URL, AsOf: outcome.FormatTime(v.seen.Time), Result: v.result}
}

// saveCertificate writes the attested certificate, and nothing if some check
// failed.
func (v *visit) saveCertificate() error {
	if v.certificateFile == "" || v.result.ExitStatus() != 0 {
		return nil
	}
	return writeFile(v.certificateFile, evidence.CertificatePEM(v.seen.Certificate))
}

// writeFile replaces a file as a whole.
func writeFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", name, err)
	}
	return os.Rename(f.Name(), name)
}
