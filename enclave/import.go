package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"holdfast/enclave/bundle"
	"holdfast/enclave/control/message"
	"holdfast/enclave/secret"
	"holdfast/enclave/tables"
	"holdfast/enclave/unseal"
)

// tablesKeyID is that of the one TLS key that the predecessor's tables have.
const tablesKeyID = 1

// ImportTables is part of [control.Enclave]: the predecessor's rows, decrypted inside
// and sealed as a bundle. Inactive rows are left out. One row that does not open
// fails the import, since a validator that is missing is noticed late.
func (a *application) ImportTables(ctx context.Context, rows message.Tables) (message.Generated, error) {
	if len(rows.Validators) == 0 || len(rows.Validators) > bundle.MaxValidators {
		return message.Generated{}, fmt.Errorf("got %d rows, want 1 to %d", len(rows.Validators), bundle.MaxValidators)
	}
	c, err := a.begin(ctx, rows.Name, rows.Version, rows.Configuration, rows.Nonce)
	if err != nil {
		return message.Generated{}, err
	}
	keys, err := a.kmsOf(c.configuration)
	if err != nil {
		return message.Generated{}, err
	}
	i := &tableImport{application: a, keys: keys, skipped: make(map[string]string)}
	defer i.secrets.Wipe()
	for n, row := range rows.Validators {
		if err := i.validator(ctx, row); err != nil {
			return message.Generated{}, fmt.Errorf("row %d, %.100q: %w", n+1, row.PublicKey, err)
		}
	}
	if rows.TLS != nil {
		if err := i.tls(ctx, rows.TLS); err != nil {
			return message.Generated{}, fmt.Errorf("TLSKeyTable: %w", err)
		}
	}
	made, err := a.finish(ctx, c, &i.secrets)
	made.Skipped = i.skipped
	return made, err
}

// tableImport is one import under way.
type tableImport struct {
	*application
	keys    *unseal.KMS
	secrets bundle.Secrets
	skipped map[string]string
}

func (i *tableImport) validator(ctx context.Context, row message.ValidatorRow) error {
	if !row.Active {
		i.skipped[row.PublicKey] = "inactive"
		return nil
	}
	plaintext, err := i.decrypt(ctx, row.Encrypted)
	if err != nil {
		return err
	}
	defer plaintext.Wipe()
	scalar, err := tables.Validator(ctx, plaintext.Reveal(), strings.ToLower(row.PublicKey), i.opener)
	if err != nil {
		return err
	}
	i.secrets.Validators = append(i.secrets.Validators, scalar)
	return nil
}

func (i *tableImport) tls(ctx context.Context, row *message.TLSRow) error {
	if row.KeyID != tablesKeyID {
		return fmt.Errorf("got key_id %d, want %d", row.KeyID, tablesKeyID)
	}
	plaintext, err := i.decrypt(ctx, row.EncryptedKey)
	if err != nil {
		return err
	}
	defer plaintext.Wipe()
	certificate, key, err := tables.TLS(plaintext.Reveal(), row.Certificate)
	i.secrets.TLS = &bundle.Identity{Certificate: certificate, Key: key}
	return err
}

// decrypt has KMS decrypt a row. The sample used no encryption context.
func (i *tableImport) decrypt(ctx context.Context, column string) (secret.Bytes, error) {
	ciphertext, err := base64.StdEncoding.DecodeString(column)
	if err != nil {
		return secret.Bytes{}, errors.New("the encrypted column is not base64")
	}
	return i.keys.DecryptData(ctx, ciphertext, nil)
}
