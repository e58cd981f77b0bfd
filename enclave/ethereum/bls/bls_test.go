package bls_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/bls"
)

// A key with its public key and its signature of the zero root, from the sign
// cases of ethereum/bls12-381-tests.
const (
	knownSecret    = "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3"
	knownPublic    = "0xa491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a"
	knownSignature = "0xb6ed936746e01f8ecf281f020953fbf1f01debd5657c4a383940b020b26507f6076334f91e2366c96e9ab279fb5158090352ea1c5b0c9274504f4f0e7053af24802e51e4568d164fe986834f41e55c8e850ce1f98458c0cfc9ab380b55285a55"

	// The order of the group, r.
	order = "73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001"
)

func scalar(t testing.TB, digits string) *[32]byte {
	t.Helper()
	data, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	return (*[32]byte)(data)
}

func knownKey(t testing.TB) *bls.SecretKey {
	t.Helper()
	key, err := bls.NewSecretKey(scalar(t, knownSecret))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAKnownKeyGivesItsPublicKeyAndSignature(t *testing.T) {
	key := knownKey(t)
	if got := key.PublicKey().String(); got != knownPublic {
		t.Errorf("public key: got %s, want %s", got, knownPublic)
	}
	signature, err := key.Sign([32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	if got := signature.String(); got != knownSignature {
		t.Errorf("signature: got %s, want %s", got, knownSignature)
	}
}

func TestOnlyTheSignedRootVerifies(t *testing.T) {
	key := knownKey(t)
	signature, err := key.Sign([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	if !bls.Verify(key.PublicKey(), [32]byte{1}, signature) {
		t.Error("own signature does not verify")
	}
	if bls.Verify(key.PublicKey(), [32]byte{2}, signature) {
		t.Error("signature verifies for another root")
	}
	for i := range signature {
		flipped := signature
		flipped[i] ^= 4
		if bls.Verify(key.PublicKey(), [32]byte{1}, flipped) {
			t.Errorf("signature with byte %d changed verifies", i)
		}
	}
}

func TestPointsAtInfinityDoNotVerify(t *testing.T) {
	public, signature := bls.PublicKey{0xc0}, bls.Signature{0xc0}
	if bls.Verify(public, [32]byte{}, signature) {
		t.Error("infinity verifies infinity")
	}
	if bls.Verify(bls.PublicKey{}, [32]byte{}, bls.Signature{}) {
		t.Error("zero values verify")
	}
}

func TestSecretKeysOutOfRangeAreRefused(t *testing.T) {
	above := strings.TrimSuffix(order, "1") + "2"
	for name, digits := range map[string]string{
		"zero":      strings.Repeat("00", 32),
		"the order": order,
		"above it":  above,
		"all ones":  strings.Repeat("ff", 32),
	} {
		if _, err := bls.NewSecretKey(scalar(t, digits)); err == nil {
			t.Errorf("%s was taken for a secret key", name)
		}
	}
	below := strings.TrimSuffix(order, "1") + "0"
	if _, err := bls.NewSecretKey(scalar(t, below)); err != nil {
		t.Errorf("the highest key was refused: %v", err)
	}
}

func TestAnEmptyOrWipedKeySignsNothing(t *testing.T) {
	wiped := knownKey(t)
	wiped.Wipe()
	for name, key := range map[string]*bls.SecretKey{"nil": nil, "zero": {}, "wiped": wiped} {
		if signature, err := key.Sign([32]byte{}); !errors.Is(err, bls.ErrNoKey) || signature != (bls.Signature{}) {
			t.Errorf("%s: got %v, %v; want no signature and %v", name, signature, err, bls.ErrNoKey)
		}
	}
}

func TestSecretKeysAreNeverPrinted(t *testing.T) {
	key := knownKey(t)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("key", "key", key, "any", []any{key})
	printed := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		printed += fmt.Sprintf(verb, key) + fmt.Sprintf(verb, struct{ Key *bls.SecretKey }{key})
	}
	if _, err := json.Marshal(key); err == nil {
		t.Error("a secret key was marshalled")
	}
	for _, secret := range []string{knownSecret[:16], "263dbd", "e3402046", "38 61 189"} {
		if strings.Contains(printed, secret) {
			t.Errorf("printed form holds %q: %s", secret, printed)
		}
	}
	if !strings.Contains(printed, "[redacted]") {
		t.Errorf("got %s, want [redacted]", printed)
	}
}

func TestPublicKeysAreReadInEverySpelling(t *testing.T) {
	want := knownKey(t).PublicKey()
	for _, s := range []string{knownPublic, knownPublic[2:], strings.ToUpper(knownPublic), "0x" + strings.ToUpper(knownPublic[2:])} {
		if got, err := bls.ParsePublicKey(s); err != nil || got != want {
			t.Errorf("%s: got %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "0x", knownPublic + "0", knownPublic[:97], "0x0x" + knownPublic[4:], "zz" + knownPublic[2:]} {
		if _, err := bls.ParsePublicKey(s); err == nil {
			t.Errorf("%q was taken for a public key", s)
		}
	}
}

// BenchmarkSign is the bare cost that a signature over HTTP is measured against.
func BenchmarkSign(b *testing.B) {
	key := knownKey(b)
	for b.Loop() {
		if _, err := key.Sign([32]byte{1}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNewSecretKey is the cost of readying one released key.
func BenchmarkNewSecretKey(b *testing.B) {
	secret := scalar(b, knownSecret)
	for b.Loop() {
		if _, err := bls.NewSecretKey(secret); err != nil {
			b.Fatal(err)
		}
	}
}

func TestASharedPointGivesEachKeysOwnSignature(t *testing.T) {
	root := [32]byte{1, 2, 3}
	point := bls.HashToPoint(root)
	for n := range byte(3) {
		key, err := bls.NewSecretKey(&[32]byte{0: n, 31: 7})
		if err != nil {
			t.Fatal(err)
		}
		got, err := key.SignPoint(point)
		if err != nil || !bls.Verify(key.PublicKey(), root, got) {
			t.Errorf("key %d: %v, %v does not verify", n, got, err)
		}
		if alone, err := key.Sign(root); err != nil || alone != got {
			t.Errorf("key %d: got %v with the point and %v, %v alone", n, got, alone, err)
		}
	}
	if _, err := knownKey(t).SignPoint(bls.Point{}); err == nil {
		t.Error("nothing was signed")
	}
	if _, err := new(bls.SecretKey).SignPoint(point); !errors.Is(err, bls.ErrNoKey) {
		t.Errorf("an empty key: got %v, want %v", err, bls.ErrNoKey)
	}
}

func BenchmarkSignPoint(b *testing.B) {
	key := knownKey(b)
	point := bls.HashToPoint([32]byte{1})
	for b.Loop() {
		if _, err := key.SignPoint(point); err != nil {
			b.Fatal(err)
		}
	}
}
