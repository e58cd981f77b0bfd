package bls_test

import (
	"errors"
	"testing"

	"holdfast/enclave/ethereum/bls"
)

func TestMadeKeysSignAndDiffer(t *testing.T) {
	seen := map[bls.PublicKey]bool{}
	for range 20 {
		key, err := bls.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		root := [32]byte{1, 2, 3}
		signature, err := key.Sign(root)
		if err != nil || !bls.Verify(key.PublicKey(), root, signature) {
			t.Fatalf("got %v, %v", signature, err)
		}
		seen[key.PublicKey()] = true
	}
	if len(seen) != 20 {
		t.Errorf("got %d keys of 20", len(seen))
	}
}

func TestAScalarMakesTheSameKeyAgain(t *testing.T) {
	key, err := bls.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Scalar()
	if err != nil {
		t.Fatal(err)
	}
	again, err := bls.NewSecretKey((*[32]byte)(scalar.Reveal()))
	if err != nil || again.PublicKey() != key.PublicKey() {
		t.Errorf("got %v, %v, want %v", again.PublicKey(), err, key.PublicKey())
	}
	scalar.Wipe()
	key.Wipe()
	if _, err := key.Scalar(); !errors.Is(err, bls.ErrNoKey) {
		t.Errorf("a wiped key: got %v, want %v", err, bls.ErrNoKey)
	}
}
