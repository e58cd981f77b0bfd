package pcrs

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
)

// A Digest is the SHA-384 of a file.
type Digest [sha512.Size384]byte

// ParseDigest reads 96 lower-case hexadecimal digits.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if err := parseHex(s, d[:]); err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", clip(s), err)
	}
	return d, nil
}

// String returns the digest as 96 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero tells whether there is no digest: no file has that of zeros.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText returns the same as [Digest.String].
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what [ParseDigest] reads.
func (d *Digest) UnmarshalText(text []byte) error {
	v, err := ParseDigest(string(text))
	if err == nil {
		*d = v
	}
	return err
}
