// Package bundle opens and makes sealed bundles: what an enclave may do and for
// whom, and the secrets that it does it with.
//
// The file is an [envelope.Envelope]. Its clear part holds the configuration
// ([Configuration]), strict JSON without a secret, whose digest attestation and key
// policies name. Its sealed part holds what may change under one configuration:
// validators' keys, the TLS identity, the key manager's token, the key of slashing
// records and the credentials of their store.
//
// [Seal] and [Open] are each other's inverse and check the same things, so a bundle
// that was sealed opens. Nothing of a bundle is handed out before all of it is
// found good, and no error quotes what could be a secret.
package bundle

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

const (
	// MaxValidators is how many keys a bundle may hold.
	MaxValidators = envelope.MaxPublicKeys

	// MinToken is the least length of the key manager's token: 128 bits as
	// hexadecimal digits.
	MinToken = 32

	// SlashingKeySize is the size of the key under which slashing records are
	// authenticated.
	SlashingKeySize = sha256.Size

	maxToken           = 256
	maxAccessKeyID     = 128 // IAM API reference, AccessKey
	minAccessKeyID     = 16
	maxSecretAccessKey = 256
)

// A Bundle is an opened one.
type Bundle struct {
	Name     string
	Version  uint64
	Settings *Configuration

	Identity    *Identity    // nil where the key made at start stays
	Token       secret.Bytes // the key manager's, MinToken bytes or more; empty where there is none
	SlashingKey secret.Bytes // SlashingKeySize bytes
	Store       *Credentials // what writes the slashing store; nil for the journal

	// Keys are the validators', 1 to MaxValidators, in the order of their public
	// keys, which have been derived and compared with the file's.
	Keys []*bls.SecretKey
}

// An Identity is the server's own: PEM of a certificate with its chain, and of the
// key.
type Identity struct {
	Certificate []byte
	Key         secret.Bytes
}

// Credentials are an access key of AWS IAM.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey secret.Bytes
}

// Wipe overwrites every secret.
func (b *Bundle) Wipe() {
	wipeKeys(b.Keys)
	b.secrets().Wipe()
}

// secrets returns all but the keys.
func (b *Bundle) secrets() *Secrets {
	return &Secrets{TLS: b.Identity, Token: b.Token, SlashingKey: b.SlashingKey, Store: b.Store}
}

func wipeKeys(keys []*bls.SecretKey) {
	for _, key := range keys {
		if key != nil {
			key.Wipe()
		}
	}
}

// ConfigurationOf reads an envelope's configuration and holds it against the rest of
// the clear part. It is what an enclave can know before the data key comes.
func ConfigurationOf(e *envelope.Envelope) (*Configuration, error) {
	c, err := ParseConfiguration(e.Configuration)
	if err != nil {
		return nil, err
	}
	switch {
	case e.KMS == nil:
	case c.KMS == nil:
		return nil, fmt.Errorf(`bundle: the data key is wrapped by KMS key %s, but the configuration names none (hint: "kms":{"key":…})`, e.KMS.Key)
	case c.KMS.Key != e.KMS.Key:
		return nil, fmt.Errorf("bundle: the data key is wrapped by KMS key %s, but the configuration names %s", e.KMS.Key, c.KMS.Key)
	}
	return c, nil
}

// check holds the secrets against the configuration that they are for.
func (s *Secrets) check(c *Configuration) error {
	for _, check := range []func(*Configuration) error{s.checkIdentity, s.checkKeyManager, s.checkStore} {
		if err := check(c); err != nil {
			return err
		}
	}
	return nil
}

func (s *Secrets) checkIdentity(*Configuration) error {
	if s.TLS == nil {
		return nil
	}
	if n := len(s.TLS.Certificate); n == 0 || n > maxPEMSize {
		return fmt.Errorf("TLS certificate: got %d bytes, want 1 to %d", n, maxPEMSize)
	}
	if n := s.TLS.Key.Len(); n == 0 || n > maxPEMSize {
		return fmt.Errorf("TLS key: got %d bytes, want 1 to %d", n, maxPEMSize)
	}
	return nil
}

// checkKeyManager refuses a key manager that nobody could use, and a permission to
// use one that is off.
func (s *Secrets) checkKeyManager(c *Configuration) error {
	token := s.Token.Reveal()
	if len(token) > 0 && (len(token) < MinToken || len(token) > maxToken) {
		return fmt.Errorf("key manager's token: got %d characters, want %d to %d", len(token), MinToken, maxToken)
	}
	if !isGraphic(token) {
		return errors.New("key manager's token: want printable ASCII without space")
	}
	on, allowed := c.API.KeyManager, len(token) > 0 || c.managed
	switch {
	case on && !allowed:
		return errors.New(`the key manager is on, but there is neither a token nor a client with "keymanager"`)
	case allowed && !on:
		return errors.New(`somebody may use the key manager, but it is off (hint: "api":{"keymanager":true})`)
	}
	return nil
}

// isGraphic reports whether text is what a header can carry without quotes (RFC 6750
// section 2.1): printable ASCII, and no space.
func isGraphic(text []byte) bool {
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

func (s *Secrets) checkStore(c *Configuration) error {
	if n := s.SlashingKey.Len(); n != SlashingKeySize {
		return fmt.Errorf("slashing key: got %d bytes, want %d", n, SlashingKeySize)
	}
	switch needed := c.Slashing.Store == DynamoDB; {
	case needed && s.Store == nil:
		return errors.New("the slashing store is a DynamoDB table, but the bundle has no credentials to write it")
	case !needed && s.Store != nil:
		return errors.New(`there are credentials of a slashing store that is not used (hint: "slashing":{"store":"dynamodb"})`)
	case needed:
		return s.Store.check()
	}
	return nil
}

func (c *Credentials) check() error {
	id, key := []byte(c.AccessKeyID), c.SecretAccessKey.Reveal()
	if len(id) < minAccessKeyID || len(id) > maxAccessKeyID || !isGraphic(id) {
		return fmt.Errorf("access key id of the slashing store: want %d to %d printable characters", minAccessKeyID, maxAccessKeyID)
	}
	if len(key) == 0 || len(key) > maxSecretAccessKey || !isGraphic(key) {
		return fmt.Errorf("secret access key of the slashing store: want 1 to %d printable characters", maxSecretAccessKey)
	}
	return nil
}
