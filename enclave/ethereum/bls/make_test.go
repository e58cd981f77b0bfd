package bls_test

import (
	"testing"

	"holdfast/enclave/ethereum/bls"
)

func TestGeneratedScalarsAreKeysThatDiffer(t *testing.T) {
	seen := map[bls.PublicKey]bool{}
	for range 20 {
		scalar := bls.GenerateScalar()
		if scalar.Len() != 32 {
			t.Fatalf("got %d bytes", scalar.Len())
		}
		key, err := bls.NewSecretKey((*[32]byte)(scalar.Reveal()))
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
