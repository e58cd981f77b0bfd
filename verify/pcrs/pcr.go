package pcrs

import (
	"crypto/sha512"
	"encoding"
	"encoding/hex"
	"fmt"
)

// A PCR is the value of one platform configuration register: a SHA-384 digest
// that the Nitro hypervisor, or the enclave itself, extended.
type PCR [sha512.Size384]byte

var (
	_ encoding.TextMarshaler   = PCR{}
	_ encoding.TextUnmarshaler = (*PCR)(nil)
	_ fmt.Stringer             = PCR{}
)

// ParsePCR reads 96 lower-case hexadecimal digits. Upper case is refused, so
// that one value has one spelling.
func ParsePCR(s string) (PCR, error) {
	var p PCR
	if err := parseHex(s, p[:]); err != nil {
		return PCR{}, fmt.Errorf("PCR %q: %w", clip(s), err)
	}
	return p, nil
}

// String returns the value as 96 lower-case hexadecimal digits.
func (p PCR) String() string { return hex.EncodeToString(p[:]) }

// MarshalText returns the same as [PCR.String].
func (p PCR) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what [ParsePCR] reads.
func (p *PCR) UnmarshalText(text []byte) error {
	v, err := ParsePCR(string(text))
	if err == nil {
		*p = v
	}
	return err
}

// IsZero tells whether the register was never extended. An enclave in debug
// mode reports zero for PCR0, PCR1 and PCR2.
func (p PCR) IsZero() bool { return p == PCR{} }

// parseHex fills out from its lower-case hexadecimal form.
func parseHex(s string, out []byte) error {
	if len(s) != hex.EncodedLen(len(out)) {
		return fmt.Errorf("got %d characters, want %d hexadecimal digits", len(s), hex.EncodedLen(len(out)))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("got %q at character %d, want a lower-case hexadecimal digit", c, i+1)
		}
	}
	_, err := hex.Decode(out, []byte(s))
	return err
}

// clip shortens what an error quotes.
func clip(s string) string {
	const limit = 112
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}
