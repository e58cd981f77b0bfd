// Package keyfilestest makes EIP-2335 keystores for tests, of keys that nobody could
// want and with as few iterations as the format allows.
package keyfilestest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"

	"holdfast/enclave/ethereum/bls"
)

// Keystore returns the keystore of the scalar n, which is not 0, under a password.
func Keystore(n byte, password string) string {
	derived, err := pbkdf2.Key(sha256.New, password, []byte("salt"), 2, 32)
	if err != nil {
		panic(err) // sizes that are fixed above
	}
	block, err := aes.NewCipher(derived[:16])
	if err != nil {
		panic(err)
	}
	sealed := [32]byte{31: n}
	cipher.NewCTR(block, make([]byte, 16)).XORKeyStream(sealed[:], sealed[:])
	sum := sha256.Sum256(append(append([]byte(nil), derived[16:]...), sealed[:]...))
	return fmt.Sprintf(`{"crypto":{"kdf":{"function":"pbkdf2","params":{"dklen":32,"c":2,"prf":"hmac-sha256","salt":"%x"},"message":""},
		"checksum":{"function":"sha256","params":{},"message":"%x"},
		"cipher":{"function":"aes-128-ctr","params":{"iv":"%032d"},"message":"%x"}},
		"pubkey":"%s","path":"","uuid":"x","version":4}`, "salt", sum, 0, sealed, PublicKey(n).String()[2:])
}

// PublicKey returns the public key of the scalar n.
func PublicKey(n byte) bls.PublicKey {
	key, err := bls.NewSecretKey(&[32]byte{31: n})
	if err != nil {
		panic(err) // n is 0
	}
	return key.PublicKey()
}
