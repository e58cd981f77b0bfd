package serve

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	"holdfast/enclave/secret"
)

const (
	// certificateLife is the validity of a certificate whose maker knows the
	// time. A verifier trusts the key because it is attested, but a client
	// that pins the certificate may look at the dates too.
	certificateLife = 90 * 24 * time.Hour

	// clockTolerance is how far a client's clock may be behind.
	clockTolerance = time.Hour
)

var (
	// clockFloor is a time before this program was written. A clock that says
	// less was never set.
	clockFloor = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

	// noExpiry is the date of a certificate without one (RFC 5280 section
	// 4.1.2.5).
	noExpiry = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// An Identity is a TLS key and the certificate that a server presents with it.
type Identity struct {
	certificate tls.Certificate
	publicKey   []byte
}

// ownNames are what a certificate is for whose maker was told no name.
var ownNames = []string{"holdfast", "localhost", "127.0.0.1", "::1"}

// NewIdentity makes an ECDSA P-256 key, which never leaves memory, and a
// self-signed certificate that is valid from an hour before now for 90 days, or at
// any time where the clock was never set.
func NewIdentity(now time.Time) (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("serve: %w", err)
	}
	return selfSigned(key, ownNames, now)
}

// WithNames returns an identity of the same key with a certificate that it signs
// itself for host names and IP addresses.
func (i Identity) WithNames(names []string, now time.Time) (Identity, error) {
	key, ok := i.certificate.PrivateKey.(crypto.Signer)
	if !ok || len(names) == 0 {
		return Identity{}, errors.New("serve: want a key and at least one name")
	}
	return selfSigned(key, names, now)
}

func selfSigned(key crypto.Signer, names []string, now time.Time) (Identity, error) {
	notBefore, notAfter := validity(now)
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: "holdfast"},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if address := net.ParseIP(name); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Identity{}, fmt.Errorf("serve: %w", err)
	}
	return newIdentity(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
}

func newIdentity(certificate tls.Certificate) (Identity, error) {
	leaf, err := x509.ParseCertificate(certificate.Certificate[0])
	if err != nil {
		return Identity{}, fmt.Errorf("serve: %w", err)
	}
	certificate.Leaf = leaf
	return Identity{certificate, leaf.RawSubjectPublicKeyInfo}, nil
}

// minRSA is what clients accept at least, in bits.
const minRSA = 2048

// ParseIdentity reads PEM of a certificate, with its chain after it, and of its
// key: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 bits or more. The
// certificate must be valid now, unless the clock was never set, and for every one
// of names. No error holds a part of the key.
func ParseIdentity(certificate []byte, key secret.Bytes, names []string, now time.Time) (Identity, error) {
	pair, err := tls.X509KeyPair(certificate, key.Reveal())
	if err != nil {
		// Its errors name kinds of PEM blocks and of keys, and show no bytes.
		return Identity{}, fmt.Errorf("serve: certificate and key: %w", err)
	}
	identity, err := newIdentity(pair)
	if err != nil {
		return Identity{}, err
	}
	if err := check(identity.certificate.Leaf, names, now); err != nil {
		return Identity{}, fmt.Errorf("serve: certificate: %w", err)
	}
	return identity, nil
}

func check(leaf *x509.Certificate, names []string, now time.Time) error {
	switch key := leaf.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return fmt.Errorf("got curve %s, want P-256 or P-384", key.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return fmt.Errorf("got an RSA key of %d bits, want at least %d", key.N.BitLen(), minRSA)
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("got a key of type %T", key)
	}
	if !now.Before(clockFloor) && (now.Before(leaf.NotBefore) || now.After(leaf.NotAfter)) {
		return fmt.Errorf("it is valid from %v to %v, and now is %v", leaf.NotBefore, leaf.NotAfter, now.UTC())
	}
	for _, name := range names {
		if err := leaf.VerifyHostname(name); err != nil && !slices.Contains(leaf.DNSNames, name) {
			return err
		}
	}
	return nil
}

// PublicKey returns the DER SubjectPublicKeyInfo that an attestation binds.
func (i Identity) PublicKey() []byte { return i.publicKey }

func validity(now time.Time) (notBefore, notAfter time.Time) {
	if now.Before(clockFloor) {
		return time.Unix(0, 0).UTC(), noExpiry
	}
	return now.Add(-clockTolerance).UTC(), now.Add(certificateLife).UTC()
}

// serialNumber returns 127 random bits, above zero (RFC 5280 section 4.1.2.2).
func serialNumber() *big.Int {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	raw[0] = raw[0]&0x7f | 0x40
	return new(big.Int).SetBytes(raw[:])
}

// tlsConfig accepts TLS 1.3, and 1.2 with forward secrecy and authenticated
// encryption for clients that lack it. It asks clients for a certificate and takes
// whichever they present, or none: that proves who holds the key, and package
// access judges the rest, so that a refusal can say its reason. Sessions are not
// resumed, so each connection sees the identity in force.
func (i Identity) tlsConfig() *tls.Config {
	return &tls.Config{
		Certificates:           []tls.Certificate{i.certificate},
		ClientAuth:             tls.RequestClientCert,
		MinVersion:             tls.VersionTLS12,
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
