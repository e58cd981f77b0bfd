package egress

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// MaxRootsSize bounds roots in PEM, some ten certificates.
const MaxRootsSize = 32 << 10

//go:embed roots/*.pem
var rootFiles embed.FS

// A pinnedRoot is one of Amazon's roots. Amazon publishes the SHA-256 of each
// public key, "SHA-256 Hash of Subject Public Key Information", in the table of
// roots at https://www.amazontrust.com/repository/, and asks that those who keep
// roots of their own include all five. A key may have several certificates, so
// the certificate in the file is pinned as well.
type pinnedRoot struct{ file, certificate, publicKey string }

var amazonRoots = []pinnedRoot{
	{
		"amazon_root_ca_1.pem",
		"8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e",
		"fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2",
	}, {
		"amazon_root_ca_2.pem",
		"1ba5b2aa8c65401a82960118f80bec4f62304d83cec4713a19c39c011ea46db4",
		"7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461",
	}, {
		"amazon_root_ca_3.pem",
		"18ce6cfe7bf14e60b2e347b8dfe868cb31d02ebb3ada271569f50343b46db3a4",
		"36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9",
	}, {
		"amazon_root_ca_4.pem",
		"e35d28419ed02025cfa69038cd623962458da5c695fbdea3c22b0bfb25897092",
		"f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5",
	}, {
		"starfield_services_root_g2.pem",
		"568d6905a2c88708a4b3025190edcfedb1974a606a13c6e5290fcb2ae63edab5",
		"2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92",
	},
}

// AmazonRoots returns the roots of AWS's public endpoints: Amazon Root CA 1 to 4
// and Starfield Services Root G2. A file that is not the pinned one is left out,
// so a pool of changed files trusts nothing; a test sees that none is.
func AmazonRoots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, pinned := range amazonRoots {
		if certificate, err := pinned.load(); err == nil {
			pool.AddCert(certificate)
		}
	}
	return pool
}

func (r pinnedRoot) load() (*x509.Certificate, error) {
	data, err := rootFiles.ReadFile("roots/" + r.file)
	if err != nil {
		return nil, err
	}
	certificates, err := parseRoots(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.file, err)
	}
	if n := len(certificates); n != 1 {
		return nil, fmt.Errorf("%s: got %d certificates, want 1", r.file, n)
	}
	if got := fingerprint(certificates[0].Raw); got != r.certificate {
		return nil, fmt.Errorf("%s: got SHA-256 %s, want %s", r.file, got, r.certificate)
	}
	if got := fingerprint(certificates[0].RawSubjectPublicKeyInfo); got != r.publicKey {
		return nil, fmt.Errorf("%s: got a public key of SHA-256 %s, want %s", r.file, got, r.publicKey)
	}
	return certificates[0], nil
}

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Roots reads the roots of another endpoint: one or more certificates in PEM,
// each an authority, and nothing else. At most [MaxRootsSize] bytes.
func Roots(data []byte) (*x509.CertPool, error) {
	certificates, err := parseRoots(data)
	if err != nil {
		return nil, fmt.Errorf("roots: %w", err)
	}
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool, nil
}

func parseRoots(data []byte) ([]*x509.Certificate, error) {
	if len(data) > MaxRootsSize {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(data), MaxRootsSize)
	}
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, fmt.Errorf("certificate %d: want PEM of type CERTIFICATE and nothing else", len(out)+1)
		}
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 {
			return nil, fmt.Errorf("certificate %d: malformed PEM", len(out)+1)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(out)+1, err)
		}
		if !certificate.BasicConstraintsValid || !certificate.IsCA {
			return nil, fmt.Errorf("certificate %d: %q is no authority", len(out)+1, certificate.Subject.CommonName)
		}
		out, rest = append(out, certificate), after
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate")
	}
	return out, nil
}
