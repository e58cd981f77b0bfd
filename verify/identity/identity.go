// Package identity reads a key holder's age identities from files: those of age-keygen
// (X25519, and the hybrid post-quantum ones), the same protected by a passphrase, and
// SSH private keys of type ssh-ed25519, with a passphrase or without.
//
// An identity opens data keys, so it is as good as the validators' keys. Errors say
// which file and never what is in it.
package identity

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"
)

const (
	// MaxSize bounds a file in bytes. A line of a hybrid identity takes 78.
	MaxSize = 64 << 10

	// MaxPassphrase bounds a passphrase in bytes.
	MaxPassphrase = 1024
)

// A Passphrase asks for the passphrase of a file, which the caller wipes.
type Passphrase func(file string) ([]byte, error)

// Load reads files of identities. A passphrase is asked for at once, so that a file
// that is never needed again need not stay.
func Load(files []string, passphrase Passphrase) ([]age.Identity, error) {
	if len(files) == 0 {
		return nil, errors.New("no identity file")
	}
	var all []age.Identity
	for _, file := range files {
		identities, err := load(file, passphrase)
		if err != nil {
			return nil, fmt.Errorf("identity file %s: %w", file, err)
		}
		all = append(all, identities...)
	}
	return all, nil
}

func load(file string, passphrase Passphrase) ([]age.Identity, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, reason(err)
	}
	defer f.Close()
	data, err := readAll(f)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	ask := func() ([]byte, error) { return passphrase(file) }
	switch text := bytes.TrimSpace(data); {
	case bytes.HasPrefix(text, []byte(armor.Header)):
		return protected(armor.NewReader(bytes.NewReader(text)), ask)
	case bytes.HasPrefix(data, []byte("age-encryption.org/")):
		return protected(bytes.NewReader(data), ask)
	case bytes.HasPrefix(text, []byte("-----BEGIN")):
		identity, err := sshIdentity(data, ask)
		return []age.Identity{identity}, err
	}
	return age.ParseIdentities(bytes.NewReader(data))
}

// reason leaves out a file's name, which the error says once.
func reason(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

func readAll(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err == nil && len(data) > MaxSize {
		clear(data)
		return nil, fmt.Errorf("more than %d bytes", MaxSize)
	}
	return data, err
}

// protected opens identities that a passphrase protects.
func protected(r io.Reader, ask func() ([]byte, error)) ([]age.Identity, error) {
	passphrase, err := ask()
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, err
	}
	opened, err := age.Decrypt(r, identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, errors.New("wrong passphrase")
	}
	if err != nil {
		return nil, err
	}
	data, err := readAll(opened)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	return age.ParseIdentities(bytes.NewReader(data))
}

// sshIdentity reads a private key in PEM.
func sshIdentity(pem []byte, ask func() ([]byte, error)) (age.Identity, error) {
	key, err := ssh.ParseRawPrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		passphrase, askErr := ask()
		if askErr != nil {
			return nil, askErr
		}
		defer clear(passphrase)
		key, err = ssh.ParseRawPrivateKeyWithPassphrase(pem, passphrase)
	}
	if err != nil {
		return nil, err
	}
	switch key := key.(type) {
	case *ed25519.PrivateKey:
		return agessh.NewEd25519Identity(*key)
	case ed25519.PrivateKey:
		return agessh.NewEd25519Identity(key)
	}
	return nil, fmt.Errorf("want an SSH key of type ssh-ed25519, got %T", key)
}
