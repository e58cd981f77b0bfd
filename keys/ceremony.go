package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/keys/holder"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/outcome"
	"holdfast/verify/pcrs"
	"holdfast/verify/reference"
	"holdfast/verify/report"
)

// ceremonyHelp is the help of the flags that commands have which let a running
// enclave seal.
const ceremonyHelp = `  --control SOCKET         the enclave's control socket, as "parent emulate -control"
                           makes it; from another machine by
                           ssh -N -L hf.sock:/run/hf.sock HOST
  --out FILE               where the bundle goes (default bundle.hf); it must not
                           exist: nobody but the enclave has these keys
  --evidence FILE          where the enclave's whole answer goes, for "verify
                           document" (default --out with .evidence.json)
  --json                   print one JSON object
  --pcrs FILE              the published measurements (default PCRS.md)
  --release VERSION        accept only this release of them
  --signers FILE           ask for a signature beside PCRS.md by a signer in FILE
  --strict                 refuse documents with unknown fields
  --deny FILE              refuse certificates, as "verify document" does
  --root FILE              a root certificate in PEM, in place of AWS's ...
  --root-sha256 HEX        ... and its SHA-256
  --unsafe-accept-emulated accept QEMU's emulated Nitro machine, which proves nothing
`

// A ceremony has a running enclave make a bundle, and believes nothing that its
// attestation does not show.
type ceremony struct {
	*flags
	reference.Files
	control, out, evidence string
	asJSON                 bool

	t             *terminal
	folder        *holder.Folder
	configuration *bundle.Configuration
	client        *client.Client
}

// A request is what every ceremony asks with.
type request struct {
	nonce         string
	name          string
	version       uint64
	configuration []byte
}

// A ceremonyKind is what one of the commands adds.
type ceremonyKind struct {
	doing string // for people, while they wait
	ask   func(context.Context, *client.Client, request) ([]byte, error)
	check func(evidence.Generated) error
	hints []string // where KMS says no
}

func newCeremony(name, help string) *ceremony {
	c := &ceremony{flags: newFolderFlags(name, help)}
	c.Files.Define(c.FlagSet)
	c.StringVar(&c.control, "control", "", "")
	c.StringVar(&c.out, "out", "bundle.hf", "")
	c.StringVar(&c.evidence, "evidence", "", "")
	c.BoolVar(&c.asJSON, "json", false, "")
	return c
}

// parse reads a command line without arguments, and refuses what would only fail
// once keys are made.
func (c *ceremony) parse(t *terminal, args []string) error {
	c.t = t
	if _, err := c.flags.parse(t, args, 0, 0); err != nil {
		return err
	}
	if c.control == "" {
		return &failure{exitUsage, errors.New("want --control"), []string{`"parent emulate -control" makes the socket`}}
	}
	if c.evidence == "" {
		c.evidence = c.out + ".evidence.json"
	}
	if err := c.Files.Check(); err != nil {
		return advised(err)
	}
	for _, name := range []string{c.out, c.evidence} {
		if _, err := os.Lstat(name); err == nil {
			return withHint(fmt.Errorf("%s exists, and is not overwritten: nobody else may have the keys in it", name), "--out names another")
		}
	}
	return nil
}

// begin opens the folder and finds what is wrong before a version is spent. The
// caller calls end.
func (c *ceremony) begin(ctx context.Context) (err error) {
	if _, err := c.Files.Options(time.Now()); err != nil {
		return advised(err)
	}
	if c.folder, err = c.flags.open(ctx, c.t); err != nil {
		return err
	}
	if err = c.checkConfiguration(); err == nil {
		c.client = client.Unix(c.control)
		err = c.checkEnclave(ctx)
	}
	if err != nil {
		c.end()
	}
	return err
}

func (c *ceremony) end() {
	c.folder.Close()
	if c.client != nil {
		c.client.Close()
	}
}

// checkConfiguration wants one that an enclave can seal for by itself.
func (c *ceremony) checkConfiguration() error {
	_, configuration, complete, err := readConfiguration(c.folder)
	const sealed = `only "keys seal" can put what it needs into a bundle`
	switch {
	case err != nil:
		return err
	case !complete:
		return withHint(errors.New("the configuration names no client: nobody could ask the signer"), `"keys client NAME" adds one`)
	case configuration.KMS == nil:
		return withHint(errors.New("the configuration names no KMS key: what is made inside leaves only under one"), `"keys new --kms-key ARN" names it, or "kms" in configuration.json`)
	case configuration.Slashing.Store == bundle.DynamoDB:
		return withHint(errors.New("the credentials of a slashing table cannot be made inside: use the journal"), sealed)
	case configuration.API.KeyManager:
		return withHint(errors.New("the key manager's token cannot be made inside: turn the key manager off"), sealed)
	}
	c.configuration = configuration
	return nil
}

