package keystore_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/scrypt"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/keystore"
)

var (
	salt   = []byte("0123456789abcdef0123456789abcdef")
	secret = [32]byte{0: 0x26, 31: 0xe3}
)

type object map[string]any

// seal makes a keystore as EIP-2335 describes, apart from the package's own code.
func seal(t testing.TB, kdf object, derived []byte) object {
	t.Helper()
	iv := []byte("fedcba9876543210")
	block, err := aes.NewCipher(derived[:16])
	if err != nil {
		t.Fatal(err)
	}
	sealed := make([]byte, 32)
	cipher.NewCTR(block, iv).XORKeyStream(sealed, secret[:])
	sum := sha256.Sum256(append(append([]byte(nil), derived[16:32]...), sealed...))
	return object{
		"crypto": object{
			"kdf":      kdf,
			"checksum": object{"function": "sha256", "params": object{}, "message": hex.EncodeToString(sum[:])},
			"cipher":   object{"function": "aes-128-ctr", "params": object{"iv": hex.EncodeToString(iv)}, "message": hex.EncodeToString(sealed)},
		},
		"description": "a test", "pubkey": hex.EncodeToString(publicKey(t)), "path": "m/12381/3600/0/0/0",
		"uuid": "64625def-3331-4eea-ab6f-782f3ed16a83", "version": 4,
	}
}

func publicKey(t testing.TB) []byte {
	t.Helper()
	key, err := bls.NewSecretKey(&secret)
	if err != nil {
		t.Fatal(err)
	}
	public := key.PublicKey()
	return public[:]
}

func withPBKDF2(t testing.TB, password string) object {
	t.Helper()
	derived, err := pbkdf2.Key(sha256.New, password, salt, 1000, 32)
	if err != nil {
		t.Fatal(err)
	}
	return seal(t, object{"function": "pbkdf2", "message": "", "params": object{
		"dklen": 32, "c": 1000, "prf": "hmac-sha256", "salt": hex.EncodeToString(salt)}}, derived)
}

