package unseal

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awskms "github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"holdfast/enclave/nsm"
	"holdfast/enclave/secret"
	"holdfast/enclave/unseal/cms"
	"holdfast/verify/envelope"
)

const (
	// DataKeySize is that of a data key, AES-256.
	DataKeySize = 32

	// MaxCiphertextSize bounds a CiphertextBlob, and MaxPlaintextSize what KMS
	// encrypts directly (KMS API reference, Decrypt and Encrypt).
	MaxCiphertextSize = 6144
	MaxPlaintextSize  = 4096

	// maxContextSize bounds an encryption context, names and values together.
	maxContextSize = 8192
)

// The patience of a call.
const (
	callTimeout    = 30 * time.Second
	attemptTimeout = 10 * time.Second
	maxAttempts    = 3
	firstPause     = 250 * time.Millisecond
)

// A KMSModule makes attestation documents and shows registers. [nsm.Device] is one.
type KMSModule interface {
	Attest(context.Context, nsm.Request) ([]byte, error)
	DescribePCR(ctx context.Context, index int) (nsm.Register, error)
}

// KMSConfig is what calls to KMS need. All but Endpoint is required.
type KMSConfig struct {
	// Key is the full ARN of the one key. An alias is refused: whoever may move
	// it chooses the key.
	Key string

	// Endpoint is https://host[:port], or empty for [Endpoint]'s.
	Endpoint string

	// Client ends TLS in the enclave; package egress makes them.
	Client *http.Client

	Module      KMSModule
	Credentials aws.CredentialsProvider

	// Clock is a time that the host cannot set. KMS refuses a signature that is
	// five minutes off.
	Clock func() time.Time

	Log *slog.Logger
}

// A KMS has AWS KMS decrypt for this enclave. Each call makes an RSA key of its
// own, and each attempt an attestation document that carries the public key: KMS
// encrypts what it answers to that key, after it has compared the document with
// the key's policy. Make one with [NewKMS]; any number of goroutines may use it.
type KMS struct {
	key         string
	client      *awskms.Client
	module      KMSModule
	credentials aws.CredentialsProvider
	log         *slog.Logger
}

// NewKMS makes a client of one key. It makes no call.
func NewKMS(c KMSConfig) (*KMS, error) {
	arn, err := envelope.ParseARN(c.Key, envelope.KMSKey)
	if err != nil {
		return nil, fmt.Errorf("kms: key: %w", err)
	}
	endpoint, err := Endpoint(c.Key, c.Endpoint)
	if err != nil {
		return nil, err
	}
	if c.Client == nil || c.Module == nil || c.Credentials == nil || c.Clock == nil || c.Log == nil {
		return nil, errors.New("kms: the configuration is incomplete")
	}
	return &KMS{
		key: c.Key, module: c.Module, credentials: c.Credentials, log: c.Log,
		client: awskms.New(awskms.Options{
			BaseEndpoint: aws.String(endpoint.String()),
			Credentials:  c.Credentials,
			HTTPClient:   c.Client,
			HTTPSignerV4: &signer{clock: c.Clock, next: v4.NewSigner()},
			Region:       arn.Region,
			Retryer:      aws.NopRetryer{}, // an attempt takes a new document: see try
		}),
	}, nil
}

