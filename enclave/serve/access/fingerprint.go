package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Fingerprint is the SHA-256 of a certificate's DER.
type Fingerprint [sha256.Size]byte

// String returns the fingerprint as openssl prints it: upper-case pairs between
// colons.
func (f Fingerprint) String() string {
	return strings.ReplaceAll(fmt.Sprintf("% X", f[:]), " ", ":")
}

// ParseFingerprint reads a fingerprint in any spelling that Web3Signer takes: 64
// hexadecimal digits of any case, with colons between pairs or without, with 0x
// or without.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	digits := strings.TrimPrefix(s, "0x")
	if len(digits) == 3*len(f)-1 {
		for i := 2; i < len(digits); i += 3 {
			if digits[i] != ':' {
				return Fingerprint{}, errFingerprint
			}
		}
		digits = strings.ReplaceAll(digits, ":", "")
	}
	if len(digits) != hex.EncodedLen(len(f)) {
		return Fingerprint{}, errFingerprint
	}
	if _, err := hex.Decode(f[:], []byte(digits)); err != nil {
		return Fingerprint{}, errFingerprint
	}
	return f, nil
}

var errFingerprint = errors.New("want a SHA-256 fingerprint: 64 hexadecimal digits, or 32 pairs with colons between")

// A KnownClient is one line of a known_clients file.
type KnownClient struct {
	CommonName  string
	Fingerprint Fingerprint
}

// MaxKnownClients bounds the text of a known_clients file in bytes.
const MaxKnownClients = 32 << 10

// ParseKnownClients reads Web3Signer's --tls-known-clients-file: on each line a
// common name and a fingerprint with white space between; empty lines and those
// that begin with # are passed over. A common name that comes twice is an error:
// Web3Signer would take the last line and not say so.
func ParseKnownClients(text string) ([]KnownClient, error) {
	if len(text) > MaxKnownClients {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(text), MaxKnownClients)
	}
	var known []KnownClient
	for i, line := range strings.Split(text, "\n") {
		columns := strings.Fields(line)
		if len(columns) == 0 || strings.HasPrefix(columns[0], "#") {
			continue
		}
		if len(columns) != 2 {
			return nil, fmt.Errorf("line %d: got %d columns, want a common name and a fingerprint", i+1, len(columns))
		}
		fingerprint, err := ParseFingerprint(columns[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		if slices.ContainsFunc(known, func(k KnownClient) bool { return k.CommonName == columns[0] }) {
			return nil, fmt.Errorf("line %d: common name %.60q comes twice", i+1, columns[0])
		}
		known = append(known, KnownClient{columns[0], fingerprint})
	}
	return known, nil
}

var commonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// hasCommonName reports whether a certificate's subject has this common name and
// no second one.
func hasCommonName(c *x509.Certificate, name string) bool {
	count := 0
	for _, attribute := range c.Subject.Names {
		if attribute.Type.Equal(commonName) {
			count++
		}
	}
	return count == 1 && c.Subject.CommonName == name
}

// ParseAuthorities reads the certificates of authorities from PEM. Text around the
// blocks is passed over, as openssl writes some; a block of another kind, or of a
// certificate that is no authority's, is an error.
func ParseAuthorities(text []byte) ([]*x509.Certificate, error) {
	var authorities []*x509.Certificate
	block, rest := pem.Decode(text)
	for ; block != nil; block, rest = pem.Decode(rest) {
		c, err := parseAuthority(block)
		if err != nil {
			return nil, err
		}
		if authorities = append(authorities, c); len(authorities) > MaxAuthorities {
			return nil, fmt.Errorf("got more than %d authorities", MaxAuthorities)
		}
	}
	if len(authorities) == 0 || bytes.Contains(rest, []byte("-----BEGIN")) {
		return nil, errors.New("want whole PEM of one certificate or more")
	}
	return authorities, nil
}

func parseAuthority(block *pem.Block) (*x509.Certificate, error) {
	if block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("got PEM of %.40q, want CERTIFICATE", block.Type)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if !c.BasicConstraintsValid || !c.IsCA {
		return nil, fmt.Errorf("certificate %q is not an authority's (hint: list a client's own certificate by its fingerprint)", c.Subject)
	}
	return c, nil
}
