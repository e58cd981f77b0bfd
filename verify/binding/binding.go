// Package binding encodes what an enclave's attestation document commits to.
//
// An attestation document proves that some instance of a measured image
// exists. It says nothing about the TLS connection on which it arrived, nor
// about the key to which a secret is about to be sealed. The enclave closes
// that gap: it puts the SHA-384 of a [Binding] in the document's user_data,
// and serves the binding beside the document. Whoever verifies the document
// then knows which TLS key, which HPKE key and which configuration belong to
// the measured instance.
//
// The encoding is versioned, domain-separated and canonical: [Parse] accepts
// exactly the bytes that [Binding.Encode] writes. The enclave and its
// verifiers share this package, and it needs only the standard library.
package binding

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
)

// Version starts every encoding. It separates a binding from any other
// structure that might one day be hashed into user_data.
const Version = "holdfast/attestation/v1"

// releaseLabel starts the HPKE info of a key release.
const releaseLabel = "holdfast/release/v1"

const (
	// MaxTLSKeySize bounds the DER SubjectPublicKeyInfo: RSA-4096 takes 550
	// bytes, the P-384 key of an enclave 120.
	MaxTLSKeySize = 1024

	// HPKEKeySize is the size of an MLKEM768-X25519 public key: 1184 bytes of
	// ML-KEM-768 encapsulation key and 32 bytes of X25519.
	HPKEKeySize = 1184 + 32

	// MaxSize bounds an encoding.
	MaxSize = len(Version) + 4 + MaxTLSKeySize + 4 + HPKEKeySize + sha512.Size384
)

// A Binding names the keys and the configuration of one running enclave. The
// zero value binds nothing, and its encoding is refused by [Parse].
type Binding struct {
	// TLSKey is the DER SubjectPublicKeyInfo of the certificate that the
	// enclave presents.
	TLSKey []byte

	// HPKEKey is the MLKEM768-X25519 public key to which secrets are sealed.
	HPKEKey []byte

	// Configuration is the SHA-384 of the configuration in force, and zero
	// while there is none.
	Configuration [sha512.Size384]byte
}

// Encode returns the canonical encoding: [Version], TLSKey and HPKEKey each
// after its length as a big-endian uint32, and Configuration. It checks no
// bound: [Parse] refuses the encoding of a binding that breaks one.
func (b Binding) Encode() []byte {
	out := []byte(Version)
	out = appendField(out, b.TLSKey)
	out = appendField(out, b.HPKEKey)
	return append(out, b.Configuration[:]...)
}

// Digest returns the SHA-384 of the encoding: the user_data of an enclave's
// attestation document.
func (b Binding) Digest() [sha512.Size384]byte {
	return sha512.Sum384(b.Encode())
}

// Parse decodes an encoding. TLSKey must have 1 to [MaxTLSKeySize] bytes and
// HPKEKey exactly [HPKEKeySize]; nothing may follow.
func Parse(data []byte) (Binding, error) {
	var b Binding
	rest, ok := bytes.CutPrefix(data, []byte(Version))
	if !ok {
		return Binding{}, fmt.Errorf("binding: want version %q at the start", Version)
	}
	var err error
	if b.TLSKey, rest, err = cutField(rest, "TLS key", 1, MaxTLSKeySize); err != nil {
		return Binding{}, err
	}
	if b.HPKEKey, rest, err = cutField(rest, "HPKE key", HPKEKeySize, HPKEKeySize); err != nil {
		return Binding{}, err
	}
	if len(rest) != len(b.Configuration) {
		return Binding{}, fmt.Errorf("binding: got %d bytes of configuration digest, want %d", len(rest), len(b.Configuration))
	}
	copy(b.Configuration[:], rest)
	return b, nil
}

// ReleaseInfo returns the HPKE info under which a data key is sealed to the
// enclave whose binding has this digest, so that a sealed key opens in no
// other context.
func ReleaseInfo(digest [sha512.Size384]byte) []byte {
	return append([]byte(releaseLabel), digest[:]...)
}

func appendField(out, field []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
	return append(out, field...)
}

// cutField takes one length-prefixed field off the front of data. It compares
// the length with its bounds before it touches the bytes.
func cutField(data []byte, name string, minimum, maximum uint32) (field, rest []byte, err error) {
	if len(data) < 4 {
		return nil, nil, fmt.Errorf("binding: truncated before the length of the %s", name)
	}
	size := binary.BigEndian.Uint32(data)
	data = data[4:]
	if size < minimum || size > maximum {
		return nil, nil, fmt.Errorf("binding: got a %s of %d bytes, want %d to %d", name, size, minimum, maximum)
	}
	if uint32(len(data)) < size {
		return nil, nil, fmt.Errorf("binding: truncated within the %s: got %d bytes, want %d", name, len(data), size)
	}
	return bytes.Clone(data[:size]), data[size:], nil
}
