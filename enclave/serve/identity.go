package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"time"
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

// An Identity is a TLS key and the self-signed certificate of it. The key
// never leaves memory: each start has another.
type Identity struct {
	certificate tls.Certificate
	publicKey   []byte
}

// NewIdentity makes an ECDSA P-256 key and a certificate that is valid from an
// hour before now for 90 days, or at any time where the clock was never set.
func NewIdentity(now time.Time) (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("serve: %w", err)
	}
	notBefore, notAfter := validity(now)
	template := &x509.Certificate{
		SerialNumber:          serialNumber(),
		Subject:               pkix.Name{CommonName: "holdfast"},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"holdfast", "localhost"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return Identity{}, fmt.Errorf("serve: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Identity{}, fmt.Errorf("serve: %w", err)
	}
	return Identity{
		certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf},
		publicKey:   leaf.RawSubjectPublicKeyInfo,
	}, nil
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
// encryption for clients that lack it.
func (i Identity) tlsConfig() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{i.certificate},
		MinVersion:   tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}