// checkEnclave asks the enclave whether it is worth asking. What it says is not
// believed; it would refuse by itself.
func (c *ceremony) checkEnclave(ctx context.Context) error {
	status, err := c.client.Status(ctx)
	if err != nil {
		return withHint(err, `is the enclave running, and is this the socket of "parent emulate -control"?`)
	}
	digest := c.configuration.Digest()
	for _, other := range []*message.Bundle{status.Bundle, status.Pending} {
		if want := hex.EncodeToString(digest[:]); other != nil && other.Configuration != want {
			return withHint(fmt.Errorf("the enclave runs under configuration %s, and the folder's is %s", other.Configuration, want), restartHint)
		}
	}
	if status.CredentialsUntil == nil {
		return withHint(errors.New("the enclave has no AWS credentials yet, to ask KMS with"), credentialsHint)
	}
	return nil
}

const (
	restartHint     = "an enclave has one configuration until it ends: restart it without a bundle"
	credentialsHint = `"parent emulate -credentials imds" (or env) gives it those of the instance's role`
)

// run has the bundle made, verifies what comes back, and writes it.
func (c *ceremony) run(ctx context.Context, kind ceremonyKind) (evidence.Generated, error) {
	if last := c.folder.Version(); last > 0 {
		c.t.warn("an enclave that takes the new bundle in place of version %d signs with the new one's keys alone, and cannot read the slashing records of the old one", last)
	}
	version, err := c.folder.TakeVersion()
	if err != nil {
		return evidence.Generated{}, err
	}
	nonce := live.NewNonce()
	done := c.t.wait(kind.doing)
	answer, err := kind.ask(ctx, c.client, request{hex.EncodeToString(nonce), c.folder.Name(), version, c.configuration.Canonical()})
	done()
	if err != nil {
		return evidence.Generated{}, c.explain(err, kind.hints)
	}
	made, err := c.verify(answer, nonce, version)
	if err == nil && kind.check != nil {
		err = kind.check(made)
	}
	if err == nil {
		err = c.write(answer, made)
	}
	return made, err
}

// explain adds advice to what the enclave refused.
func (c *ceremony) explain(err error, hints []string) error {
	var refused *client.RefusedError
	switch {
	case !errors.As(err, &refused):
		return withHint(err, "nothing was written; ask again: that costs a version, no more")
	case refused.Code == http.StatusConflict:
		return withHint(err, restartHint)
	case strings.Contains(refused.Reason, "AccessDenied"):
		return withHint(err, append(c.policyHints(), hints...)...)
	case strings.Contains(refused.Reason, "credentials"):
		return withHint(err, credentialsHint)
	}
	return err
}

// policyHints say what to compare where KMS denies access.
func (c *ceremony) policyHints() []string {
	digest := c.configuration.Digest()
	pcr := register16(digest)
	return []string{
		fmt.Sprintf("the policy of %s must allow kms:Decrypt and kms:GenerateDataKey to the parent's role", c.configuration.KMS.Key),
		fmt.Sprintf("with the measurements of PCRS.md and, if it names PCR16, %x", pcr),
		fmt.Sprintf(`"verify policy generate --purpose %s --configuration %x ..." writes it, "verify policy FILE" checks it`, purpose, digest),
	}
}

// verify holds an answer to everything that is known: its own parts, the holder's
// configuration, and its attestation, which must be of this very request.
func (c *ceremony) verify(answer, nonce []byte, version uint64) (evidence.Generated, error) {
	made, err := evidence.ParseGenerated(answer)
	if err != nil {
		return evidence.Generated{}, unverified(fmt.Errorf("the enclave's answer: %w", err))
	}
	switch e := made.Bundle; {
	case e.Name != c.folder.Name() || e.Version != version:
		err = fmt.Errorf("the bundle is %s version %d, want %s version %d", e.Name, e.Version, c.folder.Name(), version)
	case !bytes.Equal(e.Configuration, c.configuration.Canonical()):
		err = fmt.Errorf("the bundle has configuration %x, want %x", e.ConfigurationDigest(), c.configuration.Digest())
	case e.KMS.Key != c.configuration.KMS.Key:
		err = fmt.Errorf("the bundle is sealed under %s, want %s", e.KMS.Key, c.configuration.KMS.Key)
	}
	if err != nil {
		return evidence.Generated{}, unverified(err)
	}
	return made, c.verifyDocument(made, nonce)
}

