// Package kmstest is an AWS KMS in memory, for tests and demonstrations on any
// machine.
//
// A [KMS] speaks the JSON protocol of AWS (1.1, X-Amz-Target TrentService.*): the
// five operations that take a Recipient (Decrypt, DeriveSharedSecret,
// GenerateDataKey, GenerateDataKeyPair, GenerateRandom), Encrypt and DescribeKey.
// It checks signatures (SigV4) against credentials that [KMS.Issue] gave, decides
// by each key's policy, verifies attestation documents with the project's own
// verifier below the root of a test's module, refuses documents older than five
// minutes, and answers a recipient with the CMS that AWS writes, in either of its
// forms. Keys are symmetric, or P-256 for key agreement.
//
// What it is not: there is no IAM beside key policies, no alias, no grant, and
// ciphertexts are of its own form. The texts of some messages are its own.
//
// [Options.AllowEmulated] accepts the documents of QEMU's emulated module, which
// nobody signed. Nothing in this package may be linked into an image; tests in the
// enclave's directory prove it.
package kmstest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"holdfast/internal/kmstest/policy"
	"holdfast/verify/attestation/chain"
)

// What a KMS is where Options do not say.
const (
	DefaultRegion  = "eu-central-1"
	DefaultAccount = "123456789012"
)

// A Form is one of the two in which AWS writes the content of CMS.
type Form int

// The forms.
const (
	Constructed Form = iota // [0] of indefinite length around OCTET STRINGs
	Primitive               // [0] of definite length
	Alternating             // the one and the other in turn
)

// Options describe a KMS.
type Options struct {
	Region, Account string

	// Root is that of the module whose documents count, of nsmtest for example.
	// Without it no signed document does.
	Root *x509.Certificate

	// AllowEmulated accepts the documents of QEMU's module, which anybody can
	// write.
	AllowEmulated bool

	// Form is that of answers to a recipient.
	Form Form

	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Faults make a KMS fail. The zero value does not.
type Faults struct {
	Delay    time.Duration // before every answer
	Down     bool          // connections break off
	Throttle int           // so many requests get ThrottlingException
	Internal int           // so many requests get KMSInternalException, with status 500

	// KeyID, where not empty, stands in every answer in place of the key's.
	KeyID string

	// Plaintext puts the plaintext beside what is for the recipient, and
	// IgnoreRecipient in place of it.
	Plaintext, IgnoreRecipient bool

	// Rewrite, where not nil, changes what is for the recipient.
	Rewrite func([]byte) []byte
}

// Credentials are temporary ones, as of AWS STS.
type Credentials struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expiration                                 time.Time
}

// A caller is whoever holds credentials.
type caller struct {
	Credentials
	principal string // ARN
}

// A Call is one that was answered, for tests to look at.
type Call struct {
	Operation string
	Principal string
	Document  []byte // attestation document, nil where there was none
	Error     string // AWS's code, empty for success
}

// A KMS answers for the keys that it has made. It is an [http.Handler].
type KMS struct {
	options Options
	trust   chain.Trust

	mu      sync.Mutex
	keys    map[string]*key    // by ARN
	callers map[string]*caller // by access key id
	faults  Faults
	calls   []Call
	turn    int // counts answers to recipients
}

var _ http.Handler = (*KMS)(nil)

// New makes a KMS without keys or callers.
func New(options Options) (*KMS, error) {
	if options.Region == "" {
		options.Region = DefaultRegion
	}
	if options.Account == "" {
		options.Account = DefaultAccount
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	k := &KMS{options: options, keys: map[string]*key{}, callers: map[string]*caller{}}
	if options.Root != nil {
		var err error
		sum := sha256.Sum256(options.Root.Raw)
		encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: options.Root.Raw})
		if k.trust, err = chain.NewTrust(encoded, hex.EncodeToString(sum[:])); err != nil {
			return nil, fmt.Errorf("kmstest: %w", err)
		}
	}
	return k, nil
}

// Role returns the ARN of a role in the account.
func (k *KMS) Role(name string) string {
	return "arn:aws:iam::" + k.options.Account + ":role/" + name
}

// Issue gives credentials to a principal, for so long.
func (k *KMS) Issue(principal string, lifetime time.Duration) Credentials {
	c := Credentials{
		AccessKeyID:     "ASIA" + upper(random(8)),
		SecretAccessKey: hex.EncodeToString(random(20)),
		SessionToken:    hex.EncodeToString(random(200)),
		Expiration:      k.options.Now().Add(lifetime).UTC().Truncate(time.Second),
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.callers[c.AccessKeyID] = &caller{c, principal}
	return c
}

// CreateKey makes a symmetric key under a policy and returns its ARN.
func (k *KMS) CreateKey(keyPolicy []byte) (string, error) { return k.create(keyPolicy, newSymmetric) }

// CreateAgreementKey makes a P-256 key for DeriveSharedSecret.
func (k *KMS) CreateAgreementKey(keyPolicy []byte) (string, error) {
	return k.create(keyPolicy, newAgreement)
}

func (k *KMS) create(keyPolicy []byte, make func() (*key, error)) (string, error) {
	made, err := make()
	if err != nil {
		return "", fmt.Errorf("kmstest: %w", err)
	}
	made.arn = "arn:aws:kms:" + k.options.Region + ":" + k.options.Account + ":key/" + uuid()
	k.mu.Lock()
	k.keys[made.arn] = made
	k.mu.Unlock()
	return made.arn, k.PutPolicy(made.arn, keyPolicy)
}

// ErrNoKey is the error about a key that was not made here.
var ErrNoKey = errors.New("kmstest: no such key")

// PutPolicy replaces the policy of a key.
func (k *KMS) PutPolicy(arn string, keyPolicy []byte) error {
	parsed, err := policy.Parse(keyPolicy)
	if err != nil {
		return fmt.Errorf("kmstest: %w", err)
	}
	return k.change(arn, func(found *key) { found.policy = parsed })
}

// Disable makes every use of a key fail, or none.
func (k *KMS) Disable(arn string, disabled bool) error {
	return k.change(arn, func(found *key) { found.disabled = disabled })
}

func (k *KMS) change(arn string, apply func(*key)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := k.keys[arn]
	if found == nil {
		return ErrNoKey
	}
	apply(found)
	return nil
}

// Encrypt encrypts as the operation does, without asking the policy.
func (k *KMS) Encrypt(arn string, plaintext []byte, context map[string]string) ([]byte, error) {
	found := k.lookup(arn)
	if found == nil || found.symmetric == nil {
		return nil, ErrNoKey
	}
	return found.encrypt(plaintext, context), nil
}

// PublicKey returns the DER SubjectPublicKeyInfo of an agreement key.
func (k *KMS) PublicKey(arn string) ([]byte, error) {
	found := k.lookup(arn)
	if found == nil || found.agreement == nil {
		return nil, ErrNoKey
	}
	return x509.MarshalPKIXPublicKey(found.agreement.PublicKey())
}

func (k *KMS) lookup(arn string) *key {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys[arn]
}

// SetFaults replaces the faults.
func (k *KMS) SetFaults(f Faults) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.faults = f
}

// Calls returns the calls that were answered so far.
func (k *KMS) Calls() []Call {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Call(nil), k.calls...)
}

// random returns fresh bytes; crypto/rand never fails.
func random(size int) []byte {
	out := make([]byte, size)
	_, _ = rand.Read(out)
	return out
}

// upper encodes in capital letters and digits.
func upper(b []byte) string { return fmt.Sprintf("%X", b) }

// uuid returns a random one (RFC 9562, version 4).
func uuid() string {
	b := random(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
