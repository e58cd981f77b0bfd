// Package secret holds bytes that must not be printed, logged or encoded.
//
// A [Bytes] shows as [Redacted] wherever fmt or log/slog meets it, refuses to
// be encoded as JSON or text, and is overwritten by its owner with
// [Bytes.Wipe]. It guards against accidents. It cannot guard against the
// garbage collector's copies of what a secret was decoded from, so decoders
// write straight into the slice that [New] takes.
package secret

import (
	"errors"
	"fmt"
	"log/slog"
)

// Redacted is what a secret shows instead of itself.
const Redacted = "[redacted]"

var errEncode = errors.New("secret: refusing to encode a secret")

// Bytes is a secret. The zero value is an empty secret. Copies share the
// memory, so wiping one wipes all.
type Bytes struct {
	// A function, because fmt reaches into the unexported fields of an
	// enclosing structure without calling methods. Of a function it can print
	// only the address; a pointer it would follow.
	reveal func() []byte
}

// New makes a secret of b and takes b over: the caller keeps no other use of it.
func New(b []byte) Bytes { return Bytes{reveal: func() []byte { return b }} }

// Reveal returns the secret itself, not a copy. After [Bytes.Wipe] it is all
// zeros.
func (b Bytes) Reveal() []byte {
	if b.reveal == nil {
		return nil
	}
	return b.reveal()
}

// Len returns the number of bytes.
func (b Bytes) Len() int { return len(b.Reveal()) }

// Wipe overwrites the secret with zeros.
func (b Bytes) Wipe() { clear(b.Reveal()) }

var (
	_ fmt.Formatter  = Bytes{}
	_ fmt.Stringer   = Bytes{}
	_ fmt.GoStringer = Bytes{}
	_ slog.LogValuer = Bytes{}
)

// Format writes [Redacted] whatever the verb.
func (Bytes) Format(state fmt.State, _ rune) { _, _ = state.Write([]byte(Redacted)) }

// String returns [Redacted].
func (Bytes) String() string { return Redacted }

// GoString returns [Redacted].
func (Bytes) GoString() string { return Redacted }

// LogValue returns [Redacted].
func (Bytes) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalJSON always fails.
func (Bytes) MarshalJSON() ([]byte, error) { return nil, errEncode }

// MarshalText always fails.
func (Bytes) MarshalText() ([]byte, error) { return nil, errEncode }
