// Package keystore opens EIP-2335 keystores, the JSON files in which staking tools
// keep a validator's secret key under a password.
//
// A keystore says itself how much memory and time its key derivation takes, so
// what a file may ask for is bounded, and an Opener bounds what all files together
// take at once. The public key is always derived from the secret; the one that the
// file claims is only compared.
package keystore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/semaphore"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/secret"
)

// MaxSize bounds a keystore file, which is some 700 bytes.
const MaxSize = 16 << 10

// UsualMemory is what an Opener needs for one scrypt keystore of the usual
// parameters (n 2^18, r 8, p 1), in bytes.
const UsualMemory = 128 * 8 * (1<<18 + 1)

// version is the only one that EIP-2335 defines.
const version = 4

// ErrPassword reports that the password does not fit the keystore's checksum.
var ErrPassword = errors.New("wrong password, or a damaged keystore")

// ErrMemory reports a keystore whose key derivation takes more memory than an
// Opener may use.
var ErrMemory = errors.New("key derivation takes too much memory")

// Opener opens keystores within bounds. It may be used by many goroutines at once.
type Opener struct {
	memory  *semaphore.Weighted
	workers *semaphore.Weighted
	limit   int64
}

// NewOpener returns an Opener that derives at most workers keys at once, in at most
// memory bytes together. A scrypt keystore with usual parameters takes 256 MiB, a
// pbkdf2 keystore next to nothing.
func NewOpener(memory int64, workers int) *Opener {
	return &Opener{
		memory:  semaphore.NewWeighted(memory),
		workers: semaphore.NewWeighted(int64(workers)),
		limit:   memory,
	}
}

// Open decrypts a keystore. It waits for its share of memory and processors, or
// until ctx ends. The caller owns and wipes file and password.
func (o *Opener) Open(ctx context.Context, file, password []byte) (*bls.SecretKey, error) {
	scalar, key, err := o.OpenScalar(ctx, file, password)
	scalar.Wipe()
	return key, err
}

// OpenScalar is Open for a caller that keeps the key elsewhere: it returns the
// scalar, 32 bytes in big-endian order, beside the key made of it. The caller owns
// and wipes both.
func (o *Opener) OpenScalar(ctx context.Context, file, password []byte) (secret.Bytes, *bls.SecretKey, error) {
	k, err := parse(file)
	if err != nil {
		return secret.Bytes{}, nil, fmt.Errorf("keystore: %w", err)
	}
	forms, err := normalForms(password)
	if err != nil {
		return secret.Bytes{}, nil, fmt.Errorf("keystore: %w", err)
	}
	scalar, key, err := o.openAny(ctx, k, forms)
	if err != nil {
		return secret.Bytes{}, nil, fmt.Errorf("keystore: %w", err)
	}
	return scalar, key, nil
}

// openAny tries one form of the password after another, and wipes them.
func (o *Opener) openAny(ctx context.Context, k *keystore, forms [][]byte) (scalar secret.Bytes, key *bls.SecretKey, err error) {
	for _, form := range forms {
		defer clear(form)
		if scalar, key, err = o.open(ctx, k, form); !errors.Is(err, ErrPassword) {
			break
		}
	}
	return scalar, key, err
}

func (o *Opener) open(ctx context.Context, k *keystore, password []byte) (secret.Bytes, *bls.SecretKey, error) {
	derived, err := o.derive(ctx, k.kdf, password)
	if err != nil {
		return secret.Bytes{}, nil, err
	}
	defer clear(derived)
	scalar := new([32]byte)
	if err := k.decrypt(scalar, derived); err != nil {
		return secret.Bytes{}, nil, err
	}
	key, err := k.check(scalar)
	if err != nil {
		clear(scalar[:])
		return secret.Bytes{}, nil, err
	}
	return secret.New(scalar[:]), key, nil
}

// check makes the key of a scalar, which must be the one that the file claims.
func (k *keystore) check(scalar *[32]byte) (*bls.SecretKey, error) {
	key, err := bls.NewSecretKey(scalar)
	if err != nil {
		return nil, err
	}
	if k.public != nil && *k.public != key.PublicKey() {
		err := fmt.Errorf("the file claims public key %v, but its secret's is %v", *k.public, key.PublicKey())
		key.Wipe()
		return nil, err
	}
	return key, nil
}

// derive runs the key derivation when there is room for it.
func (o *Opener) derive(ctx context.Context, kdf kdf, password []byte) ([]byte, error) {
	need := kdf.memory()
	if need > o.limit {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrMemory, need, o.limit)
	}
	if err := o.workers.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer o.workers.Release(1)
	if err := o.memory.Acquire(ctx, need); err != nil {
		return nil, err
	}
	defer o.memory.Release(need)
	return kdf.derive(password)
}

// keystore is a parsed file.
type keystore struct {
	kdf      kdf
	checksum [sha256.Size]byte
	iv       [aes.BlockSize]byte
	sealed   [32]byte
	public   *bls.PublicKey // nil if the file does not claim one
}

func parse(file []byte) (*keystore, error) {
	if len(file) > MaxSize {
		return nil, fmt.Errorf("file has %d bytes, limit %d", len(file), MaxSize)
	}
	o, err := jsontree.Parse(file)
	if err != nil {
		return nil, err
	}
	if v := o.Uint64("version"); v != version {
		o.Fail("version", "got %d, want %d", v, version)
	}
	crypto := o.Object("crypto")
	k := &keystore{kdf: readKDF(crypto.Object("kdf"))}
	wantFunction(crypto.Object("checksum"), "sha256").Fixed("message", k.checksum[:])
	sealed := wantFunction(crypto.Object("cipher"), "aes-128-ctr")
	sealed.Fixed("message", k.sealed[:])
	sealed.Object("params").Fixed("iv", k.iv[:])
	if o.Has("pubkey") && o.Text("pubkey") != "" {
		k.public = new(bls.PublicKey)
		o.Fixed("pubkey", k.public[:])
	}
	if o.Err() != nil {
		return nil, o.Err()
	}
	return k, nil
}

// maxPath bounds a derivation path. EIP-2334's have five numbers.
const maxPath = 64

// Path returns the derivation path that a keystore claims (EIP-2334), or nothing if
// it has none that looks like one. It is for showing, and proves nothing.
func Path(file []byte) string {
	if len(file) > MaxSize {
		return ""
	}
	o, err := jsontree.Parse(file)
	if err != nil {
		return ""
	}
	path := o.Text("path")
	if len(path) > maxPath || strings.Trim(path, "m/0123456789") != "" {
		return ""
	}
	return path
}

// wantFunction holds a module to the only function supported in its place.
func wantFunction(module *jsontree.Object, want string) *jsontree.Object {
	if got := module.Text("function"); !strings.EqualFold(got, want) {
		module.Fail("function", "got %.40q, want %s", got, want)
	}
	return module
}

// decrypt checks the password by EIP-2335's checksum, of the derived key's second
// half and the ciphertext, and decrypts with the first half.
func (k *keystore) decrypt(scalar *[32]byte, derived []byte) error {
	preimage := append(append(make([]byte, 0, 48), derived[16:32]...), k.sealed[:]...)
	defer clear(preimage)
	if sum := sha256.Sum256(preimage); subtle.ConstantTimeCompare(sum[:], k.checksum[:]) != 1 {
		return ErrPassword
	}
	block, err := aes.NewCipher(derived[:16])
	if err != nil {
		return err
	}
	cipher.NewCTR(block, k.iv[:]).XORKeyStream(scalar[:], k.sealed[:])
	return nil
}