func withScrypt(t testing.TB, password string, n int) object {
	t.Helper()
	derived, err := scrypt.Key([]byte(password), salt, n, 8, 1, 32)
	if err != nil {
		t.Fatal(err)
	}
	return seal(t, object{"function": "scrypt", "message": "", "params": object{
		"dklen": 32, "n": n, "r": 8, "p": 1, "salt": hex.EncodeToString(salt)}}, derived)
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func opener() *keystore.Opener { return keystore.NewOpener(64<<20, 2) }

func TestBothDerivationsOpen(t *testing.T) {
	for name, file := range map[string]object{"pbkdf2": withPBKDF2(t, "open sesame"), "scrypt": withScrypt(t, "open sesame", 1024)} {
		key, err := opener().Open(t.Context(), encode(t, file), []byte("open sesame"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if public := key.PublicKey(); string(public[:]) != string(publicKey(t)) {
			t.Errorf("%s: got %v", name, public)
		}
	}
}

func TestControlCharactersOfAPasswordDoNotCount(t *testing.T) {
	file := encode(t, withPBKDF2(t, "open sesame"))
	for password, ok := range map[string]bool{
		"open sesame\n": true, "open sesame\r\n": true, "\x00open\x1f sesame\x7f": true,
		"open sesame ": false, "opensesame": false, "": false,
	} {
		_, err := opener().Open(t.Context(), file, []byte(password))
		if (err == nil) != ok {
			t.Errorf("%q: got %v, want success %v", password, err, ok)
		}
		if !ok && !errors.Is(err, keystore.ErrPassword) {
			t.Errorf("%q: got %v, want %v", password, err, keystore.ErrPassword)
		}
	}
}

func TestAPasswordIsNormalised(t *testing.T) {
	for _, c := range []struct{ name, sealed, given string }{
		{"composed", "pa\u0308ssword", "p\u00e4ssword"},
		{"decomposed", "pa\u0308ssword", "pa\u0308ssword"},
		{"compatibility characters", "fi1", "\ufb01\u2460"},
		{"marks out of order", "a\u0323\u0307", "a\u0307\u0323"},
		{"Hangul", "\u1112\u1161\u11ab", "\ud55c"},
		{"C1 controls", "ab", "a\u0080\u0085\u009fb"},
		{"a no-break space is a space", " ", "\u00a0"},
		{"old ethdo: marks lost", "passwurd", "p\u00e4ssw\u00fcrd"},
	} {
		file := encode(t, withPBKDF2(t, c.sealed))
		if _, err := opener().Open(t.Context(), file, []byte(c.given)); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestAPasswordThatIsNotTextIsRefused(t *testing.T) {
	file := encode(t, withPBKDF2(t, "x"))
	for want, password := range map[string]string{"not UTF-8": "x\xff", "4097 bytes": strings.Repeat("x", 4097)} {
		if _, err := opener().Open(t.Context(), file, []byte(password)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestThePasswordIsLeftToItsOwner(t *testing.T) {
	for _, password := range []string{"plain", "p\u00e4ss"} {
		given := []byte(password)
		if _, err := opener().Open(t.Context(), encode(t, withPBKDF2(t, "x")), given); !errors.Is(err, keystore.ErrPassword) || string(given) != password {
			t.Errorf("got %v, and the password is now %q", err, given)
		}
	}
}

func TestTheClaimedPublicKeyMustBeTheSecrets(t *testing.T) {
	file := withPBKDF2(t, "x")
	file["pubkey"] = strings.Repeat("ab", 48)
	if _, err := opener().Open(t.Context(), encode(t, file), []byte("x")); err == nil || !strings.Contains(err.Error(), "claims") {
		t.Errorf("got %v, want the claim refused", err)
	}
	for _, absent := range []any{"", nil} {
		file["pubkey"] = absent
		if _, err := opener().Open(t.Context(), encode(t, file), []byte("x")); err != nil {
			t.Errorf("without a public key: %v", err)
		}
	}
}

func TestADerivationOverTheMemoryLimitIsRefused(t *testing.T) {
	file := encode(t, withScrypt(t, "x", 4096)) // 4 MiB
	if _, err := keystore.NewOpener(4<<20, 1).Open(t.Context(), file, []byte("x")); err == nil || !strings.Contains(err.Error(), "memory") {
		t.Errorf("got %v, want the memory refused", err)
	}
	if _, err := keystore.NewOpener(5<<20, 1).Open(t.Context(), file, []byte("x")); err != nil {
		t.Errorf("within the limit: %v", err)
	}
}

func TestManyKeystoresShareTheLimit(t *testing.T) {
	file := encode(t, withScrypt(t, "x", 4096))
	limited := keystore.NewOpener(5<<20, 4)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if _, err := limited.Open(t.Context(), file, []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestOpenEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	if _, err := opener().Open(ctx, encode(t, withPBKDF2(t, "x")), []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

func TestAMisshapenKeystoreIsRefused(t *testing.T) {
	const password = "x"
	for name, change := range map[string]func(file, kdf, params object){
		"version 3":           func(f, _, _ object) { f["version"] = 3 },
		"no version":          func(f, _, _ object) { delete(f, "version") },
		"no crypto":           func(f, _, _ object) { delete(f, "crypto") },
		"no checksum":         func(f, _, _ object) { delete(f["crypto"].(object), "checksum") },
		"other checksum":      func(f, _, _ object) { f["crypto"].(object)["checksum"].(object)["function"] = "md5" },
		"short checksum":      func(f, _, _ object) { f["crypto"].(object)["checksum"].(object)["message"] = "00" },
		"other cipher":        func(f, _, _ object) { f["crypto"].(object)["cipher"].(object)["function"] = "aes-256-ctr" },
		"short ciphertext":    func(f, _, _ object) { f["crypto"].(object)["cipher"].(object)["message"] = "00" },
		"no iv":               func(f, _, _ object) { f["crypto"].(object)["cipher"].(object)["params"] = object{} },
		"public key not hex":  func(f, _, _ object) { f["pubkey"] = strings.Repeat("zz", 48) },
		"short public key":    func(f, _, _ object) { f["pubkey"] = "ab" },
		"other derivation":    func(_, k, _ object) { k["function"] = "argon2" },
		"no derivation":       func(_, k, _ object) { delete(k, "function") },
		"no params":           func(_, k, _ object) { delete(k, "params") },
		"no salt":             func(_, _, p object) { delete(p, "salt") },
		"long salt":           func(_, _, p object) { p["salt"] = strings.Repeat("00", 257) },
		"short derived key":   func(_, _, p object) { p["dklen"] = 16 },
		"long derived key":    func(_, _, p object) { p["dklen"] = 1 << 30 },
		"no iterations":       func(_, _, p object) { p["c"] = 0 },
		"too many iterations": func(_, _, p object) { p["c"] = 1 << 40 },
		"other hash":          func(_, _, p object) { p["prf"] = "hmac-sha512" },
	} {
		file := withPBKDF2(t, password)
		kdf := file["crypto"].(object)["kdf"].(object)
		change(file, kdf, kdf["params"].(object))
		if _, err := opener().Open(t.Context(), encode(t, file), []byte(password)); err == nil || errors.Is(err, keystore.ErrPassword) {
			t.Errorf("%s: got %v, want its own error", name, err)
		}
	}
	for name, value := range map[string]int{"n": 1000, "r": 0, "p": 17} {
		file := withScrypt(t, password, 1024)
		file["crypto"].(object)["kdf"].(object)["params"].(object)[name] = value
		if _, err := opener().Open(t.Context(), encode(t, file), []byte(password)); err == nil || errors.Is(err, keystore.ErrPassword) {
			t.Errorf("scrypt with %s %d: got %v, want its own error", name, value, err)
		}
	}
	if _, err := opener().Open(t.Context(), []byte(strings.Repeat(" ", keystore.MaxSize)+"{}"), nil); err == nil {
		t.Error("a file over the limit was taken")
	}
}

func TestErrorsDoNotShowThePassword(t *testing.T) {
	for _, password := range []string{"hunter2", "hünter2"} {
		_, err := opener().Open(t.Context(), encode(t, withPBKDF2(t, "x")), []byte(password))
		if err == nil || strings.Contains(fmt.Sprint(err), "nter2") {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(encode(f, withPBKDF2(f, "x")), []byte("x"))
	f.Add(encode(f, withScrypt(f, "x", 16)), []byte("y"))
	f.Add([]byte(`{"version":4,"crypto":{}}`), []byte{})
	limited := keystore.NewOpener(1<<20, 2)
	f.Fuzz(func(t *testing.T, file, password []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		key, err := limited.Open(ctx, file, password)
		if (err == nil) == (key == nil) {
			t.Fatalf("got %v with error %v", key, err)
		}
	})
}

func TestTheScalarComesBesideTheKeyAndIsWipedWhereOnlyTheKeyIsWanted(t *testing.T) {
	derived, err := pbkdf2.Key(sha256.New, "testing", salt, 2, 32)
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(seal(t, object{"function": "pbkdf2", "message": "", "params": object{
		"dklen": 32, "c": 2, "prf": "hmac-sha256", "salt": hex.EncodeToString(salt)}}, derived))
	if err != nil {
		t.Fatal(err)
	}
	opener := keystore.NewOpener(1<<20, 1)
	scalar, key, err := opener.OpenScalar(t.Context(), file, []byte("testing"))
	if err != nil {
		t.Fatal(err)
	}
	if public := key.PublicKey(); string(scalar.Reveal()) != string(secret[:]) || string(public[:]) != string(publicKey(t)) {
		t.Error("got another scalar or key")
	}
	if scalar, key, err := opener.OpenScalar(t.Context(), file, []byte("another")); err == nil || scalar.Len() != 0 || key != nil {
		t.Errorf("with a wrong password: got %d bytes, %v", scalar.Len(), err)
	}
}
