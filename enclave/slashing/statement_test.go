package slashing_test

import (
	"crypto/ed25519"
	"errors"
	"testing"

	"holdfast/enclave/slashing"
)

func TestAStatementHoldsForItselfAlone(t *testing.T) {
	operator := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	public := operator.Public().(ed25519.PublicKey)
	statement := slashing.Statement{Configuration: [48]byte{1}, Challenge: [32]byte{2}, Head: [32]byte{3}}
	signature, err := statement.Sign(operator)
	if err != nil {
		t.Fatal(err)
	}
	if err := statement.Verify(public, signature); err != nil {
		t.Error(err)
	}
	for name, other := range map[string]slashing.Statement{
		"configuration": {Configuration: [48]byte{9}, Challenge: statement.Challenge, Head: statement.Head},
		"challenge":     {Configuration: statement.Configuration, Challenge: [32]byte{9}, Head: statement.Head},
		"head":          {Configuration: statement.Configuration, Challenge: statement.Challenge, Head: [32]byte{9}},
		"complete":      {Configuration: statement.Configuration, Challenge: statement.Challenge, Head: statement.Head, Complete: true},
		"swapped":       {Configuration: statement.Configuration, Challenge: statement.Head, Head: statement.Challenge},
		"zero":          {},
	} {
		if err := other.Verify(public, signature); !errors.Is(err, slashing.ErrStatement) {
			t.Errorf("another %s: got %v", name, err)
		}
	}
	for bit := range 8 * len(signature) {
		bent := append([]byte(nil), signature...)
		bent[bit/8] ^= 1 << (bit % 8)
		if statement.Verify(public, bent) == nil {
			t.Errorf("a signature with bit %d changed holds", bit)
		}
	}
	other := ed25519.NewKeyFromSeed([]byte("an operator of something else..."))
	if statement.Verify(other.Public().(ed25519.PublicKey), signature) == nil {
		t.Error("it holds for another operator")
	}
}

func TestASignatureOverAnythingElseIsNoStatement(t *testing.T) {
	operator := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	statement := slashing.Statement{Head: [32]byte{3}}
	bare := make([]byte, 48+32+32)
	bare[80] = 3
	if statement.Verify(operator.Public().(ed25519.PublicKey), ed25519.Sign(operator, bare)) == nil {
		t.Error("a signature without the domain holds")
	}
}

func TestKeysOfAnotherSizeAreErrors(t *testing.T) {
	var statement slashing.Statement
	if _, err := statement.Sign(make([]byte, 32)); err == nil {
		t.Error("a seed signs")
	}
	for _, size := range []int{0, 31, 33, 64} {
		if statement.Verify(make([]byte, size), make([]byte, 64)) == nil {
			t.Errorf("a key of %d bytes verifies", size)
		}
	}
	operator := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	for _, size := range []int{0, 63, 65} {
		if statement.Verify(operator.Public().(ed25519.PublicKey), make([]byte, size)) == nil {
			t.Errorf("a signature of %d bytes holds", size)
		}
	}
}
