package main

import (
	"testing"

	"holdfast/internal/devnet"
	"holdfast/verify/evidence"
	"holdfast/verify/release"
)

// A real chain, with a Prysm that has no key: all 64 are in this signer, and then in the next.
func TestAChainFinalisesThroughTwoSigners(t *testing.T) {
	devnet.FinaliseThroughAReplacement(t, 64, devnet.Duties, func() devnet.Signer {
		e := startEnclave(t)
		return devnet.Signer{URL: e.url, Stop: e.stop, Release: func(file []byte) ([]string, []byte) {
			c, bound := e.verified(t)
			keys, err := send(t, c, bound, release.KeyFile(file))
			if err != nil {
				t.Fatal(err)
			}
			return keys, evidence.CertificatePEM(c.Peer().Raw)
		}}
	})
}
