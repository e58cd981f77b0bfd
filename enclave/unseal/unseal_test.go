package unseal_test

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"strings"
	"testing"

	"holdfast/enclave/unseal"
	"holdfast/verify/binding"
)

func newKey(t testing.TB) *unseal.Key {
	t.Helper()
	key, err := unseal.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// seal is the sender's side, by the standard library.
func seal(t testing.TB, key *unseal.Key, info, plaintext []byte) []byte {
	t.Helper()
	public, err := hpke.MLKEM768X25519().NewPublicKey(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hpke.Seal(public, hpke.HKDFSHA256(), hpke.AES256GCM(), info, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

var info = binding.ReleaseInfo([48]byte{1, 2, 3})

func TestWhatIsSealedToTheKeyOpens(t *testing.T) {
	key := newKey(t)
	if got := len(key.PublicKey()); got != binding.HPKEKeySize {
		t.Errorf("got a public key of %d bytes, want %d", got, binding.HPKEKeySize)
	}
	largest := unseal.MaxSize - unseal.EncapsulationSize - 16
	for _, size := range []int{0, 1, 16, 2048, largest} {
		plaintext := bytes.Repeat([]byte{0x5a}, size)
		sealed := seal(t, key, info, plaintext)
		if len(sealed) != unseal.EncapsulationSize+size+16 {
			t.Fatalf("got %d bytes sealed", len(sealed))
		}
		got, err := key.Open(sealed, info)
		if err != nil || !bytes.Equal(got.Reveal(), plaintext) {
			t.Errorf("%d bytes: got %d bytes, %v", size, got.Len(), err)
		}
	}
}

func TestKeysDiffer(t *testing.T) {
	if bytes.Equal(newKey(t).PublicKey(), newKey(t).PublicKey()) {
		t.Error("two keys are the same")
	}
}

func TestWhatWasSealedOtherwiseDoesNotOpen(t *testing.T) {
	key := newKey(t)
	public, err := hpke.MLKEM768X25519().NewPublicKey(key.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	other := func(kdf hpke.KDF, aead hpke.AEAD) []byte {
		sealed, err := hpke.Seal(public, kdf, aead, info, []byte("secret"))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	tests := map[string][]byte{
		"another key":     seal(t, newKey(t), info, []byte("secret")),
		"another context": seal(t, key, binding.ReleaseInfo([48]byte{9}), []byte("secret")),
		"no context":      seal(t, key, nil, []byte("secret")),
		"another KDF":     other(hpke.HKDFSHA384(), hpke.AES256GCM()),
		"another AEAD":    other(hpke.HKDFSHA256(), hpke.ChaCha20Poly1305()),
		"zeros":           make([]byte, 4096),
	}
	for name, sealed := range tests {
		if got, err := key.Open(sealed, info); !errors.Is(err, unseal.ErrSealed) || got.Len() != 0 {
			t.Errorf("%s: got %d bytes, %v, want %v", name, got.Len(), err, unseal.ErrSealed)
		}
	}
}

func TestNoChangedByteOpens(t *testing.T) {
	key := newKey(t)
	sealed := seal(t, key, info, []byte("secret"))
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 0x10
		if _, err := key.Open(changed, info); !errors.Is(err, unseal.ErrSealed) {
			t.Fatalf("byte %d: got %v, want %v", i, err, unseal.ErrSealed)
		}
	}
}

func TestASizeOutOfBoundsIsNamed(t *testing.T) {
	key := newKey(t)
	for _, size := range []int{0, 1, unseal.EncapsulationSize + 15, unseal.MaxSize + 1} {
		if _, err := key.Open(make([]byte, size), info); err == nil || !strings.Contains(err.Error(), "want 1136 to 4096") {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	key := newKey(f)
	f.Add(seal(f, key, info, []byte("secret")))
	f.Add(make([]byte, unseal.EncapsulationSize+16))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if got, err := key.Open(sealed, info); err != nil && got.Len() != 0 {
			t.Fatalf("got %d bytes and %v", got.Len(), err)
		}
	})
}
