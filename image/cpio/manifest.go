package cpio

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// WriteManifest prints a tree, one line an entry: path, kind, mode, size, and the first 16 digits of the content's
// SHA-256. A link shows its target in place of a hash, a directory a dash.
func WriteManifest(w io.Writer, tree []Entry) error {
	for _, e := range tree {
		if _, err := fmt.Fprintf(w, "%s  %s %04o %d %s\n", e.Path, e.Kind, uint32(e.Mode), len(e.Data), e.summary()); err != nil {
			return err
		}
	}
	return nil
}

func (e Entry) summary() string {
	switch e.Kind {
	case File:
		digest := sha256.Sum256(e.Data)
		return fmt.Sprintf("%x", digest[:8])
	case Symlink:
		return "-> " + string(e.Data)
	}
	return "-"
}
