package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"filippo.io/age"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/keys/authority"
	"holdfast/keys/holder"
	"holdfast/verify/envelope"
)

const sealHelp = `usage: keys seal [flags]

Seals a bundle: the configuration in clear, and under one new data key everything
secret that the signer needs. The data key is wrapped by the configuration's AWS
KMS key, if it names one, and to the folder's age recipients. Every bundle has a
version of its own, one above the last.

AWS is reached with the credentials and settings that its own tools use
(AWS_PROFILE, ~/.aws, AWS_CA_BUNDLE and so on).

flags:
  --out FILE               where the bundle goes (default bundle.hf)
  --no-age                 let AWS KMS alone release it
  --endpoint-url URL       reach AWS KMS elsewhere
` + folderHelp + `
examples:
  keys seal --out bundle.hf
  keys seal --out bundle.hf --no-age
`

// An encrypter is AWS KMS, as far as sealing needs it. The data key is made here and
// encrypted there, rather than made by GenerateDataKey: the key policies of this
// project answer no GenerateDataKey without an attestation (rule K5), so that what
// seals bundles can only encrypt.
type encrypter interface {
	Encrypt(context.Context, *kms.EncryptInput, ...func(*kms.Options)) (*kms.EncryptOutput, error)
}

func newKMS(ctx context.Context, region, endpoint string) (encrypter, error) {
	c, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, err
	}
	return kms.NewFromConfig(c, func(o *kms.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}), nil
}

// kmsTimeout bounds the exchange with KMS, its retries and the credentials'
// included.
const kmsTimeout = time.Minute

// leafWarning is how long before its end a certificate is worth a word.
const leafWarning = 14 * day

func runSeal(ctx context.Context, t *terminal, args []string) error {
	f := newFolderFlags("seal", sealHelp)
	out := f.String("out", "bundle.hf", "")
	noAge := f.Bool("no-age", false, "")
	endpoint := f.String("endpoint-url", "", "")
	if _, err := f.parse(t, args, 0, 0); err != nil {
		return err
	}
	return f.withSecrets(ctx, t, func(folder *holder.Folder, secrets *holder.Secrets) error {
		s := sealing{t: t, folder: folder, secrets: secrets, endpoint: *endpoint}
		if err := s.check(*noAge); err != nil {
			return err
		}
		e, err := s.seal(ctx)
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := holder.WriteFile(*out, e.Bytes(), 0o644); err != nil {
			return err
		}
		s.report(*out, e)
		return nil
	})
}

// sealing is what one bundle is made of.
type sealing struct {
	t        *terminal
	folder   *holder.Folder
	secrets  *holder.Secrets
	endpoint string

	configuration *bundle.Configuration
	recipients    []age.Recipient // none where KMS alone shall release it
}

// check finds what is wrong before a version is spent on it.
func (s *sealing) check(noAge bool) error {
	_, c, complete, err := readConfiguration(s.folder)
	switch {
	case err != nil:
		return err
	case !complete:
		return withHint(errors.New("the configuration names no client: nobody could ask the signer"), `"keys client NAME" adds one`)
	case len(s.secrets.Validators) == 0:
		return withHint(errors.New("the folder has no key"), `"keys add" imports keys, "keys generate" makes them`)
	case noAge && c.KMS == nil:
		return usageError("--no-age: the configuration names no KMS key, so nobody could open the bundle")
	}
	s.configuration = c
	if !noAge {
		if s.recipients, err = s.folder.Recipients(); err != nil {
			return err
		}
	}
	s.warn()
	return s.checkCertificate(time.Now())
}

// warn says again, with each bundle, what was left open on purpose.
func (s *sealing) warn() {
	if name, ok := s.configuration.Clients.Any(); ok {
		s.t.warn("client %s: whoever reaches the signer may have signed what that client may", name)
	}
	if s.configuration.Slashing.Freshness == bundle.JournalFreshness {
		s.t.warn("slashing freshness journal: whoever has the parent's disk can roll slashing records back")
	}
	if s.recipients != nil && !s.folder.IsOwn(s.recipients) {
		s.t.warn("%s does not name your own identity: you cannot open this bundle", s.folder.Path(holder.RecipientsFile))
	}
}

func (s *sealing) checkCertificate(now time.Time) error {
	leaf, err := authority.Leaf(s.secrets.Certificate)
	if err != nil {
		return err
	}
	if now.After(leaf.NotAfter) {
		return withHint(fmt.Errorf("the signer's certificate ended on %s", leaf.NotAfter.Format(time.DateOnly)), `"keys rotate-tls" makes another`)
	}
	if now.Add(leafWarning).After(leaf.NotAfter) {
		s.t.warn(`the signer's certificate ends on %s: "keys rotate-tls" makes another`, leaf.NotAfter.Format(time.DateOnly))
	}
	for _, name := range s.configuration.Names {
		if err := authority.CheckName(leaf, name); err != nil {
			return withHint(fmt.Errorf("the configuration names %s, and the signer's certificate does not: %w", name, err), `"keys rotate-tls" makes another`)
		}
	}
	return nil
}

