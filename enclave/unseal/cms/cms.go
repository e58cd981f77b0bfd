// Package cms reads what AWS KMS encrypts for an enclave: the EnvelopedData
// (RFC 5652) in the field CiphertextForRecipient of an answer.
//
// KMS writes one shape of it: one recipient, named by the SHA-256 of the public
// key that the attestation document carried, RSAES-OAEP with SHA-256 (RFC 4055)
// around an AES-256 key, and AES-256-CBC (RFC 3565) around the plaintext. It is
// BER: the outer structures have indefinite lengths, and the content comes as
// a constructed [0] with one or more OCTET STRINGs or as a primitive one.
// [Parse] accepts that and nothing else: every algorithm with exactly its
// parameters, no optional field, no second recipient, nothing after the end.
// Recursion does not follow the input; the structures are five deep.
//
// # What is not detected
//
// CBC authenticates nothing. With the size of the plaintext known,
// [EnvelopedData.Open] finds every change of one byte in the structure, in the
// encrypted key, and in the last two blocks of the ciphertext: the second to
// last flips bits of the padding, which is checked whole. What it cannot find is
// a change of the initialization vector or of a block before those two, which
// gives another plaintext of the same size. Of the data key of 32 bytes these
// are 32 bytes of the answer, the vector and the first block. So integrity rests
// on the TLS connection, which ends in the enclave, and whoever uses a data key
// checks it against the commitment in its envelope.
package cms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"math"

	"holdfast/enclave/secret"
)

const (
	// MaxSize bounds an EnvelopedData: that of CiphertextForRecipient in the
	// API reference of KMS.
	MaxSize = 6144

	// KeyBits is the size of the recipient's RSA key.
	KeyBits = 2048

	// AnySize opens a plaintext of any size.
	AnySize = -1

	// contentKeySize is that of AES-256.
	contentKeySize = 32
)

// ErrOpen is the error of what does not open: encrypted to another key, or
// changed. Which of them is not told, and takes as long to find.
var ErrOpen = errors.New("cms: does not open: encrypted to another key, changed, or of another size")

// An EnvelopedData is the parts of one that vary.
type EnvelopedData struct {
	// Recipient is the SHA-256 of the DER SubjectPublicKeyInfo.
	Recipient [sha256.Size]byte

	// EncryptedKey is the content key under RSAES-OAEP.
	EncryptedKey [KeyBits / 8]byte

	// IV and Ciphertext are those of AES-256-CBC. Ciphertext has at least one
	// block, and whole ones only.
	IV         [aes.BlockSize]byte
	Ciphertext []byte
}

// Recipient returns the identifier of a public key.
func Recipient(key *rsa.PublicKey) ([sha256.Size]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("cms: %w", err)
	}
	return sha256.Sum256(spki), nil
}

// Open decrypts to a plaintext of the given size in bytes, or of [AnySize]. The
// caller wipes it. The error is [ErrOpen], unless it is the key that is of no
// use or the data that names another recipient.
func (e *EnvelopedData) Open(key *rsa.PrivateKey, size int) (secret.Bytes, error) {
	if bits := key.N.BitLen(); bits != KeyBits {
		return secret.Bytes{}, fmt.Errorf("cms: got a key of %d bits, want %d", bits, KeyBits)
	}
	if size < AnySize || size > math.MaxInt32 {
		return secret.Bytes{}, fmt.Errorf("cms: got a size of %d", size)
	}
	recipient, err := Recipient(&key.PublicKey)
	if err != nil {
		return secret.Bytes{}, err
	}
	if recipient != e.Recipient {
		return secret.Bytes{}, fmt.Errorf("cms: got recipient %x, want %x", e.Recipient, recipient)
	}
	contentKey, opened := e.unwrap(key)
	defer clear(contentKey)
	block, err := aes.NewCipher(contentKey)
	if err != nil {
		return secret.Bytes{}, fmt.Errorf("cms: %w", err)
	}
	plaintext := make([]byte, len(e.Ciphertext))
	cipher.NewCBCDecrypter(block, e.IV[:]).CryptBlocks(plaintext, e.Ciphertext)
	length, padded := unpad(plaintext)
	opened &= padded
	if size != AnySize {
		opened &= subtle.ConstantTimeEq(int32(length), int32(size))
	}
	if opened != 1 {
		clear(plaintext)
		return secret.Bytes{}, ErrOpen
	}
	return secret.New(plaintext[:length:length]), nil
}

// unwrap returns the content key and 1, or zeros and 0: the decryption that
// follows takes place in either case, and fails in the latter.
func (e *EnvelopedData) unwrap(key *rsa.PrivateKey) ([]byte, int) {
	contentKey := make([]byte, contentKeySize)
	got, err := rsa.DecryptOAEP(sha256.New(), nil, key, e.EncryptedKey[:], nil)
	defer clear(got)
	if err != nil || len(got) != contentKeySize {
		return contentKey, 0
	}
	copy(contentKey, got)
	return contentKey, 1
}

// unpad returns the length without padding (RFC 5652 section 6.3) and whether
// every byte of the padding is right, in time that depends on neither. Without
// a right padding the length means nothing.
func unpad(plaintext []byte) (length, ok int) {
	last := plaintext[len(plaintext)-aes.BlockSize:]
	padding := int(last[aes.BlockSize-1])
	ok = subtle.ConstantTimeLessOrEq(1, padding) & subtle.ConstantTimeLessOrEq(padding, aes.BlockSize)
	for i, b := range last {
		isPadding := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, padding)
		ok &= subtle.ConstantTimeSelect(isPadding, subtle.ConstantTimeByteEq(b, byte(padding)), 1)
	}
	return len(plaintext) - subtle.ConstantTimeSelect(ok, padding, 0), ok
}
