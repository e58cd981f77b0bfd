// Package bundle reads what an operator releases to an enclave: the network it
// serves and the keys it signs with.
//
// A bundle is one JSON file, read strictly: every field is known, comes once
// and has one spelling, and nothing follows the end. The reader decodes secrets
// straight from the file's bytes into memory of their own, so that whoever
// holds the file can wipe it, and its errors quote nothing that could be one.
package bundle

import (
	"crypto/subtle"
	"fmt"

	"holdfast/enclave/secret"
)

const (
	// Version is the version of the format that [Parse] reads.
	Version = 1

	// MaxSize bounds a file in bytes, and MaxValidators what it may hold: a
	// validator takes about 90 bytes.
	MaxSize       = 1 << 20
	MaxValidators = 1000
)

// A Bundle is what an operator released.
type Bundle struct {
	Network    Network
	Validators []Validator // 1 to MaxValidators, no two with one key
}

// A Validator is one key.
type Validator struct {
	SecretKey secret.Bytes // 32 bytes, big-endian; not checked for its range
}

// Wipe overwrites every key.
func (b *Bundle) Wipe() {
	for _, v := range b.Validators {
		v.SecretKey.Wipe()
	}
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
		err = b.checkKeys()
	}
	if err != nil {
		b.Wipe()
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return b, nil
}

func (r *reader) bundle(b *Bundle) error {
	return r.object([]field{
		{name: "version", required: true, read: func() error {
			version, err := r.number()
			if err == nil && version != Version {
				err = fmt.Errorf("got %d, want %d", version, Version)
			}
			return err
		}},
		{name: "network", required: true, read: func() error { return r.network(&b.Network) }},
		{name: "validators", required: true, read: func() error { return r.validators(b) }},
	})
}

func (r *reader) validators(b *Bundle) error {
	err := r.array(MaxValidators, func() error {
		var v Validator
		if err := r.object([]field{
			{name: "secret_key", required: true, read: func() error { return r.secretKey(&v.SecretKey) }},
		}); err != nil {
			v.SecretKey.Wipe()
			return err
		}
		b.Validators = append(b.Validators, v)
		return nil
	})
	if err == nil && len(b.Validators) == 0 {
		err = fmt.Errorf("got none, want at least 1")
	}
	return err
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

// checkKeys finds a key that comes twice, most likely a mistake of whoever
// wrote the file.
func (b *Bundle) checkKeys() error {
	for i, v := range b.Validators {
		for j, earlier := range b.Validators[:i] {
			if subtle.ConstantTimeCompare(v.SecretKey.Reveal(), earlier.SecretKey.Reveal()) == 1 {
				return fmt.Errorf("validators: number %d has the key of number %d", i+1, j+1)
			}
		}
	}
	return nil
}
