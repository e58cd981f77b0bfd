package eif

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"holdfast/verify/pcrs"
)

// Signature is a signature section: a certificate, and a COSE_Sign1 message (RFC 9052) by its key over the value of
// PCR0. The hypervisor checks it before it boots the image, refuses an expired certificate, and puts the
// certificate's hash into PCR8.
type Signature struct {
	raw         []byte
	certificate *x509.Certificate
	key         *ecdsa.PublicKey
	algorithm   *signatureAlgorithm
	signed      pcrs.PCR // the PCR0 that the message says it is over
	signature   []byte   // r and s, each as long as the curve's order
}

// signatureAlgorithm pairs a COSE algorithm with the only curve it is used with (RFC 9053 section 2.1).
type signatureAlgorithm struct {
	name      string
	curve     elliptic.Curve
	protected string // the protected header, {1: algorithm}
	size      int
	digest    func([]byte) []byte
}

var signatureAlgorithms = []*signatureAlgorithm{
	{"ES256", elliptic.P256(), "\xa1\x01\x26", 64, func(b []byte) []byte { d := sha256.Sum256(b); return d[:] }},
	{"ES384", elliptic.P384(), "\xa1\x01\x38\x22", 96, func(b []byte) []byte { d := sha512.Sum384(b); return d[:] }},
	{"ES512", elliptic.P521(), "\xa1\x01\x38\x23", 132, func(b []byte) []byte { d := sha512.Sum512(b); return d[:] }},
}

// ParseSignature reads the content of a signature section, which is one tuple of certificate and signature, in the
// one encoding that AWS's tools write: their order of keys, byte strings as arrays of integers where theirs are,
// and the shortest form of each integer. QEMU depends on that order too.
func ParseSignature(raw []byte) (*Signature, error) {
	if len(raw) > maxSignature {
		return nil, fmt.Errorf("%d bytes, want at most %d", len(raw), maxSignature)
	}
	r := cborReader{data: raw}
	r.expect(cborArray, 1, "list of signatures")
	r.expect(cborMap, 2, "signature")
	r.text("signing_certificate")
	encoded := r.integers("signing_certificate")
	r.text("signature")
	message := r.integers("signature")
	if err := r.finish(); err != nil {
		return nil, err
	}
	s := &Signature{raw: slices.Clone(raw)}
	if err := s.setCertificate(encoded); err != nil {
		return nil, err
	}
	if err := s.setMessage(message); err != nil {
		return nil, err
	}
	return s, nil
}

// setCertificate takes the PEM of one ECDSA certificate.
func (s *Signature) setCertificate(encoded []byte) error {
	block, _ := pem.Decode(encoded)
	if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || !bytes.Equal(encoded, pem.EncodeToMemory(block)) {
		return errors.New("signing certificate: want the pem of one certificate, in lines of 64, and nothing else")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("signing certificate: %w", err)
	}
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return fmt.Errorf("signing certificate has a %s key, want ecdsa", certificate.PublicKeyAlgorithm)
	}
	for _, algorithm := range signatureAlgorithms {
		if algorithm.curve == key.Curve {
			s.certificate, s.key, s.algorithm = certificate, key, algorithm
			return nil
		}
	}
	return fmt.Errorf("signing certificate is on curve %s, want p-256, p-384 or p-521", key.Params().Name)
}

// setMessage takes the COSE_Sign1 message.
func (s *Signature) setMessage(message []byte) error {
	r := cborReader{data: message}
	r.expect(cborArray, 4, "COSE_Sign1")
	protected := r.bytes("protected header")
	r.expect(cborMap, 0, "unprotected header")
	payload := r.bytes("payload")
	s.signature = r.bytes("signature")
	if err := r.finish(); err != nil {
		return err
	}
	if string(protected) != s.algorithm.protected {
		return fmt.Errorf("protected header is %x, want %x (%s) for the certificate's key",
			protected, s.algorithm.protected, s.algorithm.name)
	}
	if len(s.signature) != s.algorithm.size {
		return fmt.Errorf("%s signature of %d bytes, want %d", s.algorithm.name, len(s.signature), s.algorithm.size)
	}
	return s.setPayload(payload)
}

// setPayload takes what signedPayload makes.
func (s *Signature) setPayload(payload []byte) error {
	r := cborReader{data: payload}
	r.expect(cborMap, 2, "payload")
	r.text("register_index")
	r.expect(cborUint, 0, "register_index")
	r.text("register_value")
	value := r.integers("register_value")
	if err := r.finish(); err != nil {
		return fmt.Errorf("payload: %w", err)
	}
	if len(value) != len(s.signed) {
		return fmt.Errorf("payload: register of %d bytes, want %d", len(value), len(s.signed))
	}
	s.signed = pcrs.PCR(value)
	return nil
}

// pcr8 is the register of the certificate: of its DER, whatever PEM surrounds it.
func (s *Signature) pcr8() pcrs.PCR {
	digest := sha512.Sum384(s.certificate.Raw)
	return extend(digest[:])
}

// VerifySignature checks that the image's signature is over its own PCR0 and by its certificate's key. The payload is
// rebuilt from the image, never believed. Whether the certificate is one to trust is the caller's to judge, by PCR8.
// An unsigned image is an error.
func (img *Image) VerifySignature() error {
	if img.Signature == nil {
		return errors.New("enclave image is not signed")
	}
	return img.Signature.verify(img.Measure().PCR0)
}

func (s *Signature) verify(pcr0 pcrs.PCR) error {
	if s.signed != pcr0 {
		return fmt.Errorf("signature is over PCR0 %s, want the image's %s", s.signed, pcr0)
	}
	half := len(s.signature) / 2
	r, v := new(big.Int).SetBytes(s.signature[:half]), new(big.Int).SetBytes(s.signature[half:])
	digest := s.algorithm.digest(signatureStructure(s.algorithm.protected, signedPayload(pcr0)))
	if !ecdsa.Verify(s.key, digest, r, v) {
		return fmt.Errorf("%s signature over PCR0 does not verify with the key of its certificate", s.algorithm.name)
	}
	return nil
}

// signedPayload is what AWS's tools sign: the register's index and value, the value as an array of integers.
func signedPayload(pcr0 pcrs.PCR) []byte {
	b := appendHead(nil, cborMap, 2)
	b = appendText(b, "register_index")
	b = appendHead(b, cborUint, 0)
	b = appendText(b, "register_value")
	return appendIntegers(b, pcr0[:])
}

// signatureStructure is the Sig_structure of RFC 9052 section 4.4, without external data.
func signatureStructure(protected string, payload []byte) []byte {
	b := appendHead(nil, cborArray, 4)
	b = appendText(b, "Signature1")
	b = appendBytes(b, []byte(protected))
	b = appendBytes(b, nil)
	return appendBytes(b, payload)
}
