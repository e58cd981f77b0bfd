package keystore

import (
	"errors"
	"fmt"
)

// errBeyondASCII is honest about a gap: such passwords need Unicode's NFKD form,
// whose tables are not part of the enclave.
var errBeyondASCII = errors.New("password has characters beyond ASCII, which this version cannot normalise; change it to an ASCII one first")

// maxPassword bounds a password in bytes.
const maxPassword = 4096

// normalize applies EIP-2335's "Password requirements": NFKD, then without the
// control codes C0, C1 and Delete, in UTF-8. A newline at a password file's end is
// therefore harmless; a space is not. NFKD leaves ASCII as it is.
func normalize(password []byte) ([]byte, error) {
	if len(password) > maxPassword {
		return nil, fmt.Errorf("password has %d bytes, limit %d", len(password), maxPassword)
	}
	normal := make([]byte, 0, len(password))
	for _, c := range password {
		if c > 0x7f {
			clear(normal)
			return nil, errBeyondASCII
		}
		if c >= ' ' && c != 0x7f {
			normal = append(normal, c)
		}
	}
	return normal, nil
}
