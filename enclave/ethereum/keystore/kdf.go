package keystore

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"strings"

	"golang.org/x/crypto/scrypt"

	"holdfast/enclave/ethereum/jsontree"
)

// Bounds on what a file may ask for. Tools write scrypt with n 2^18, r 8, p 1 and
// pbkdf2 with 2^18 iterations, or less.
const (
	maxScryptN     = 1 << 20
	maxScryptR     = 32
	maxScryptP     = 16
	maxIterations  = 1 << 22
	maxSalt        = 256
	minDerivedSize = 32
	maxDerivedSize = 64
)

// kdf derives the decryption key from a password.
type kdf interface {
	memory() int64 // bytes that derive takes
	derive(password []byte) ([]byte, error)
}

// readKDF returns nil where it records a failure.
func readKDF(module *jsontree.Object) kdf {
	params := module.Object("params")
	size := bounded(params, "dklen", minDerivedSize, maxDerivedSize)
	salt := params.Hex("salt", maxSalt)
	switch function := module.Text("function"); strings.ToLower(function) {
	case "scrypt":
		return readScrypt(params, salt, size)
	case "pbkdf2":
		return readPBKDF2(params, salt, size)
	default:
		module.Fail("function", "got %.40q, want scrypt or pbkdf2", function)
		return nil
	}
}

func bounded(o *jsontree.Object, name string, low, high uint64) int {
	n := o.Uint64(name)
	if n < low || n > high {
		o.Fail(name, "got %d, want %d to %d", n, low, high)
		return 0
	}
	return int(n)
}

// scryptKDF is RFC 7914's.
type scryptKDF struct {
	salt       []byte
	n, r, p    int
	derivedLen int
}

func readScrypt(params *jsontree.Object, salt []byte, size int) kdf {
	k := scryptKDF{
		salt:       salt,
		n:          bounded(params, "n", 2, maxScryptN),
		r:          bounded(params, "r", 1, maxScryptR),
		p:          bounded(params, "p", 1, maxScryptP),
		derivedLen: size,
	}
	if k.n&(k.n-1) != 0 {
		params.Fail("n", "got %d, want a power of two", k.n)
	}
	return k
}

func (k scryptKDF) memory() int64 { return 128 * int64(k.r) * int64(k.n+k.p) }

func (k scryptKDF) derive(password []byte) ([]byte, error) {
	return scrypt.Key(password, k.salt, k.n, k.r, k.p, k.derivedLen)
}

// pbkdf2KDF is RFC 8018's with HMAC-SHA-256.
type pbkdf2KDF struct {
	salt       []byte
	iterations int
	derivedLen int
}

func readPBKDF2(params *jsontree.Object, salt []byte, size int) kdf {
	if prf := params.Text("prf"); !strings.EqualFold(prf, "hmac-sha256") {
		params.Fail("prf", "got %.40q, want hmac-sha256", prf)
	}
	return pbkdf2KDF{salt: salt, iterations: bounded(params, "c", 1, maxIterations), derivedLen: size}
}

func (k pbkdf2KDF) memory() int64 { return 0 }

func (k pbkdf2KDF) derive(password []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, string(password), k.salt, k.iterations, k.derivedLen)
}