// Endpoint returns where calls for a key go: to endpoint, which must be
// https://host[:port], or where that is empty to the public endpoint of the
// key's region.
func Endpoint(key, endpoint string) (*url.URL, error) {
	if endpoint == "" {
		host, err := envelope.Host(key, envelope.KMSKey)
		if err != nil {
			return nil, fmt.Errorf("kms: key: %w", err)
		}
		endpoint = "https://" + host
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || endpoint != "https://"+u.Host {
		return nil, fmt.Errorf("kms: got endpoint %q, want https://host[:port]", endpoint)
	}
	return u, nil
}

// A signer signs by the trusted clock, whatever the time of the system.
type signer struct {
	clock func() time.Time
	next  *v4.Signer
}

// SignHTTP serves [awskms.HTTPSignerV4].
func (s *signer) SignHTTP(ctx context.Context, credentials aws.Credentials, r *http.Request, payloadHash, service, region string, _ time.Time, options ...func(*v4.SignerOptions)) error {
	return s.next.SignHTTP(ctx, credentials, r, payloadHash, service, region, s.clock(), options...)
}

// Decrypt opens a data key of [DataKeySize] bytes that was encrypted under the
// key with this encryption context. The caller wipes it. An error is a
// [*KMSError], or says what is wrong with the arguments.
func (k *KMS) Decrypt(ctx context.Context, ciphertext []byte, encryptionContext map[string]string) (secret.Bytes, error) {
	return k.decrypt(ctx, ciphertext, encryptionContext, DataKeySize)
}

// DecryptData opens up to [MaxPlaintextSize] bytes that KMS encrypted directly,
// as in the tables of the predecessors. CBC finds less of what was changed when
// the size is not known: see package cms.
func (k *KMS) DecryptData(ctx context.Context, ciphertext []byte, encryptionContext map[string]string) (secret.Bytes, error) {
	return k.decrypt(ctx, ciphertext, encryptionContext, cms.AnySize)
}

func (k *KMS) decrypt(ctx context.Context, ciphertext []byte, encryptionContext map[string]string, size int) (secret.Bytes, error) {
	if n := len(ciphertext); n == 0 || n > MaxCiphertextSize {
		return secret.Bytes{}, fmt.Errorf("kms: got a ciphertext of %d bytes, want 1 to %d", n, MaxCiphertextSize)
	}
	plaintext, _, err := k.call(ctx, "Decrypt", encryptionContext, size, func(ctx context.Context, recipient *types.RecipientInfo) (answer, error) {
		out, err := k.client.Decrypt(ctx, &awskms.DecryptInput{
			CiphertextBlob:      ciphertext,
			EncryptionAlgorithm: types.EncryptionAlgorithmSpecSymmetricDefault,
			EncryptionContext:   encryptionContext,
			KeyId:               aws.String(k.key),
			Recipient:           recipient,
		})
		if err != nil {
			return answer{}, err
		}
		return answer{key: out.KeyId, plaintext: out.Plaintext, forRecipient: out.CiphertextForRecipient}, nil
	})
	return plaintext, err
}

// GenerateDataKey has KMS make a data key of [DataKeySize] bytes, and returns it
// with the ciphertext that Decrypt opens under the same encryption context. The
// caller wipes the key. Errors are those of Decrypt.
func (k *KMS) GenerateDataKey(ctx context.Context, encryptionContext map[string]string) (secret.Bytes, []byte, error) {
	return k.call(ctx, "GenerateDataKey", encryptionContext, DataKeySize, func(ctx context.Context, recipient *types.RecipientInfo) (answer, error) {
		out, err := k.client.GenerateDataKey(ctx, &awskms.GenerateDataKeyInput{
			EncryptionContext: encryptionContext,
			KeyId:             aws.String(k.key),
			KeySpec:           types.DataKeySpecAes256,
			Recipient:         recipient,
		})
		if err != nil {
			return answer{}, err
		}
		if n := len(out.CiphertextBlob); n == 0 || n > MaxCiphertextSize {
			clear(out.Plaintext)
			return answer{}, protocolError(fmt.Sprintf("got a wrapped key of %d bytes, want 1 to %d", n, MaxCiphertextSize))
		}
		return answer{key: out.KeyId, plaintext: out.Plaintext, forRecipient: out.CiphertextForRecipient, wrapped: out.CiphertextBlob}, nil
	})
}

// An answer is the part of an answer that both operations have.
type answer struct {
	key                     *string
	plaintext, forRecipient []byte
	wrapped                 []byte
}

// A request sends one, with the recipient that the attempt made.
type request func(context.Context, *types.RecipientInfo) (answer, error)

// call makes the key of a call, and attempts until one succeeds, further ones
// would not help, or patience ends.
func (k *KMS) call(ctx context.Context, operation string, encryptionContext map[string]string, size int, send request) (secret.Bytes, []byte, error) {
	if err := checkContext(encryptionContext); err != nil {
		return secret.Bytes{}, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key, err := rsa.GenerateKey(rand.Reader, cms.KeyBits)
	if err != nil {
		return secret.Bytes{}, nil, fmt.Errorf("kms: %w", err)
	}
	defer wipe(key)
	pause := firstPause
	for attempt := 1; ; attempt++ {
		plaintext, wrapped, err := k.try(ctx, key, size, send)
		if err == nil {
			return plaintext, wrapped, nil
		}
		failure := k.explain(ctx, operation, err)
		if attempt == maxAttempts || !failure.again || !sleep(ctx, pause) {
			return secret.Bytes{}, nil, failure
		}
		k.log.Warn("asking KMS again", "attempt", attempt, "problem", failure)
		pause *= 2
	}
}

// sleep waits from half of d to d, and returns false if ctx ends before.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d/2 + mathrand.N(d/2)):
		return true
	case <-ctx.Done():
		return false
	}
}

