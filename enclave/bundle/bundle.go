// Package bundle reads what an operator releases to an enclave: the configuration
// of the signer and the keys it signs with.
//
// A bundle is one JSON file, read strictly: every field is known, comes once
// and has one spelling, and nothing follows the end. It has a configuration, which
// holds no secret and has a digest ([Bundle.Configuration]) for attestation and
// key policies to name; and beside it what may change under one configuration:
// validators' keys, the TLS identity, the key manager's token. A shorter form
// with a network in the configuration's place is for trying things out: it lets
// any client ask.
//
// The reader decodes secrets straight from the file's bytes into memory of their
// own, so that whoever holds the file can wipe it, and its errors quote nothing
// that could be one.
package bundle

import (
	"crypto/sha512"
	"errors"
	"fmt"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/secret"
	"holdfast/enclave/serve/access"
)

const (
	// Version is the version of the format that [Parse] reads.
	Version = 1

	// MaxSize bounds a file in bytes, and MaxValidators what it may hold: a
	// validator takes 85 bytes as a bare key, some 800 as a keystore.
	MaxSize       = 8 << 20
	MaxValidators = 16384

	// MinToken is the least length of the key manager's token: 128 bits as
	// hexadecimal digits.
	MinToken = 32

	maxToken    = 256
	maxPassword = 1024
)

// A Bundle is what an operator released.
type Bundle struct {
	Settings   Configuration
	Identity   *Identity    // nil where the key made at start stays
	Token      secret.Bytes // the key manager's, MinToken bytes or more; empty where there is none
	Validators []Validator  // 1 to MaxValidators

	digest [sha512.Size384]byte
}

// An Identity is the server's own: PEM of a certificate with its chain, and of the
// key.
type Identity struct {
	Certificate []byte
	Key         secret.Bytes
}

// A Validator is one key: SecretKey, or else Keystore with Password.
type Validator struct {
	SecretKey secret.Bytes // 32 bytes, big-endian; not checked for its range

	Keystore []byte // EIP-2335
	Password secret.Bytes

	PublicKey *bls.PublicKey // what the file says it is, to be compared; nil if it does not
}

// Configuration returns the SHA-384 of the configuration's canonical form (RFC
// 8785), whatever the file's white space and order of fields. A file of the
// shorter form has the digest of the configuration that it implies.
func (b *Bundle) Configuration() [sha512.Size384]byte { return b.digest }

// Wipe overwrites every secret.
func (b *Bundle) Wipe() {
	for _, v := range b.Validators {
		v.wipe()
	}
	if b.Identity != nil {
		b.Identity.Key.Wipe()
	}
	b.Token.Wipe()
}

func (v *Validator) wipe() {
	v.SecretKey.Wipe()
	v.Password.Wipe()
}

// Parse reads a file of at most [MaxSize] bytes. It keeps no part of data.
func Parse(data []byte) (*Bundle, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("bundle: got %d bytes, want at most %d", len(data), MaxSize)
	}
	r := &reader{data: data}
	b := &Bundle{}
	err := r.bundle(b)
	if err == nil {
		err = r.end()
	}
	if err == nil {
		err = b.checkKeyManager()
	}
	if err != nil {
		b.Wipe()
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return b, nil
}

func (r *reader) bundle(b *Bundle) error {
	var configured, implied bool
	err := r.object([]field{
		{name: "version", required: true, read: func() error {
			version, err := r.number()
			if err == nil && version != Version {
				err = fmt.Errorf("got %d, want %d", version, Version)
			}
			return err
		}},
		{name: "configuration", read: func() error {
			configured = true
			return r.digested(b, "%s", func() error { return r.configuration(&b.Settings) })
		}},
		{name: "network", read: func() error {
			implied = true
			return r.digested(b, openConfiguration, func() error { return r.impliedConfiguration(&b.Settings) })
		}},
		{name: "tls", read: func() error { return r.identity(b) }},
		{name: "keymanager_token", read: func() error { return r.token(&b.Token) }},
		{name: "validators", required: true, read: func() error { return r.validators(b) }},
	})
	if err == nil && configured == implied {
		err = errors.New(`want one of fields "configuration" and "network"`)
	}
	return err
}

