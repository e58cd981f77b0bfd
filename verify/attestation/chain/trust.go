package chain

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// awsRootG1 is the AWS Nitro Enclaves Root-G1 certificate, as element 0 of the
// cabundle of every real document has it.
//
//go:embed aws_root_g1.pem
var awsRootG1 []byte

// AWSRootSHA256 is the fingerprint that AWS publishes for Root-G1, in "Verifying
// the root of trust" of its Nitro Enclaves guide.
const AWSRootSHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"

// MaxRootSize bounds a root certificate in PEM.
const MaxRootSize = 4096

// A Trust is what a chain must start from. The zero value trusts nothing.
type Trust struct {
	root   *x509.Certificate
	denied []Denied
}

// A Denied certificate is refused wherever it stands in a chain. It is named
// by issuer and serial number: its hash would change with a new signature.
type Denied struct {
	Issuer string // common name
	Serial string // lower-case hexadecimal without leading zeros
}

// AWS trusts Root-G1, the root of the aws partition.
func AWS() (Trust, error) { return NewTrust(awsRootG1, AWSRootSHA256) }

// NewTrust trusts one root certificate in PEM, whose DER must have the given
// SHA-256. Both must come from the user: a root by itself names nobody.
func NewTrust(rootPEM []byte, sha256Hex string) (Trust, error) {
	if len(rootPEM) > MaxRootSize {
		return Trust{}, fmt.Errorf("root certificate: got %d bytes, want at most %d", len(rootPEM), MaxRootSize)
	}
	block, rest := pem.Decode(rootPEM)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) != 0 {
		return Trust{}, errors.New("root certificate: want one PEM block of type CERTIFICATE")
	}
	want, err := hex.DecodeString(sha256Hex)
	if err != nil || len(want) != sha256.Size {
		return Trust{}, fmt.Errorf("root certificate: got SHA-256 %q, want 64 hexadecimal digits", sha256Hex)
	}
	if got := sha256.Sum256(block.Bytes); !bytes.Equal(got[:], want) {
		return Trust{}, fmt.Errorf("root certificate: got SHA-256 %x, want %x", got, want)
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return Trust{}, fmt.Errorf("root certificate: %w", err)
	}
	return Trust{root: root}, nil
}

// Deny returns a trust that also refuses the given certificates.
func (t Trust) Deny(denied ...Denied) Trust {
	t.denied = append(append([]Denied(nil), t.denied...), denied...)
	return t
}

// Root returns the DER of the trusted root, or nil for the zero value.
func (t Trust) Root() []byte {
	if t.root == nil {
		return nil
	}
	return t.root.Raw
}

func (t Trust) denies(c *x509.Certificate) bool {
	for _, d := range t.denied {
		if d.Issuer == c.Issuer.CommonName && d.Serial == c.SerialNumber.Text(16) {
			return true
		}
	}
	return false
}
