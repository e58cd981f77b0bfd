package authority

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"

	"software.sslmate.com/src/go-pkcs12"

	"holdfast/enclave/secret"
)

// An Encoding is how a PKCS #12 file is encrypted.
type Encoding int

const (
	// Modern is PBES2 with AES-256 and a MAC of SHA-256: what OpenSSL 3 writes and
	// 1.1.1 reads, so Lighthouse does, whose own tests use such a file; and Java from
	// 12 (or 8u301 and 11.0.12), so Teku does.
	Modern Encoding = iota

	// Legacy is triple DES and SHA-1, for readers older than that.
	Legacy
)

func (e Encoding) encoder() *pkcs12.Encoder {
	if e == Legacy {
		return pkcs12.LegacyDES
	}
	return pkcs12.Modern2023
}

// NewPassword makes a password of 128 random bits in hexadecimal digits, which no
// configuration file needs to quote.
func NewPassword() (secret.Bytes, error) {
	var random [16]byte
	defer clear(random[:])
	if _, err := rand.Read(random[:]); err != nil {
		return secret.Bytes{}, err
	}
	return secret.New(hex.AppendEncode(nil, random[:])), nil
}

// PKCS12 packs a pair that [Authority.Client] made, with its chain.
func (p *Pair) PKCS12(e Encoding, password secret.Bytes) (secret.Bytes, error) {
	block, _ := pem.Decode(p.Key.Reveal())
	if block == nil {
		return secret.Bytes{}, errors.New("authority: the key is damaged")
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return secret.Bytes{}, errors.New("authority: the key is damaged")
	}
	chain, err := parse(p.Certificate)
	if err != nil {
		return secret.Bytes{}, err
	}
	file, err := e.encoder().Encode(key, chain[0], chain[1:], string(password.Reveal()))
	return secret.New(file), err
}

// TrustStore packs certificates that a Java program shall trust. It holds no
// secret; Java wants a password all the same.
func TrustStore(certificates []byte, e Encoding, password secret.Bytes) ([]byte, error) {
	chain, err := parse(certificates)
	if err != nil {
		return nil, err
	}
	return e.encoder().EncodeTrustStore(chain, string(password.Reveal()))
}
