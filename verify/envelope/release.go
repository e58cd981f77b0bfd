package envelope

import (
	"bytes"
	"crypto/sha512"
	"fmt"
)

// releaseLabel starts what a key release seals to the enclave.
const releaseLabel = "holdfast/data-key/v1"

// ReleaseSize is the size of what [EncodeRelease] returns.
const ReleaseSize = len(releaseLabel) + sha512.Size384 + DataKeySize

// EncodeRelease returns what a key release seals to the enclave: a label, the
// digest of the whole file, and the data key. The digest keeps a key from being
// used with a file other than the one that its holder looked at. The caller wipes
// the result.
func EncodeRelease(file [sha512.Size384]byte, dataKey []byte) ([]byte, error) {
	if len(dataKey) != DataKeySize {
		return nil, fmt.Errorf("envelope: got a data key of %d bytes, want %d", len(dataKey), DataKeySize)
	}
	out := make([]byte, 0, ReleaseSize)
	out = append(out, releaseLabel...)
	out = append(out, file[:]...)
	return append(out, dataKey...), nil
}

// ParseRelease returns the digest and the data key of an opened release. The key
// is a slice of data, so that wiping one wipes both. No error quotes the data.
func ParseRelease(data []byte) (file [sha512.Size384]byte, dataKey []byte, err error) {
	if len(data) != ReleaseSize {
		return file, nil, fmt.Errorf("envelope: got a release of %d bytes, want %d", len(data), ReleaseSize)
	}
	rest, ok := bytes.CutPrefix(data, []byte(releaseLabel))
	if !ok {
		return file, nil, fmt.Errorf("envelope: want %q at the start of a release", releaseLabel)
	}
	copy(file[:], rest)
	return file, rest[len(file):], nil
}
