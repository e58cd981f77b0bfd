// Package accesstest makes certificates for tests: of clients that sign their own,
// and of authorities with clients and servers of theirs.
package accesstest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"holdfast/enclave/serve/access"
)

// An Authority signs certificates.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	above       [][]byte // the chain of one that another authority signed
}

// A Change alters a certificate before it is signed.
type Change func(*x509.Certificate)

// Until has a certificate end at a time, and begin a day before that.
func Until(end time.Time) Change {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = end.Add(-24*time.Hour), end }
}

// ForServers makes it a server's, for names.
func ForServers(names ...string) Change {
	return func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		for _, name := range names {
			if address := net.ParseIP(name); address != nil {
				c.IPAddresses = append(c.IPAddresses, address)
			} else {
				c.DNSNames = append(c.DNSNames, name)
			}
		}
	}
}

// NewAuthority makes an authority that signs itself.
func NewAuthority(t testing.TB, name string, changes ...Change) *Authority {
	key, template := prepare(t, name, changes)
	asAuthority(template)
	return &Authority{certificate: sign(t, template, template, key, key), key: key}
}

// Authority makes one below a.
func (a *Authority) Authority(t testing.TB, name string, changes ...Change) *Authority {
	key, template := prepare(t, name, changes)
	asAuthority(template)
	below := &Authority{certificate: sign(t, template, a.certificate, key, a.key), key: key}
	below.above = append([][]byte{below.certificate.Raw}, a.above...)
	return below
}

func asAuthority(template *x509.Certificate) {
	template.IsCA, template.ExtKeyUsage = true, nil
	template.KeyUsage = x509.KeyUsageCertSign
}

// Issue makes a certificate and key, a client's unless changes make it another's.
func (a *Authority) Issue(t testing.TB, name string, changes ...Change) tls.Certificate {
	key, template := prepare(t, name, changes)
	leaf := sign(t, template, a.certificate, key, a.key)
	return tls.Certificate{Certificate: append([][]byte{leaf.Raw}, a.above...), PrivateKey: key, Leaf: leaf}
}

// Certificates returns the authority's own, as a list takes it.
func (a *Authority) Certificates() []*x509.Certificate { return []*x509.Certificate{a.certificate} }

// PEM returns the authority's certificate.
func (a *Authority) PEM() string { return encode("CERTIFICATE", a.certificate.Raw) }

// SelfSigned makes a client's certificate that it signs itself.
func SelfSigned(t testing.TB, name string, changes ...Change) tls.Certificate {
	key, template := prepare(t, name, changes)
	leaf := sign(t, template, template, key, key)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
}

// Fingerprint returns that of a certificate.
func Fingerprint(c tls.Certificate) access.Fingerprint { return sha256.Sum256(c.Certificate[0]) }

// Encode returns PEM of a certificate with its chain, and of its key.
func Encode(t testing.TB, c tls.Certificate) (certificate, key string) {
	t.Helper()
	var chain bytes.Buffer
	for _, der := range c.Certificate {
		chain.WriteString(encode("CERTIFICATE", der))
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return chain.String(), encode("PRIVATE KEY", der)
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func prepare(t testing.TB, name string, changes []Change) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, change := range changes {
		change(template)
	}
	return key, template
}

func sign(t testing.TB, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
