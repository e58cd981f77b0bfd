package keystore

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxPassword bounds a password in bytes. NFKD makes at most 18 of one, so the
// normal form stays small too.
const maxPassword = 4096

// normalForms returns the forms of a password to try, best first: EIP-2335's, and
// the one of ethdo before 2021 if that differs. The caller wipes them.
func normalForms(password []byte) ([][]byte, error) {
	if len(password) > maxPassword {
		return nil, fmt.Errorf("password has %d bytes, limit %d", len(password), maxPassword)
	}
	if !utf8.Valid(password) {
		return nil, errors.New("password is not UTF-8")
	}
	forms := [][]byte{normalize(password)}
	if old := normalizeAsBefore(password); string(old) != string(forms[0]) {
		forms = append(forms, old)
	}
	return forms, nil
}

// normalize applies EIP-2335's "Password requirements": NFKD, then without the
// control codes C0, C1 and Delete, in UTF-8. A newline at a password file's end is
// therefore harmless; a space is not.
func normalize(password []byte) []byte {
	decomposed := norm.NFKD.Bytes(password)
	defer wipeUnless(decomposed, password)
	normal := make([]byte, 0, len(decomposed))
	for i := 0; i < len(decomposed); {
		r, size := utf8.DecodeRune(decomposed[i:])
		if !isControl(r) {
			normal = append(normal, decomposed[i:i+size]...)
		}
		i += size
	}
	return normal
}

// normalizeAsBefore is how ethdo's keystore library once read the same rules: of
// every decomposed character only the base is kept, so that ü is u. Keystores made
// then are still about, and their library still tries this form second.
func normalizeAsBefore(password []byte) []byte {
	normal := make([]byte, 0, len(password))
	var segments norm.Iter
	for segments.Init(norm.NFKD, password); !segments.Done(); {
		if r, _ := utf8.DecodeRune(segments.Next()); !isControl(r) {
			normal = utf8.AppendRune(normal, r)
		}
	}
	return normal
}

func isControl(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }

// wipeUnless clears decomposed unless it is password itself, which norm returns
// where nothing is to be done and which belongs to the caller.
func wipeUnless(decomposed, password []byte) {
	if len(decomposed) > 0 && &decomposed[0] != &password[0] {
		clear(decomposed)
	}
}
