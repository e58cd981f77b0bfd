package rows

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"holdfast/enclave/control/message"
)

// MaxFileSize bounds a file of rows, in bytes: what an enclave takes at once, and white space.
const MaxFileSize = 2 * message.MaxBundleSize

// Parse reads the rows that `parent tables export` printed, and checks them as [Read] does.
func Parse(data []byte) (message.Tables, error) {
	var read message.Tables
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		return message.Tables{}, fmt.Errorf("want the JSON of parent tables export: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return message.Tables{}, errors.New("want one JSON object and nothing after it")
	}
	if read.Nonce != "" || read.Name != "" || read.Version != 0 || len(read.Configuration) > 0 {
		return message.Tables{}, errors.New("want rows alone: no nonce, name, version or configuration")
	}
	return read, check(read)
}

// check finds what is wrong with rows that were read from a file.
func check(read message.Tables) error {
	if n := len(read.Validators); n == 0 || n > MaxRows {
		return fmt.Errorf("got %d rows of validators, want 1 to %d", n, MaxRows)
	}
	var wrong []error
	for n, row := range read.Validators {
		if !publicKey.MatchString(row.PublicKey) {
			wrong = append(wrong, fmt.Errorf("row %d: pubkey: got %.100q, want 96 hexadecimal digits", n+1, row.PublicKey))
		} else if err := checkBase64(row.Encrypted); err != nil {
			wrong = append(wrong, fmt.Errorf("row of %s: encrypted_key_password_mnemonic_b64: %w", row.PublicKey, err))
		}
	}
	if t := read.TLS; t != nil {
		if t.KeyID != keyID {
			wrong = append(wrong, fmt.Errorf("TLS row: key_id: got %d, want %d", t.KeyID, keyID))
		}
		if err := errors.Join(checkBase64(t.Certificate), checkBase64(t.EncryptedKey)); err != nil {
			wrong = append(wrong, fmt.Errorf("TLS row: %w", err))
		}
	}
	if len(wrong) > 0 {
		return errors.Join(wrong...)
	}
	return unique(read.Validators)
}

// checkBase64 wants a field of a row to be bounded, standard base64 and not empty.
func checkBase64(text string) error {
	if len(text) > maxFieldSize {
		return fmt.Errorf("got %d bytes, want at most %d", len(text), maxFieldSize)
	}
	if _, err := base64.StdEncoding.Strict().DecodeString(text); err != nil || text == "" {
		return errors.New("want standard base64")
	}
	return nil
}
