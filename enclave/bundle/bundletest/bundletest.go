// Package bundletest makes sealed bundles from short descriptions, for tests and
// demonstrations. Key holders use the keys command. No program of an image links it.
package bundletest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"holdfast/enclave/bundle"
	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

// A Sealed is a bundle with what opens it.
type Sealed struct {
	Envelope *envelope.Envelope
	DataKey  secret.Bytes

	// Identity is the age identity that the data key is wrapped to, as a line of an
	// identity file; empty if it is wrapped by KMS only.
	Identity string
}

// description is what a caller writes.
type description struct {
	Name          string          `json:"name"`
	Version       uint64          `json:"version"`
	Configuration json.RawMessage `json:"configuration"`
	Network       json.RawMessage `json:"network"`
	TLS           *struct {
		Certificate string `json:"certificate"`
		Key         string `json:"key"`
	} `json:"tls"`
	Token       string `json:"keymanager_token"`
	SlashingKey string `json:"slashing_key"`
	Store       *struct {
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
	} `json:"store"`
	Validators []struct {
		SecretKey string `json:"secret_key"`
	} `json:"validators"`
}

// SlashingKey is what a description without one gets.
var SlashingKey = bytes.Repeat([]byte{0x5a}, bundle.SlashingKeySize)

// open lets any client ask for ordinary duties with any key.
const open = `{"clients":[{"any":true,"keys":"all","name":"any"}],"network":%s}`

// Draft reads a description:
//
//	{"name": "test", "version": 1, "configuration": {…}, "validators": [{"secret_key": "0x…"}],
//	 "tls": {"certificate": PEM, "key": PEM}, "keymanager_token": "…", "slashing_key": "0x…",
//	 "store": {"access_key_id": "…", "secret_access_key": "…"}}
//
// Only the configuration and the validators must be there; "network" may stand in the
// configuration's place, for one that lets any client ask.
func Draft(text []byte) (bundle.Draft, error) {
	d := description{Name: "test", Version: 1}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		return bundle.Draft{}, fmt.Errorf("bundletest: %w", err)
	}
	if d.Configuration == nil {
		d.Configuration = fmt.Appendf(nil, open, d.Network)
	}
	secrets, err := d.secrets()
	return bundle.Draft{Name: d.Name, Version: d.Version, Configuration: d.Configuration, Secrets: secrets}, err
}

func (d *description) secrets() (bundle.Secrets, error) {
	s := bundle.Secrets{Token: secret.New([]byte(d.Token)), SlashingKey: secret.New(bytes.Clone(SlashingKey))}
	if d.TLS != nil {
		s.TLS = &bundle.Identity{Certificate: []byte(d.TLS.Certificate), Key: secret.New([]byte(d.TLS.Key))}
	}
	if d.Store != nil {
		s.Store = &bundle.Credentials{AccessKeyID: d.Store.AccessKeyID, SecretAccessKey: secret.New([]byte(d.Store.SecretAccessKey))}
	}
	var err error
	if d.SlashingKey != "" {
		if s.SlashingKey, err = decode(d.SlashingKey); err != nil {
			return s, fmt.Errorf("bundletest: slashing_key: %w", err)
		}
	}
	for i, v := range d.Validators {
		scalar, err := decode(v.SecretKey)
		if err != nil {
			return s, fmt.Errorf("bundletest: validator %d: %w", i+1, err)
		}
		s.Validators = append(s.Validators, scalar)
	}
	return s, nil
}

func decode(digits string) (secret.Bytes, error) {
	b, err := hex.DecodeString(strings.TrimPrefix(digits, "0x"))
	return secret.New(b), err
}

// Seal seals what a description says, under a new data key that is wrapped to a new
// age identity.
func Seal(text []byte) (*Sealed, error) {
	d, err := Draft(text)
	if err != nil {
		return nil, err
	}
	return SealDraft(d)
}

// SealDraft seals a draft under a new data key. The key is wrapped to a new age
// identity, unless the draft has an age file already.
func SealDraft(d bundle.Draft) (*Sealed, error) {
	s := &Sealed{DataKey: NewDataKey()}
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		return nil, err
	}
	if d.Age == nil {
		s.Identity = identity.String()
		if d.Age, err = Wrap(s.DataKey, identity.Recipient()); err != nil {
			return nil, err
		}
	}
	s.Envelope, err = bundle.Seal(d, s.DataKey)
	return s, err
}

// NewDataKey returns a random data key.
func NewDataKey() secret.Bytes {
	key := make([]byte, envelope.DataKeySize)
	rand.Read(key)
	return secret.New(key)
}

// Wrap encrypts a data key to age recipients.
func Wrap(dataKey secret.Bytes, recipients ...age.Recipient) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(dataKey.Reveal()); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

// Bytes returns the bundle's file.
func (s *Sealed) Bytes() []byte { return s.Envelope.Bytes() }

// Write writes bundle.hf and identity.txt, as `verify release --identity` reads
// them, to a folder, and returns their names.
func (s *Sealed) Write(dir string) (file, identity string, err error) {
	file, identity = filepath.Join(dir, "bundle.hf"), filepath.Join(dir, "identity.txt")
	if err := os.WriteFile(file, s.Bytes(), 0o644); err != nil {
		return "", "", err
	}
	return file, identity, os.WriteFile(identity, []byte(s.Identity+"\n"), 0o600)
}
