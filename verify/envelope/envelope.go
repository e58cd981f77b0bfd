// Package envelope reads and writes a sealed bundle as everybody sees it who does
// not have its data key: the holder's tools, the parent that carries it, and the
// enclave until the key comes.
//
// An [Envelope] has a clear part, which says what the bundle is for and who can
// open it, and a sealed part, the secrets. The clear part is the associated data
// of the sealed one, so neither opens without the other, and it commits to the
// data key, because AES-GCM does not: without the commitment somebody could make
// one file that opens to different secrets under different keys.
//
// The encoding is versioned, binary and canonical: [Parse] accepts exactly the
// bytes that [Envelope.Bytes] writes. The enclave and the holder's tools share
// this package, and it needs only the standard library.
package envelope

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

const (
	// Magic starts every file.
	Magic = "holdfast/bundle/v1\n"

	// DataKeySize is the size of a data key.
	DataKeySize = 32
)

// Bounds, in bytes where nothing else is said.
const (
	// MaxSize bounds a file.
	MaxSize = 16 << 20

	// MaxPublicKeys is how many validators a bundle may have.
	MaxPublicKeys = 16384

	// MaxNameSize bounds a name.
	MaxNameSize = 64

	// MaxConfigurationSize bounds a configuration. One that names as many keys
	// as a bundle may have takes 1.7 MB.
	MaxConfigurationSize = 2 << 20

	// MaxCiphertextSize is KMS's bound of a CiphertextBlob (Decrypt, AWS KMS API
	// reference).
	MaxCiphertextSize = 6144

	// MaxAgeSize bounds the age file. A recipient's stanza takes 0.2 to 1.7 kB.
	MaxAgeSize = 64 << 10

	// MaxSecretsSize bounds what is sealed, before it is: 16384 keys take half
	// of it.
	MaxSecretsSize = 1 << 20

	// NonceSize and TagSize are those of AES-GCM. The nonce comes before the
	// ciphertext, the tag after it.
	NonceSize = 12
	TagSize   = 16
)

// An Envelope is a sealed bundle.
type Envelope struct {
	// Name says which bundle it is, 1 to 64 characters of a-z, 0-9 and hyphen, and
	// Version how recent, from 1: a slashing store refuses one older than it has
	// seen under the name.
	Name    string
	Version uint64

	// Configuration is what the enclave may do and for whom, as canonical JSON (RFC
	// 8785). Its digest is what an attestation binds.
	Configuration []byte

	// PublicKeys are the validators', ascending.
	PublicKeys [][48]byte

	// KMS and Age hold the data key, wrapped: by AWS KMS, and to the holder's age
	// recipients as an age file (not armored). One may be nil.
	KMS *KMSWrap
	Age []byte

	// Commitment is the data key's, as [Commit] makes it.
	Commitment [sha256.Size]byte

	// Sealed is the nonce and the AES-256-GCM ciphertext of the secrets, with
	// [Envelope.AssociatedData].
	Sealed []byte
}

// A KMSWrap is a data key encrypted by AWS KMS under [Envelope.Context].
type KMSWrap struct {
	Key        string // full ARN
	Ciphertext []byte
}

// Digest returns the SHA-384 of the whole file.
func (e *Envelope) Digest() [sha512.Size384]byte { return sha512.Sum384(e.Bytes()) }

// ConfigurationDigest returns the SHA-384 of the configuration.
func (e *Envelope) ConfigurationDigest() [sha512.Size384]byte {
	return sha512.Sum384(e.Configuration)
}

// Context returns the encryption context under which KMS holds the data key.
func (e *Envelope) Context() map[string]string {
	return Context(e.Name, e.Version, e.ConfigurationDigest())
}

// Context returns the encryption context of a bundle that may have no data key yet.
// A key policy can name its parts, and CloudTrail records them.
func Context(name string, version uint64, configuration [sha512.Size384]byte) map[string]string {
	return map[string]string{
		"purpose":       "holdfast-bundle",
		"name":          name,
		"version":       strconv.FormatUint(version, 10),
		"configuration": hex.EncodeToString(configuration[:]),
	}
}

// Labels of what is derived from a data key by HKDF-SHA256 (RFC 5869), without
// salt: the key is random and used for one bundle.
const (
	commitmentLabel = "holdfast/bundle/v1 commitment"
	sealingLabel    = "holdfast/bundle/v1 sealing key"
)

