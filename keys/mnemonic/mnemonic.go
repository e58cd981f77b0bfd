// Package mnemonic makes and reads mnemonics, and derives validators' signing keys
// from them: BIP-39 for the words, EIP-2333 for the tree of keys, EIP-2334 for the
// paths. Staking tools derive the same keys from the same words.
//
// A mnemonic is the one thing from which every key comes back, so nothing here
// keeps it, and whoever makes a [Mnemonic] wipes it.
package mnemonic

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"errors"
	"fmt"
	"math"

	blst "github.com/supranational/blst/bindings/go"
	"github.com/tyler-smith/go-bip39"
	"golang.org/x/text/unicode/norm"

	"holdfast/enclave/secret"
)

// Words is how many words a new mnemonic has: 256 bits and a checksum.
const Words = 24

// MaxSize bounds a mnemonic's text in bytes. The longest English word has eight
// letters.
const MaxSize = 1 << 10

// Bounds on the number of words (BIP-39).
const (
	minWords = 12
	maxWords = 24
)

// ErrMalformed reports a text that is no English mnemonic. It says no more, since
// the text may be one with a slip in it.
var ErrMalformed = errors.New("want a mnemonic of 12, 15, 18, 21 or 24 English words (BIP-39), whose checksum is right")

// A Mnemonic is a list of words, in lower case with single spaces.
type Mnemonic struct{ text secret.Bytes }

// New makes a mnemonic of [Words] words from the system's randomness.
func New() (Mnemonic, error) {
	var entropy [32]byte
	defer clear(entropy[:])
	if _, err := rand.Read(entropy[:]); err != nil {
		return Mnemonic{}, err
	}
	text, err := bip39.NewMnemonic(entropy[:])
	if err != nil {
		return Mnemonic{}, fmt.Errorf("mnemonic: %w", err)
	}
	return Mnemonic{secret.New([]byte(text))}, nil
}

// Parse reads a mnemonic in any case and with any white space between words. The
// caller wipes text.
func Parse(text []byte) (Mnemonic, error) {
	if len(text) > MaxSize {
		return Mnemonic{}, ErrMalformed
	}
	words := bytes.Fields(bytes.ToLower(norm.NFKD.Bytes(text)))
	joined := bytes.Join(words, []byte(" "))
	if len(words) < minWords || len(words) > maxWords || !bip39.IsMnemonicValid(string(joined)) {
		clear(joined)
		return Mnemonic{}, ErrMalformed
	}
	// IsMnemonicValid checks the words and not their checksum.
	if _, err := bip39.EntropyFromMnemonic(string(joined)); err != nil {
		clear(joined)
		return Mnemonic{}, ErrMalformed
	}
	return Mnemonic{secret.New(joined)}, nil
}

// Looks reports whether a text is a mnemonic, for a reader that expects something
// else.
func Looks(text []byte) bool {
	m, err := Parse(text)
	m.Wipe()
	return err == nil
}

// Text returns the words with spaces between, not a copy.
func (m Mnemonic) Text() secret.Bytes { return m.text }

// Word returns one word, counted from 0.
func (m Mnemonic) Word(i int) []byte { return bytes.Fields(m.text.Reveal())[i] }

// Len returns the number of words.
func (m Mnemonic) Len() int { return len(bytes.Fields(m.text.Reveal())) }

// Wipe overwrites the words.
func (m Mnemonic) Wipe() { m.text.Wipe() }

// Seed returns the 64 bytes that BIP-39 makes of a mnemonic without a passphrase.
func (m Mnemonic) Seed() (secret.Bytes, error) {
	const iterations, size = 2048, 64
	seed, err := pbkdf2.Key(sha512.New, string(m.text.Reveal()), []byte("mnemonic"), iterations, size)
	return secret.New(seed), err
}

// A Tree derives keys from a seed.
type Tree struct{ validators *blst.SecretKey }

// The path of a signing key is m/12381/3600/INDEX/0/0 (EIP-2334).
const (
	purpose  = 12381
	coinType = 3600
)

// NewTree starts a tree. The caller wipes the seed, which has 32 bytes or more.
func NewTree(seed secret.Bytes) (*Tree, error) {
	master := blst.DeriveMasterEip2333(seed.Reveal())
	if master == nil {
		return nil, fmt.Errorf("mnemonic: got a seed of %d bytes, want 32 or more", seed.Len())
	}
	defer master.Zeroize()
	return &Tree{descend(master, purpose, coinType)}, nil
}

// descend derives a key below another.
func descend(key *blst.SecretKey, path ...uint32) *blst.SecretKey {
	for i, step := range path {
		child := key.DeriveChildEip2333(step)
		if i > 0 {
			key.Zeroize()
		}
		key = child
	}
	return key
}

// Path returns the path of a validator's signing key, for people.
func Path(index uint32) string { return fmt.Sprintf("m/%d/%d/%d/0/0", purpose, coinType, index) }

// MaxIndex is the highest index of a validator.
const MaxIndex = math.MaxUint32

// SigningKey returns the scalar of a validator's signing key.
func (t *Tree) SigningKey(index uint32) secret.Bytes {
	key := descend(t.validators, index, 0, 0)
	defer key.Zeroize()
	return secret.New(key.Serialize())
}

// Wipe overwrites the tree.
func (t *Tree) Wipe() { t.validators.Zeroize() }
