package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"
)

// keystoreOf makes a keystore of secretKey2, as EIP-2335 describes, of a key that
// was derived with a KDF's parameters.
func keystoreOf(t *testing.T, kdf string, derived []byte) string {
	t.Helper()
	secret, err := hex.DecodeString(secretKey2[2:])
	if err != nil {
		t.Fatal(err)
	}
	block, err := aes.NewCipher(derived[:16])
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, aes.BlockSize)
	sealed := make([]byte, len(secret))
	cipher.NewCTR(block, iv).XORKeyStream(sealed, secret)
	sum := sha256.Sum256(append(slices.Clone(derived[16:32]), sealed...))
	return fmt.Sprintf(`{"crypto":{"kdf":%s,"checksum":{"function":"sha256","params":{},"message":"%x"},
		"cipher":{"function":"aes-128-ctr","params":{"iv":"%x"},"message":"%x"}},
		"description":"caf\u00e9","pubkey":"","path":"","uuid":"64625def-3331-4eea-ab6f-782f3ed16a83","version":4}`, kdf, sum, iv, sealed)
}

const keystorePassword = "correct horse"

func pbkdf2Keystore(t *testing.T) string {
	t.Helper()
	derived, err := pbkdf2.Key(sha256.New, keystorePassword, []byte("salt"), 1000, 32)
	if err != nil {
		t.Fatal(err)
	}
	return keystoreOf(t, `{"function":"pbkdf2","message":"","params":{"dklen":32,"c":1000,"prf":"hmac-sha256","salt":"73616c74"}}`, derived)
}
