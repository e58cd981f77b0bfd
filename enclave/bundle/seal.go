package bundle

import (
	"bytes"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

// A Draft is what a bundle is made of.
type Draft struct {
	Name          string
	Version       uint64
	Configuration []byte // JSON, with any white space
	Secrets       Secrets

	// KMS and Age are the data key as others wrapped it; one of them may be nil.
	KMS *envelope.KMSWrap
	Age []byte
}

// ErrDataKey says that a data key is another bundle's.
var ErrDataKey = errors.New("bundle: this is not the data key of this bundle")

// Seal makes a bundle under a data key of [envelope.DataKeySize] bytes, which should
// be random and used for this bundle only. It derives the public keys, and leaves the
// draft and the data key to their owner.
func Seal(d Draft, dataKey secret.Bytes) (*envelope.Envelope, error) {
	e, err := seal(&d, dataKey)
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return e, nil
}

func seal(d *Draft, dataKey secret.Bytes) (*envelope.Envelope, error) {
	configuration, err := ParseConfiguration(d.Configuration)
	if err != nil {
		return nil, err
	}
	if err := d.Secrets.check(configuration); err != nil {
		return nil, err
	}
	e := &envelope.Envelope{
		Name: d.Name, Version: d.Version, Configuration: configuration.Canonical(),
		KMS: d.KMS, Age: d.Age,
	}
	if _, err := ConfigurationOf(e); err != nil {
		return nil, err
	}
	order, err := d.list(e)
	if err != nil {
		return nil, err
	}
	if e.Commitment, err = envelope.Commit(dataKey.Reveal()); err != nil {
		return nil, err
	}
	plaintext := d.Secrets.encode(order)
	defer clear(plaintext)
	if e.Sealed, err = encrypt(dataKey, plaintext, e.AssociatedData()); err != nil {
		return nil, err
	}
	return e, e.Check()
}

// list derives the validators' public keys, puts them into the envelope in their
// order, and returns that order.
func (d *Draft) list(e *envelope.Envelope) (order []int, err error) {
	validators := d.Secrets.Validators
	if n := len(validators); n == 0 || n > MaxValidators {
		return nil, fmt.Errorf("validators: got %d, want 1 to %d", n, MaxValidators)
	}
	keys, err := derive(len(validators), func(i int) (*bls.SecretKey, error) { return newKey(validators[i].Reveal()) })
	if err != nil {
		return nil, err
	}
	defer wipeKeys(keys)
	for i := range keys {
		order = append(order, i)
	}
	slices.SortFunc(order, func(i, j int) int {
		a, b := keys[i].PublicKey(), keys[j].PublicKey()
		return cmp.Or(bytes.Compare(a[:], b[:]), cmp.Compare(i, j))
	})
	for at, i := range order {
		e.PublicKeys = append(e.PublicKeys, keys[i].PublicKey())
		if at > 0 && e.PublicKeys[at-1] == e.PublicKeys[at] {
			return nil, fmt.Errorf("validators: number %d has the key of number %d", i+1, order[at-1]+1)
		}
	}
	return order, nil
}

// Open opens a bundle with its data key, which stays its owner's. The bundle's keys
// are derived, and held against the public keys that the envelope lists. The error
// of a wrong data key is [ErrDataKey]; any other says what is wrong with the file.
func Open(e *envelope.Envelope, dataKey secret.Bytes) (*Bundle, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	configuration, err := ConfigurationOf(e)
	if err != nil {
		return nil, err
	}
	plaintext, err := decrypt(e, dataKey)
	if err != nil {
		return nil, err
	}
	defer clear(plaintext)
	b := &Bundle{Name: e.Name, Version: e.Version, Settings: configuration}
	if err := b.read(plaintext, e.PublicKeys); err != nil {
		b.Wipe()
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return b, nil
}

// read takes over the secrets.
func (b *Bundle) read(plaintext []byte, publicKeys [][48]byte) error {
	s, scalars, err := decode(plaintext)
	if err != nil {
		return err
	}
	b.Identity, b.Token, b.SlashingKey, b.Store = s.TLS, s.Token, s.SlashingKey, s.Store
	if err := s.check(b.Settings); err != nil {
		return err
	}
	if n := len(scalars) / scalarSize; n != len(publicKeys) {
		return fmt.Errorf("got %d secret keys for %d public keys", n, len(publicKeys))
	}
	b.Keys, err = derive(len(publicKeys), func(i int) (*bls.SecretKey, error) {
		key, err := newKey(scalars[i*scalarSize : (i+1)*scalarSize])
		if err == nil && key.PublicKey() != publicKeys[i] {
			err = fmt.Errorf("its public key is %v, but the bundle lists %v", key.PublicKey(), bls.PublicKey(publicKeys[i]))
			key.Wipe()
		}
		return key, err
	})
	return err
}

// newKey makes a key of a scalar, which it does not keep.
func newKey(scalar []byte) (*bls.SecretKey, error) {
	if len(scalar) != scalarSize {
		return nil, fmt.Errorf("got a secret key of %d bytes, want %d", len(scalar), scalarSize)
	}
	return bls.NewSecretKey((*[scalarSize]byte)(scalar))
}

// derive makes n keys, as many at once as there are processors. With an error there
// are none.
func derive(n int, newOne func(i int) (*bls.SecretKey, error)) ([]*bls.SecretKey, error) {
	keys := make([]*bls.SecretKey, n)
	var group errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		group.Go(func() (err error) {
			for i := worker; i < n; i += workers {
				if keys[i], err = newOne(i); err != nil {
					keys[i] = nil
					return fmt.Errorf("validator %d: %w", i+1, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		wipeKeys(keys)
		return nil, err
	}
	return keys, nil
}

// encrypt seals in a buffer of its own, after a random nonce.
func encrypt(dataKey secret.Bytes, plaintext, associated []byte) ([]byte, error) {
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	out := make([]byte, envelope.NonceSize, envelope.NonceSize+len(plaintext)+envelope.TagSize)
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	return aead.Seal(out, out, plaintext, associated), nil
}

// decrypt returns the encoded secrets. The commitment comes first, so that a foreign
// key is told from an altered file.
func decrypt(e *envelope.Envelope, dataKey secret.Bytes) ([]byte, error) {
	switch ours, err := e.Commits(dataKey.Reveal()); {
	case err != nil:
		return nil, err
	case !ours:
		return nil, ErrDataKey
	}
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	nonce, ciphertext := e.Sealed[:envelope.NonceSize], e.Sealed[envelope.NonceSize:]
	plaintext, err := aead.Open(nil, nonce, ciphertext, e.AssociatedData())
	if err != nil {
		return nil, errors.New("bundle: the file was altered after it was sealed")
	}
	return plaintext, nil
}

func newAEAD(dataKey secret.Bytes) (cipher.AEAD, error) {
	key, err := envelope.SealingKey(dataKey.Reveal())
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