// verifyDocument does what `verify document` does, and wants this request's nonce and
// the register of the configuration besides.
func (c *ceremony) verifyDocument(made evidence.Generated, nonce []byte) error {
	now := time.Now()
	options, err := c.Files.Options(now)
	if err != nil {
		return advised(err)
	}
	options.Policy.Now, options.Policy.Nonce, options.Policy.Generation = now, nonce, made.Bound
	o := outcome.Outcome{Subject: "the enclave", AsOf: outcome.FormatTime(now), Result: evidence.VerifyInput(made.Document, options)}
	if err := c.printOutcome(o); err != nil {
		return err
	}
	if o.Result.ExitStatus() != 0 {
		return unverified(errors.New("what the enclave made is not attested as it must be, and was thrown away"), o.Hints()...)
	}
	digest := c.configuration.Digest()
	if got, want := o.Result.Document.PCRs[configurationRegister], pcrs.PCR(register16(digest)); got != want {
		return unverified(fmt.Errorf("PCR16 is %s, want %s, of the folder's configuration", got, want))
	}
	return nil
}

// configurationRegister is the one that shows an enclave's configuration.
const configurationRegister = 16

func (c *ceremony) printOutcome(o outcome.Outcome) error {
	switch failed := o.Result.ExitStatus() != 0; {
	case c.asJSON && failed:
		return c.t.printJSON(o)
	case c.asJSON:
		return nil
	case failed:
		if err := report.Write(c.t.stdout, o.Result.Report.Checks()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(c.t.stdout, o.Line())
	return err
}

// unverified is an error of an answer that is not to be trusted.
func unverified(err error, hints ...string) error {
	return &failure{exitUnverified, err, append(hints, "nothing was written")}
}

// advised gives an error of package reference its exit status and advice here.
func advised(err error) error {
	var r *reference.Error
	if !errors.As(err, &r) {
		return err
	}
	status := exitFailed
	if r.Status == exitUsage {
		status = exitUsage
	} else if r.Status > exitUsage {
		status = exitUnverified
	}
	out := &failure{status: status, err: err}
	if r.Hint != "" {
		out.hints = []string{r.Hint}
	}
	return out
}

// write stores the evidence and then the bundle, so that there is none without it.
func (c *ceremony) write(answer []byte, made evidence.Generated) error {
	if err := holder.CreateFile(c.evidence, answer, 0o644); err != nil {
		return err
	}
	if err := holder.CreateFile(c.out, made.Bundle.Bytes(), 0o644); err != nil {
		return withHint(err, c.evidence+` has the bundle too, in base64 as "bundle"`)
	}
	return nil
}

// show prints what was written, and in JSON which rows were left out and why.
func (c *ceremony) show(made evidence.Generated, skipped map[string]string) error {
	if !c.asJSON {
		describeEnvelope(c.t.stdout, made.Bundle, c.configuration)
		for _, key := range made.PublicKeys() {
			fmt.Fprintln(c.t.stdout, key)
		}
		fmt.Fprintf(c.t.stdout, "\nwritten        %s\nevidence       %s: verify document --at-document-time %s\n", c.out, c.evidence, c.evidence)
		describePolicy(c.t.stdout, c.configuration)
		return nil
	}
	digest, configuration := made.Bundle.Digest(), made.Bundle.ConfigurationDigest()
	return c.t.printJSON(struct {
		Bundle        string            `json:"bundle"`
		Evidence      string            `json:"evidence"`
		Name          string            `json:"name"`
		Version       uint64            `json:"version"`
		Digest        string            `json:"digest"`
		Configuration string            `json:"configuration_digest"`
		KMSKey        string            `json:"kms_key"`
		PublicKeys    []string          `json:"public_keys"`
		Skipped       map[string]string `json:"skipped,omitempty"`
	}{
		c.out, c.evidence, made.Bundle.Name, made.Bundle.Version, hex.EncodeToString(digest[:]),
		hex.EncodeToString(configuration[:]), made.Bundle.KMS.Key, made.PublicKeys(), skipped,
	})
}

// wait tells on standard error what is being waited for, and every ten seconds that
// it still is, until what it returns is called.
func (t *terminal) wait(doing string) (done func()) {
	const pause = 10 * time.Second
	fmt.Fprintf(t.stderr, "%s ...\n", doing)
	started, stop, stopped := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		ticker := time.NewTicker(pause)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				fmt.Fprintf(t.stderr, "... for %v\n", time.Since(started).Round(time.Second))
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// printJSON writes one object.
func (t *terminal) printJSON(v any) error {
	encoder := json.NewEncoder(t.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}