// seal makes the bundle, and opens it again before anybody has to rely on it.
func (s *sealing) seal(ctx context.Context) (*envelope.Envelope, error) {
	version, err := s.folder.TakeVersion()
	if err != nil {
		return nil, err
	}
	key := make([]byte, envelope.DataKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	dataKey := secret.New(key)
	defer dataKey.Wipe()
	draft := bundle.Draft{
		Name: s.folder.Name(), Version: version, Configuration: s.configuration.Canonical(), Secrets: s.contents(),
	}
	if s.recipients != nil {
		if draft.Age, err = wrapAge(dataKey, s.recipients); err != nil {
			return nil, err
		}
	}
	if s.configuration.KMS != nil {
		if draft.KMS, err = s.wrapKMS(ctx, dataKey, version); err != nil {
			return nil, fmt.Errorf("%s: %w", s.configuration.KMS.Key, err)
		}
	}
	e, err := bundle.Seal(draft, dataKey)
	if err != nil {
		return nil, err
	}
	return e, s.open(e, dataKey)
}

func (s *sealing) contents() bundle.Secrets {
	c := bundle.Secrets{
		TLS:   &bundle.Identity{Certificate: s.secrets.Certificate, Key: s.secrets.Key},
		Token: s.secrets.Token, SlashingKey: s.secrets.SlashingKey,
	}
	if s.configuration.Slashing.Store == bundle.DynamoDB && s.secrets.AccessKeyID != "" {
		c.Store = &bundle.Credentials{AccessKeyID: s.secrets.AccessKeyID, SecretAccessKey: s.secrets.SecretAccessKey}
	}
	for _, v := range s.secrets.Validators {
		c.Validators = append(c.Validators, v.Scalar)
	}
	return c
}

// open opens the bundle from its bytes and compares its keys with the folder's.
func (s *sealing) open(e *envelope.Envelope, dataKey secret.Bytes) error {
	parsed, err := envelope.Parse(e.Bytes())
	if err != nil {
		return err
	}
	opened, err := bundle.Open(parsed, dataKey)
	if err != nil {
		return err
	}
	defer opened.Wipe()
	for i, v := range s.secrets.Validators {
		if bls.PublicKey(parsed.PublicKeys[i]) != v.PublicKey {
			return fmt.Errorf("key %d is not the folder's: got %v, want %v", i, bls.PublicKey(parsed.PublicKeys[i]), v.PublicKey)
		}
	}
	return nil
}

// wrapAge seals a data key to age recipients.
func wrapAge(dataKey secret.Bytes, recipients []age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(dataKey.Reveal()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// wrapKMS has KMS encrypt a data key under the context that only this bundle has.
func (s *sealing) wrapKMS(ctx context.Context, dataKey secret.Bytes, version uint64) (*envelope.KMSWrap, error) {
	ctx, cancel := context.WithTimeout(ctx, kmsTimeout)
	defer cancel()
	c := s.configuration
	client, err := s.t.kms(ctx, c.KMS.Region(), s.endpoint)
	if err != nil {
		return nil, err
	}
	answer, err := client.Encrypt(ctx, &kms.EncryptInput{
		KeyId: &c.KMS.Key, Plaintext: dataKey.Reveal(),
		EncryptionContext: envelope.Context(s.folder.Name(), version, c.Digest()),
	})
	if err != nil {
		return nil, withHint(err, `the caller must be the key policy's provisioner; "verify policy FILE" checks a policy`)
	}
	if answer.KeyId == nil || *answer.KeyId != c.KMS.Key {
		return nil, errors.New("KMS encrypted with another key")
	}
	return &envelope.KMSWrap{Key: c.KMS.Key, Ciphertext: answer.CiphertextBlob}, nil
}

// report says what was sealed and how it comes to an enclave.
func (s *sealing) report(file string, e *envelope.Envelope) {
	describeEnvelope(s.t.stdout, e, s.configuration)
	fmt.Fprintf(s.t.stdout, "\n%s goes to the parent instance as it is; it holds no secret in clear\n", file)
	if e.KMS != nil {
		fmt.Fprintf(s.t.stdout, "AWS KMS releases it by itself, to enclaves that the key policy names\n")
		describePolicy(s.t.stdout, s.configuration)
	}
	if e.Age != nil {
		fmt.Fprintf(s.t.stdout, "\nto release it by hand: verify release --identity %s URL %s\n",
			filepath.ToSlash(s.folder.Path(holder.IdentityFile)), file)
	}
}

// describeEnvelope prints the clear part of a bundle, in brief.
func describeEnvelope(w io.Writer, e *envelope.Envelope, c *bundle.Configuration) {
	fmt.Fprintf(w, "bundle         %s version %d for %s\n", e.Name, e.Version, c.Network.Name)
	digest := e.Digest()
	fmt.Fprintf(w, "digest         %s\n", hex.EncodeToString(digest[:]))
	describeConfiguration(w, c)
	sum := sha256.New()
	for _, key := range e.PublicKeys {
		sum.Write(key[:])
	}
	fmt.Fprintf(w, "public keys    %d, SHA-256 of all %s\n", len(e.PublicKeys), hex.EncodeToString(sum.Sum(nil)))
	if e.KMS != nil {
		fmt.Fprintf(w, "released by    AWS KMS key %s\n", e.KMS.Key)
	}
	if e.Age != nil {
		fmt.Fprintf(w, "released by    %d age recipients\n", countRecipients(e.Age))
	}
}

// countRecipients counts the stanzas of an age file's header (C2SP, age.md). Their
// lines begin with "->", the header's end with "---".
func countRecipients(file []byte) int {
	n := 0
	for line := range bytes.Lines(file) {
		if bytes.HasPrefix(line, []byte("---")) {
			break
		}
		if bytes.HasPrefix(line, []byte("-> ")) {
			n++
		}
	}
	return n
}
