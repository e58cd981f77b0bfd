package main

import (
	"testing"

	"holdfast/enclave/bundle/bundletest"
	"holdfast/internal/devnet"
	"holdfast/verify/evidence"
)

// A real chain, with a Prysm that has no key: all 64 are in this signer, and then in the next.
func TestAChainFinalisesThroughTwoSigners(t *testing.T) {
	devnet.FinaliseThroughAReplacement(t, 64, devnet.Duties, func(journal string) devnet.Signer {
		e := startOn(t, journal)
		return devnet.Signer{URL: e.url, Ports: e.ports, Stop: e.stop, Unlock: func(made *bundletest.Sealed) ([]string, []byte) {
			keys, err := e.unlock(t, made)
			if err != nil {
				t.Fatal(err)
			}
			return keys, evidence.CertificatePEM(e.certificate(t))
		}}
	})
}
