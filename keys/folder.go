package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"holdfast/enclave/secret"
	"holdfast/keys/holder"
)

// open opens the folder of a command line.
func (f *flags) open(ctx context.Context, t *terminal) (*holder.Folder, error) {
	folder, err := holder.Open(f.dir, func() (secret.Bytes, error) {
		if f.passphraseFile != "" {
			return readSecret(f.passphraseFile)
		}
		return t.askPassphrase(ctx, fmt.Sprintf("Passphrase of %s: ", f.dir))
	})
	if errors.Is(err, holder.ErrPassphrase) || err == nil {
		return folder, err
	}
	return nil, withHint(err, `"keys new" makes a folder, --dir names another`)
}

func (t *terminal) askPassphrase(ctx context.Context, prompt string) (secret.Bytes, error) {
	c, err := t.console()
	if err != nil {
		return secret.Bytes{}, withHint(fmt.Errorf("a passphrase is needed: %w", err), "--passphrase-file names a file with it")
	}
	defer c.Close()
	return c.Ask(ctx, prompt, true)
}

// newPassphrase reads or asks for the passphrase of a new identity. An empty one
// is none, which --no-passphrase has to ask for.
func (f *flags) newPassphrase(ctx context.Context, t *terminal, none bool) (secret.Bytes, error) {
	switch {
	case none && f.passphraseFile != "":
		return secret.Bytes{}, usageError("--passphrase-file and --no-passphrase exclude each other")
	case none:
		return secret.Bytes{}, nil
	case f.passphraseFile != "":
		return readSecret(f.passphraseFile)
	}
	c, err := t.console()
	if err != nil {
		return secret.Bytes{}, &failure{exitUsage, fmt.Errorf("the identity needs a passphrase: %w", err),
			[]string{"--passphrase-file names a file with it; --no-passphrase leaves the identity in clear"}}
	}
	defer c.Close()
	first, err := c.Ask(ctx, "Passphrase for the new identity: ", true)
	if err != nil {
		return secret.Bytes{}, err
	}
	second, err := c.Ask(ctx, "The same again: ", true)
	defer second.Wipe()
	switch {
	case err != nil:
		return secret.Bytes{}, err
	case !bytes.Equal(first.Reveal(), second.Reveal()):
		return secret.Bytes{}, errors.New("these were two passphrases")
	case first.Len() > maxSecretFile:
		return secret.Bytes{}, fmt.Errorf("the passphrase has %d bytes, want at most %d", first.Len(), maxSecretFile)
	case first.Len() == 0:
		return secret.Bytes{}, withHint(errors.New("the passphrase is empty"), "--no-passphrase leaves the identity in clear")
	}
	return first, nil
}

// withSecrets opens a folder and its secrets for one piece of work.
func (f *flags) withSecrets(ctx context.Context, t *terminal, work func(*holder.Folder, *holder.Secrets) error) error {
	folder, err := f.open(ctx, t)
	if err != nil {
		return err
	}
	defer folder.Close()
	secrets, err := folder.Secrets()
	if err != nil {
		return err
	}
	defer secrets.Wipe()
	return work(folder, secrets)
}