// try is one attempt.
func (k *KMS) try(ctx context.Context, key *rsa.PrivateKey, size int, send request) (secret.Bytes, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	// Before the document, because without them there is nothing to attest for.
	if _, err := k.credentials.Retrieve(ctx); err != nil {
		return secret.Bytes{}, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return secret.Bytes{}, nil, err
	}
	document, err := k.module.Attest(ctx, nsm.Request{PublicKey: spki})
	if err != nil {
		return secret.Bytes{}, nil, attestError{err}
	}
	got, err := send(ctx, &types.RecipientInfo{
		AttestationDocument:    document,
		KeyEncryptionAlgorithm: types.KeyEncryptionMechanismRsaesOaepSha256,
	})
	if err != nil {
		return secret.Bytes{}, nil, err
	}
	plaintext, err := k.receive(got, key, size)
	return plaintext, got.wrapped, err
}

// receive checks an answer and opens what it holds.
func (k *KMS) receive(got answer, key *rsa.PrivateKey, size int) (secret.Bytes, error) {
	defer clear(got.plaintext)
	switch {
	case len(got.plaintext) != 0:
		return secret.Bytes{}, protocolError("got the plaintext itself, want it encrypted to the recipient")
	case aws.ToString(got.key) != k.key:
		return secret.Bytes{}, protocolError(fmt.Sprintf("got an answer of key %q", clip(aws.ToString(got.key))))
	case len(got.forRecipient) == 0:
		return secret.Bytes{}, protocolError("got nothing encrypted to the recipient")
	}
	enveloped, err := cms.Parse(got.forRecipient)
	if err != nil {
		return secret.Bytes{}, protocolError(err.Error())
	}
	plaintext, err := enveloped.Open(key, size)
	if err != nil {
		return secret.Bytes{}, protocolError(err.Error())
	}
	if n := plaintext.Len(); n == 0 || n > MaxPlaintextSize {
		plaintext.Wipe()
		return secret.Bytes{}, protocolError(fmt.Sprintf("got a plaintext of %d bytes, want 1 to %d", n, MaxPlaintextSize))
	}
	return plaintext, nil
}

func checkContext(encryptionContext map[string]string) error {
	size := 0
	for name, value := range encryptionContext {
		size += len(name) + len(value)
	}
	if size > maxContextSize {
		return fmt.Errorf("kms: got an encryption context of %d bytes, want at most %d", size, maxContextSize)
	}
	return nil
}

// wipe overwrites what can be reached of a key. Its precomputed form in the
// standard library's module is dropped with it, and not overwritten.
func wipe(key *rsa.PrivateKey) {
	numbers := append([]*big.Int{key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv}, key.Primes...)
	for _, number := range numbers {
		if number != nil {
			clear(number.Bits())
		}
	}
}
