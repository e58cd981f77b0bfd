package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/keystore"
)

// Keystores may take keystoreShare of the memory for their key derivations, which
// the kernel, the programs and what the collector has not yet freed must live
// beside, and at least minKeystoreMemory. In an enclave of 256 MB that is too
// little for scrypt as tools use it (256 MiB), in one of 1.5 GB enough.
const (
	keystoreShare     = 4
	minKeystoreMemory = 32 << 20
)

// keystoreMemory is what key derivations may take on this machine, in bytes.
func keystoreMemory() int64 { return max(totalMemory()/keystoreShare, minKeystoreMemory) }

// totalMemory is that of this machine in bytes, or 0 if it does not tell.
func totalMemory() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}

// openKeys makes the keys of validators, as many at once as there are processors.
// The public key is always derived; what a file claims is
// compared. With an error there are no keys.
func openKeys(ctx context.Context, opener *keystore.Opener, validators []bundle.Validator) ([]*bls.SecretKey, error) {
	keys := make([]*bls.SecretKey, len(validators))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i := range validators {
		group.Go(func() (err error) {
			if err = ctx.Err(); err == nil {
				keys[i], err = openKey(ctx, opener, &validators[i])
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("validator %d: %w", i+1, err)
			}
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		err = checkDistinct(keys)
	}
	if err != nil {
		wipe(keys)
		return nil, err
	}
	return keys, nil
}

func openKey(ctx context.Context, opener *keystore.Opener, v *bundle.Validator) (*bls.SecretKey, error) {
	key, err := decodeKey(ctx, opener, v)
	if err != nil {
		return nil, err
	}
	if v.PublicKey != nil && *v.PublicKey != key.PublicKey() {
		err := fmt.Errorf("the file says that its public key is %v, but it is %v", *v.PublicKey, key.PublicKey())
		key.Wipe()
		return nil, err
	}
	return key, nil
}

func decodeKey(ctx context.Context, opener *keystore.Opener, v *bundle.Validator) (*bls.SecretKey, error) {
	if v.Keystore == nil {
		var scalar [32]byte
		defer clear(scalar[:])
		copy(scalar[:], v.SecretKey.Reveal())
		return bls.NewSecretKey(&scalar)
	}
	key, err := opener.Open(ctx, v.Keystore, v.Password.Reveal())
	if errors.Is(err, keystore.ErrMemory) {
		err = fmt.Errorf("%w (hint: convert the keystore to pbkdf2, give the bare secret_key, or give the enclave more memory)", err)
	}
	return key, err
}

// checkDistinct finds a key that comes twice, most likely a mistake of whoever
// wrote the file.
func checkDistinct(keys []*bls.SecretKey) error {
	seen := make(map[bls.PublicKey]int, len(keys))
	for i, key := range keys {
		if j, ok := seen[key.PublicKey()]; ok {
			return fmt.Errorf("validators: number %d has the key of number %d", i+1, j+1)
		}
		seen[key.PublicKey()] = i
	}
	return nil
}

func wipe(keys []*bls.SecretKey) {
	for _, key := range keys {
		if key != nil {
			key.Wipe()
		}
	}
}
