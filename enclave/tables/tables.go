// Package tables reads what the AWS sample for blockchain validation in Nitro
// Enclaves kept in its DynamoDB tables, so that its operators can move over.
//
// A row of ValidatorKeyTable holds, encrypted by KMS, an EIP-2335 keystore with its
// password and the mnemonic that all keys of the operator came from. The mnemonic
// has no business in a signer: it is not decoded, and the plaintext that it came in
// is wiped by whoever decrypted it. A row of TLSKeyTable holds a PKCS #12 file.
//
// A row's ciphertext says nothing of the row, so rows may have been swapped: the
// public key is derived and compared.
package tables

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
)

// MaxPlaintext bounds what KMS encrypts directly, and so what a row can hold.
const MaxPlaintext = 4096

// An Opener opens keystores. keystore.Opener is one.
type Opener interface {
	OpenScalar(ctx context.Context, file, password []byte) (secret.Bytes, *bls.SecretKey, error)
}

var errForm = errors.New("the decrypted row is not what the sample writes")

// unread stands for a field that nobody needs.
type unread struct{}

func (unread) UnmarshalJSON([]byte) error { return nil }

// Validator returns the key, 32 big-endian bytes, in a decrypted row of
// ValidatorKeyTable, after it has compared it with the row's public key, 96
// hexadecimal digits with or without 0x. It keeps no part of plaintext, which the
// caller wipes, as it does the result.
func Validator(ctx context.Context, plaintext []byte, publicKey string, opener Opener) (secret.Bytes, error) {
	var row struct {
		Keystore []byte `json:"keystore_b64"`
		Password []byte `json:"password_b64"`
		Mnemonic unread `json:"mnemonic_b64"`
	}
	err := decode(plaintext, &row)
	defer clear(row.Password)
	if err != nil {
		return secret.Bytes{}, err
	}
	if len(row.Keystore) == 0 || len(row.Password) == 0 {
		return secret.Bytes{}, errForm
	}
	want, err := bls.ParsePublicKey(publicKey)
	if err != nil {
		return secret.Bytes{}, err
	}
	scalar, key, err := opener.OpenScalar(ctx, row.Keystore, row.Password)
	if err != nil {
		return secret.Bytes{}, err
	}
	defer key.Wipe()
	if got := key.PublicKey(); got != want {
		scalar.Wipe()
		return secret.Bytes{}, fmt.Errorf("the row is of %v, but it holds the key of %v: rows were swapped, or written wrongly", want, got)
	}
	return scalar, nil
}

// TLS returns PEM of the certificate and of the key in a row of TLSKeyTable, whose
// certificate column is base64 of PEM.
func TLS(plaintext []byte, certificateColumn string) (certificate []byte, key secret.Bytes, err error) {
	var row struct {
		Password []byte `json:"tls_password_b64"`
		Keystore []byte `json:"tls_keystore_b64"`
	}
	err = decode(plaintext, &row)
	defer clear(row.Password)
	defer clear(row.Keystore)
	if err != nil {
		return nil, key, err
	}
	private, leaf, chain, err := pkcs12.DecodeChain(row.Keystore, strings.TrimRight(string(row.Password), "\r\n"))
	if err != nil {
		return nil, key, errors.New("the TLS keystore does not open with its password")
	}
	if err := compare(leaf, certificateColumn); err != nil {
		return nil, key, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, key, errForm
	}
	defer clear(der)
	for _, c := range append([]*x509.Certificate{leaf}, chain...) {
		certificate = append(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return certificate, secret.New(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// compare holds the certificate in the keystore to the one beside it, which clients
// were told to trust.
func compare(leaf *x509.Certificate, column string) error {
	text, err := base64.StdEncoding.DecodeString(column)
	if err != nil {
		return errors.New("cert_pem is not base64")
	}
	block, _ := pem.Decode(text)
	if block == nil || !bytes.Equal(block.Bytes, leaf.Raw) {
		return errors.New("cert_pem is not the certificate of the TLS keystore")
	}
	return nil
}

// decode reads one JSON object. Its errors show nothing of it.
func decode(plaintext []byte, into any) error {
	if len(plaintext) > MaxPlaintext {
		return fmt.Errorf("got a row of %d bytes, want at most %d", len(plaintext), MaxPlaintext)
	}
	decoder := json.NewDecoder(bytes.NewReader(plaintext))
	decoder.DisallowUnknownFields()
	if decoder.Decode(into) != nil {
		return errForm
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errForm
	}
	return nil
}
