package binding

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
)

// GenerationVersion starts every encoding of a [Generation].
const GenerationVersion = "holdfast/generation/v1"

const (
	// MaxKMSKeySize bounds the ARN of a KMS key (AWS's own bound of an ARN).
	MaxKMSKeySize = 2048

	// MaxPublicKeys is how many keys may be generated at once, those of one bundle.
	MaxPublicKeys = 16384

	// MaxGenerationSize bounds an encoding.
	MaxGenerationSize = len(GenerationVersion) + 2*sha512.Size384 + 4 + MaxKMSKeySize + 4 + MaxPublicKeys*publicKeySize

	publicKeySize = 48 // BLS12-381 G1, compressed
)

// A Generation says that validators' keys were made in an enclave and left it only
// sealed. The enclave puts its digest into the user_data of an attestation document,
// and serves it beside the document. The zero value names nothing, and its encoding
// is refused by [ParseGeneration].
type Generation struct {
	// Bundle is the SHA-384 of the file that the enclave sealed the keys in, and
	// Configuration that of the configuration in it.
	Bundle, Configuration [sha512.Size384]byte

	// KMSKey is the ARN of the key that wraps the bundle's data key.
	KMSKey string

	// PublicKeys are the validators', ascending.
	PublicKeys [][publicKeySize]byte
}

// Encode returns the canonical encoding: [GenerationVersion], Bundle, Configuration,
// KMSKey after its length as a big-endian uint32, and the public keys after their
// number as a big-endian uint32. It checks no bound: [ParseGeneration] refuses the
// encoding of a generation that breaks one.
func (g Generation) Encode() []byte {
	out := []byte(GenerationVersion)
	out = append(out, g.Bundle[:]...)
	out = append(out, g.Configuration[:]...)
	out = appendField(out, []byte(g.KMSKey))
	out = binary.BigEndian.AppendUint32(out, uint32(len(g.PublicKeys)))
	for i := range g.PublicKeys {
		out = append(out, g.PublicKeys[i][:]...)
	}
	return out
}

// Digest returns the SHA-384 of the encoding: the user_data of the attestation
// document.
func (g Generation) Digest() [sha512.Size384]byte { return sha512.Sum384(g.Encode()) }

// ParseGeneration decodes an encoding: a KMS key of 1 to [MaxKMSKeySize] bytes, 1 to
// [MaxPublicKeys] distinct public keys in ascending order, and nothing after them.
func ParseGeneration(data []byte) (Generation, error) {
	var g Generation
	rest, ok := bytes.CutPrefix(data, []byte(GenerationVersion))
	if !ok {
		return Generation{}, fmt.Errorf("generation: want version %q at the start", GenerationVersion)
	}
	for _, digest := range []*[sha512.Size384]byte{&g.Bundle, &g.Configuration} {
		if len(rest) < len(digest) {
			return Generation{}, fmt.Errorf("generation: truncated within a digest: got %d bytes, want %d", len(rest), len(digest))
		}
		rest = rest[copy(digest[:], rest):]
	}
	key, rest, err := cutField(rest, "KMS key", 1, MaxKMSKeySize)
	if err != nil {
		return Generation{}, err
	}
	g.KMSKey = string(key)
	if g.PublicKeys, err = parsePublicKeys(rest); err != nil {
		return Generation{}, err
	}
	return g, nil
}

// parsePublicKeys reads public keys to the end of data.
func parsePublicKeys(data []byte) ([][publicKeySize]byte, error) {
	if len(data) < 4 {
		return nil, fmt.Errorf("generation: truncated before the number of public keys")
	}
	n := binary.BigEndian.Uint32(data)
	data = data[4:]
	if n < 1 || n > MaxPublicKeys {
		return nil, fmt.Errorf("generation: got %d public keys, want 1 to %d", n, MaxPublicKeys)
	}
	if want := int(n) * publicKeySize; len(data) != want {
		return nil, fmt.Errorf("generation: got %d bytes of public keys, want %d", len(data), want)
	}
	keys := make([][publicKeySize]byte, n)
	for i := range keys {
		copy(keys[i][:], data[i*publicKeySize:])
		if i > 0 && bytes.Compare(keys[i-1][:], keys[i][:]) >= 0 {
			return nil, fmt.Errorf("generation: public key %d of %d does not come after the one before it", i+1, n)
		}
	}
	return keys, nil
}