// Commit returns the commitment to a data key of [DataKeySize] bytes. It tells
// nothing of the key, and nobody finds two keys with one commitment.
func Commit(dataKey []byte) ([sha256.Size]byte, error) {
	derived, err := derive(dataKey, commitmentLabel)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	return [sha256.Size]byte(derived), nil
}

// Commits reports, in constant time, whether a data key is the one that the envelope
// commits to.
func (e *Envelope) Commits(dataKey []byte) (bool, error) {
	commitment, err := Commit(dataKey)
	return err == nil && subtle.ConstantTimeCompare(commitment[:], e.Commitment[:]) == 1, err
}

// SealingKey returns the key of AES-256-GCM that belongs to a data key of
// [DataKeySize] bytes.
func SealingKey(dataKey []byte) ([]byte, error) { return derive(dataKey, sealingLabel) }

func derive(dataKey []byte, label string) ([]byte, error) {
	if len(dataKey) != DataKeySize {
		return nil, fmt.Errorf("envelope: got a data key of %d bytes, want %d", len(dataKey), DataKeySize)
	}
	return hkdf.Key(sha256.New, dataKey, nil, label, sha256.Size)
}

// Check reports what is wrong with an envelope, in everything that can be told
// without the data key.
func (e *Envelope) Check() error {
	for _, check := range []func() error{e.checkName, e.checkConfiguration, e.checkPublicKeys, e.checkWraps, e.checkSealed} {
		if err := check(); err != nil {
			return fmt.Errorf("envelope: %w", err)
		}
	}
	return nil
}

func (e *Envelope) checkName() error {
	if !IsName(e.Name) {
		return fmt.Errorf("name: want 1 to %d characters of a-z, 0-9 and -", MaxNameSize)
	}
	if e.Version == 0 {
		return errors.New("version: got 0, want 1 or more")
	}
	return nil
}

// IsName reports whether a bundle may have this name.
func IsName(name string) bool {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return len(name) > 0 && len(name) <= MaxNameSize
}

func (e *Envelope) checkConfiguration() error {
	if len(e.Configuration) > MaxConfigurationSize {
		return fmt.Errorf("configuration: got %d bytes, want at most %d", len(e.Configuration), MaxConfigurationSize)
	}
	if len(e.Configuration) == 0 || e.Configuration[0] != '{' {
		return errors.New("configuration: want a JSON object")
	}
	if err := checkCanonical(e.Configuration); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	return nil
}

func (e *Envelope) checkPublicKeys() error {
	if n := len(e.PublicKeys); n == 0 || n > MaxPublicKeys {
		return fmt.Errorf("got %d public keys, want 1 to %d", n, MaxPublicKeys)
	}
	for i := 1; i < len(e.PublicKeys); i++ {
		if bytes.Compare(e.PublicKeys[i-1][:], e.PublicKeys[i][:]) >= 0 {
			return fmt.Errorf("public key %d of %d does not come after the one before it", i+1, len(e.PublicKeys))
		}
	}
	return nil
}

// ageMagic starts an age file (C2SP age).
const ageMagic = "age-encryption.org/v1\n"

func (e *Envelope) checkWraps() error {
	if e.KMS == nil && len(e.Age) == 0 {
		return errors.New("nobody can open it: the data key is wrapped neither by KMS nor to an age recipient")
	}
	if e.KMS != nil {
		if _, err := ParseARN(e.KMS.Key, KMSKey); err != nil {
			return fmt.Errorf("KMS key: %w", err)
		}
		if n := len(e.KMS.Ciphertext); n == 0 || n > MaxCiphertextSize {
			return fmt.Errorf("got a KMS ciphertext of %d bytes, want 1 to %d", n, MaxCiphertextSize)
		}
	}
	if n := len(e.Age); n > MaxAgeSize {
		return fmt.Errorf("got an age file of %d bytes, want at most %d", n, MaxAgeSize)
	}
	if e.Age != nil && !bytes.HasPrefix(e.Age, []byte(ageMagic)) {
		return errors.New("the wrap for the holder is not an age file in its binary form")
	}
	return nil
}

func (e *Envelope) checkSealed() error {
	const least, most = NonceSize + TagSize + 1, NonceSize + TagSize + MaxSecretsSize
	if n := len(e.Sealed); n < least || n > most {
		return fmt.Errorf("got %d bytes of sealed secrets, want %d to %d", n, least, most)
	}
	return nil
}
