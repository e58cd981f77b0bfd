// Package authority makes the certificates of a key holder: a private authority,
// the identity by which a signer is known to its clients, and the clients' own.
//
// The authority exists so that clients' trust survives a change of the signer's
// key: they trust the authority, and leaves can be short-lived. It can vouch for
// the signer's names only. Whom the signer serves does not rest on it: clients are
// listed one by one, by fingerprint.
package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"

	"holdfast/enclave/secret"
)

// Lifetimes. A leaf outlives a missed rotation, not a forgotten one.
const (
	Lifetime       = 10 * 365 * day // of an authority
	LeafLifetime   = 90 * day
	ClientLifetime = 365 * day

	// MaxLeafLifetime is the most that Apple's and other verifiers of certificates
	// take.
	MaxLeafLifetime = 398 * day

	day = 24 * time.Hour

	// skew is how far a client's clock may be behind.
	skew = time.Hour
)

// An Authority signs certificates.
type Authority struct {
	Certificate *x509.Certificate

	key *ecdsa.PrivateKey
}

// A Pair is a certificate, in PEM with what else belongs to its chain, and its key
// in PEM (PKCS #8).
type Pair struct {
	Certificate []byte
	Key         secret.Bytes
	Leaf        *x509.Certificate
}

// New makes an authority that may vouch for names, host names and IP addresses,
// and for nothing below or beside them.
func New(commonName string, names []string, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(commonName, now, Lifetime)
	if err != nil {
		return nil, err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	if err := constrain(template, names); err != nil {
		return nil, err
	}
	certificate, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Authority{certificate, key}, nil
}

// constrain limits an authority to names (RFC 5280 section 4.2.1.10). A kind of
// name that is not among them is ruled out whole: a constraint binds only names of
// its own kind.
func constrain(template *x509.Certificate, names []string) error {
	template.PermittedDNSDomainsCritical = true
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.PermittedIPRanges = append(template.PermittedIPRanges, &net.IPNet{
				IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen()),
			})
		} else {
			template.PermittedDNSDomains = append(template.PermittedDNSDomains, strings.TrimPrefix(name, "*."))
		}
	}
	if len(names) == 0 {
		return errors.New("authority: got no name, want at least one")
	}
	if template.PermittedDNSDomains == nil {
		template.PermittedDNSDomains = []string{"invalid"} // exists nowhere (RFC 2606)
	}
	if template.PermittedIPRanges == nil {
		template.ExcludedIPRanges = []*net.IPNet{
			{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		}
	}
	return nil
}

func newTemplate(commonName string, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    now.Add(-skew).UTC().Truncate(time.Second),
		NotAfter:     now.Add(lifetime).UTC().Truncate(time.Second),
	}, nil
}

func sign(template, parent *x509.Certificate, public any, key crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Load reads an authority: its certificate in PEM, its key in DER (PKCS #8).
func Load(certificate []byte, key secret.Bytes) (*Authority, error) {
	chain, err := parse(certificate)
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(key.Reveal())
	if err != nil {
		return nil, errors.New("authority: the key is damaged")
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !chain[0].IsCA || !private.PublicKey.Equal(chain[0].PublicKey) {
		return nil, errors.New("authority: the certificate is not that of the authority's key")
	}
	return &Authority{chain[0], private}, nil
}

// PEM returns the certificate.
func (a *Authority) PEM() []byte { return encode(a.Certificate) }

// Key returns the private key in DER (PKCS #8).
func (a *Authority) Key() (secret.Bytes, error) {
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	return secret.New(der), err
}

// Server makes an identity for names. It ends with the authority at the latest.
func (a *Authority) Server(names []string, lifetime time.Duration, now time.Time) (*Pair, error) {
	template, err := newTemplate(names[0], now, lifetime)
	if err != nil {
		return nil, err
	}
	template.Subject = pkix.Name{} // nothing reads it (RFC 9525), and it has no room for a long name
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.issue(template)
}

// Client makes an identity for a client, whose common name is name.
func (a *Authority) Client(name string, lifetime time.Duration, now time.Time) (*Pair, error) {
	template, err := newTemplate(name, now, lifetime)
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.issue(template)
}

func (a *Authority) issue(template *x509.Certificate) (*Pair, error) {
	if template.NotAfter.After(a.Certificate.NotAfter) {
		template.NotAfter = a.Certificate.NotAfter
	}
	if !template.NotAfter.After(template.NotBefore.Add(skew)) {
		return nil, fmt.Errorf("authority: it ended at %v", a.Certificate.NotAfter)
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := sign(template, a.Certificate, key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return &Pair{
		Certificate: append(encode(leaf), a.PEM()...),
		Key:         secret.New(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		Leaf:        leaf,
	}, nil
}

func encode(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// MaxPEM bounds a certificate with its chain, and a key, in bytes.
const MaxPEM = 64 << 10

// LoadServer reads an identity of the holder's own: a certificate in PEM with its
// chain, leaf first, and the key. It must be for every name, and still be valid for
// a while.
func LoadServer(certificate []byte, key secret.Bytes, names []string, now time.Time) (*Pair, error) {
	chain, err := parse(certificate)
	if err != nil {
		return nil, err
	}
	if _, err := tls.X509KeyPair(certificate, key.Reveal()); err != nil {
		return nil, errors.New("the key is not that of the certificate, or is no key in PEM")
	}
	leaf := chain[0]
	if now.Before(leaf.NotBefore) || now.Add(day).After(leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate is valid from %v to %v, want a day from now at least", leaf.NotBefore, leaf.NotAfter)
	}
	for _, name := range names {
		if err := CheckName(leaf, name); err != nil {
			return nil, fmt.Errorf("the certificate is not for %s, which the configuration names", name)
		}
	}
	return &Pair{Certificate: certificate, Key: key, Leaf: leaf}, nil
}

// Check reports a leaf that clients which trust the authority would refuse.
func (a *Authority) Check(leaf *x509.Certificate, names []string) error {
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate)
	for _, name := range names {
		if _, err := leaf.Verify(x509.VerifyOptions{DNSName: host(name), Roots: roots}); err != nil {
			return fmt.Errorf("the authority cannot vouch for %s: %w", name, err)
		}
	}
	return nil
}

// Trust returns, in PEM, what clients of a server must trust: the authority if it
// signed the certificate, and otherwise the last one of the certificate's chain.
func (a *Authority) Trust(certificate []byte) ([]byte, error) {
	chain, err := parse(certificate)
	if err != nil {
		return nil, err
	}
	if chain[0].CheckSignatureFrom(a.Certificate) == nil {
		return a.PEM(), nil
	}
	return encode(chain[len(chain)-1]), nil
}

// CheckName reports a certificate that is not for a name, which may have a wildcard
// as its first label.
func CheckName(leaf *x509.Certificate, name string) error { return leaf.VerifyHostname(host(name)) }

// host returns a host name that a name is for.
func host(name string) string { return strings.Replace(name, "*", "any", 1) }

// Leaf returns the first certificate of a chain in PEM.
func Leaf(certificate []byte) (*x509.Certificate, error) {
	chain, err := parse(certificate)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// parse reads certificates in PEM, of which there is at least one.
func parse(text []byte) ([]*x509.Certificate, error) {
	if len(text) > MaxPEM {
		return nil, fmt.Errorf("got %d bytes of PEM, want at most %d", len(text), MaxPEM)
	}
	var chain []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("got a PEM block %.40q, want CERTIFICATE", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("got a damaged certificate")
		}
		chain = append(chain, certificate)
	}
	if len(chain) == 0 {
		return nil, errors.New("got no certificate in PEM")
	}
	return chain, nil
}
