package source

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
)

// A file is a bundle on a disk. Whoever replaces it should rename a complete file over it: one that is
// half-written fails to parse and is fetched again.
type file struct{ path string }

func openFile(path string) (Source, error) {
	if path == "" {
		return nil, errors.New("bundle source: got an empty path")
	}
	return file{path}, nil
}

func (f file) String() string { return f.path }

// Get reads the file. Its revision is its SHA-256: times and sizes may stay what they were.
func (f file) Get(context.Context) ([]byte, string, error) {
	// The kind comes first: opening a named pipe would wait for its writer.
	info, err := os.Stat(f.path)
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() {
		return nil, "", fmt.Errorf("is not a regular file (%v)", info.Mode().Type())
	}
	opened, err := os.Open(f.path)
	if err != nil {
		return nil, "", err
	}
	defer opened.Close()
	data, err := read(opened)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:]), nil
}
