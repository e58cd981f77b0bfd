package kmstest

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/unseal/cms"
)

// vector reads an answer of AWS.
func vector(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../enclave/unseal/cms/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".b64") {
		if data, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(data))); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func TestAnswersAreByteForByteThoseOfAWS(t *testing.T) {
	for _, name := range []string{"kms_edgebit.b64", "kms_python_nokey.b64", "sdkc_input_ber.bin"} {
		want := vector(t, name)
		parts, err := cms.Parse(want)
		if err != nil {
			t.Fatal(err)
		}
		e := enveloped{parts.Recipient[:], parts.EncryptedKey[:], parts.IV[:], parts.Ciphertext}
		if got := e.encode(Constructed); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x", name, got)
		}
	}
}

func TestAnswersHaveTheSizesOfAWS(t *testing.T) {
	for _, ciphertext := range []int{16, 48, 80} {
		e := enveloped{make([]byte, 32), make([]byte, 256), make([]byte, 16), make([]byte, ciphertext)}
		if got := len(e.encode(Constructed)); got != 445+ciphertext {
			t.Errorf("constructed: got %d bytes, want %d", got, 445+ciphertext)
		}
		if got := len(e.encode(Primitive)); got != 441+ciphertext {
			t.Errorf("primitive: got %d bytes, want %d", got, 441+ciphertext)
		}
	}
}

func TestLongContentComesInPieces(t *testing.T) {
	ciphertext := bytes.Repeat([]byte("0123456789abcdef"), 257)
	e := enveloped{make([]byte, 32), make([]byte, 256), make([]byte, 16), ciphertext}
	for _, form := range []Form{Constructed, Primitive} {
		got, err := cms.Parse(e.encode(form))
		if err != nil || !bytes.Equal(got.Ciphertext, ciphertext) {
			t.Errorf("form %v: %v", form, err)
		}
	}
}
