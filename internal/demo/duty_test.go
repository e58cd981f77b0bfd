package main

import (
	"testing"

	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/signing"
)

// The demonstration's own root and the signer's are two implementations of one specification.
func TestTheDemonstrationsRootIsTheSigners(t *testing.T) {
	mainnet := mainnet(t)
	for _, a := range []attestation{
		{slot: 13_500_000, source: 421_874, target: 421_875, head: [32]byte{1}},
		{slot: 0, source: 0, target: 411_392},
		{slot: 1 << 63, source: 1, target: 1 << 62, head: [32]byte{0xff}},
	} {
		m, err := signing.Parse([]byte(a.request()), &mainnet)
		if err != nil {
			t.Fatal(err)
		}
		if m.SigningRoot != a.signingRoot() {
			t.Errorf("slot %d: the signer's root is %x, the demonstration's %x", a.slot, m.SigningRoot, a.signingRoot())
		}
	}
}

func mainnet(t *testing.T) network.Network {
	t.Helper()
	n, ok := network.ByName("mainnet")
	if !ok {
		t.Fatal("mainnet is unknown")
	}
	return n
}
