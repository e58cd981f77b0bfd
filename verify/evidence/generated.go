package evidence

import (
	"errors"
	"fmt"
	"slices"

	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/envelope"
)

// MaxGeneratedSize bounds what an enclave answers after it made keys: a bundle, its
// public keys once more in hexadecimal digits and once in the generation, and the
// document.
const MaxGeneratedSize = int64(envelope.MaxSize+binding.MaxGenerationSize+document.MaxSize)*4/3 + 4<<20

// A Generated is what an enclave answers after it made keys.
type Generated struct {
	Bundle     *envelope.Envelope
	Generation binding.Generation

	// Document and Bound are as served; Bound is the encoding of Generation.
	Document, Bound []byte
}

// IsGenerated tells whether data is meant to be such an answer.
func IsGenerated(data []byte) bool { return hasMembers(data, "document", "bound", "bundle") }

// ParseGenerated reads {"bundle", "pubkeys", "document", "bound"}, the binary ones in
// base64, and holds the bundle against the generation: digest, configuration, KMS key
// and public keys are the same, and nobody but KMS can open it. What the document says
// is not looked at. "skipped" may name rows of tables that were left out, and counts
// for nothing.
func ParseGenerated(data []byte) (Generated, error) {
	var answer struct {
		Bundle     string            `json:"bundle"`
		PublicKeys []string          `json:"pubkeys"`
		Document   string            `json:"document"`
		Bound      string            `json:"bound"`
		Skipped    map[string]string `json:"skipped"`
	}
	if int64(len(data)) > MaxGeneratedSize {
		return Generated{}, fmt.Errorf("got %d bytes, want at most %d", len(data), MaxGeneratedSize)
	}
	if err := DecodeStrict(data, &answer); err != nil {
		return Generated{}, err
	}
	var g Generated
	var file []byte
	for _, part := range []struct {
		name, text string
		into       *[]byte
	}{{"bundle", answer.Bundle, &file}, {"document", answer.Document, &g.Document}, {"bound", answer.Bound, &g.Bound}} {
		var err error
		if *part.into, err = decodeBase64(part.text); err != nil {
			return Generated{}, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	var err error
	if g.Generation, err = binding.ParseGeneration(g.Bound); err != nil {
		return Generated{}, err
	}
	if g.Bundle, err = envelope.Parse(file); err != nil {
		return Generated{}, err
	}
	return g, g.check(answer.PublicKeys)
}

// check compares what the parts of an answer say.
func (g Generated) check(publicKeys []string) error {
	switch e := g.Bundle; {
	case g.Generation.Bundle != e.Digest():
		return errors.New("the generation is of another bundle")
	case g.Generation.Configuration != e.ConfigurationDigest():
		return errors.New("the generation has another configuration than the bundle")
	case e.KMS == nil || g.Generation.KMSKey != e.KMS.Key:
		return errors.New("the generation names another KMS key than the bundle")
	case e.Age != nil:
		return errors.New("somebody else than KMS can open the bundle, by age")
	case !slices.Equal(g.Generation.PublicKeys, e.PublicKeys) || !slices.Equal(publicKeys, g.PublicKeys()):
		return errors.New("the generation, the bundle and the answer list different public keys")
	}
	return nil
}

// PublicKeys returns the generation's, 0x and 96 hexadecimal digits each.
func (g Generated) PublicKeys() []string {
	keys := make([]string, len(g.Generation.PublicKeys))
	for i, key := range g.Generation.PublicKeys {
		keys[i] = fmt.Sprintf("%#x", key)
	}
	return keys
}