// digested reads a value and digests its canonical form, put into format.
func (r *reader) digested(b *Bundle, format string, read func() error) error {
	r.skip()
	start := r.at
	if err := read(); err != nil {
		return err
	}
	canonical, err := canonicalize(r.data[start:r.at])
	b.digest = sha512.Sum384(fmt.Appendf(nil, format, canonical))
	return err
}

// impliedConfiguration reads a network that stands in a configuration's place.
func (r *reader) impliedConfiguration(c *Configuration) error {
	err := r.network(&c.Network)
	if err == nil {
		c.Implied = true
		clients := []access.Client{{Policy: policy.Duties("any"), Any: true}}
		withoutGloas(clients)
		c.Clients, err = access.NewList(clients)
	}
	return err
}

func (r *reader) identity(b *Bundle) error {
	b.Identity = &Identity{}
	return r.object([]field{
		{name: "certificate", required: true, read: func() (err error) {
			b.Identity.Certificate, err = r.document(maxPEMSize)
			return err
		}},
		{name: "key", required: true, read: func() error { return r.secretDocument(&b.Identity.Key, maxPEMSize) }},
	})
}

// token reads what a header can carry (RFC 6750 section 2.1).
func (r *reader) token(out *secret.Bytes) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	if len(text) < MinToken || len(text) > maxToken {
		return fmt.Errorf("got %d characters, want %d to %d", len(text), MinToken, maxToken)
	}
	for _, c := range text {
		if c <= ' ' {
			return errors.New("want no space")
		}
	}
	*out = secret.New(append([]byte(nil), text...))
	return nil
}

// checkKeyManager refuses a key manager that nobody could use, and a permission to
// use one that is off.
func (b *Bundle) checkKeyManager() error {
	on, allowed := b.Settings.API.KeyManager, b.Token.Len() > 0 || b.Settings.managed
	switch {
	case on && !allowed:
		return errors.New(`the key manager is on, but there is neither a "keymanager_token" nor a client with "keymanager"`)
	case allowed && !on:
		return errors.New(`somebody may use the key manager, but it is off (hint: "api":{"keymanager":true})`)
	}
	return nil
}

func (r *reader) validators(b *Bundle) error {
	err := r.array(MaxValidators, func() error {
		var v Validator
		if err := r.validator(&v); err != nil {
			v.wipe()
			return err
		}
		b.Validators = append(b.Validators, v)
		return nil
	})
	if err == nil && len(b.Validators) == 0 {
		err = errors.New("got none, want at least 1")
	}
	return err
}

func (r *reader) validator(v *Validator) error {
	err := r.object([]field{
		{name: "secret_key", read: func() error { return r.secretKey(&v.SecretKey) }},
		{name: "keystore", read: func() error {
			if !r.peek('{') {
				return r.want('{')
			}
			file, err := r.value(keystore.MaxSize)
			v.Keystore = append([]byte(nil), file...)
			return err
		}},
		{name: "password", read: func() error { return r.secretDocument(&v.Password, maxPassword) }},
		{name: "public_key", read: func() error {
			v.PublicKey = new(bls.PublicKey)
			return r.publicKey(v.PublicKey)
		}},
	})
	bare, kept, password := v.SecretKey.Len() > 0, v.Keystore != nil, v.Password.Len() > 0
	switch {
	case err != nil:
		return err
	case bare == kept:
		return errors.New(`want one of fields "secret_key" and "keystore"`)
	case kept != password:
		return errors.New(`want "password" with "keystore" and not otherwise`)
	}
	return nil
}

func (r *reader) secretKey(out *secret.Bytes) error {
	var key [32]byte
	if err := r.hex(key[:]); err != nil {
		clear(key[:])
		return err
	}
	*out = secret.New(key[:])
	return nil
}
