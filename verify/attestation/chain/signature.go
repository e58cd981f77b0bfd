package chain

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"math/big"

	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

// leafKey applies A9: ES384 goes with a P-384 key and no other.
func (w *walk) leafKey() bool {
	got := "ES384 with another key"
	if isP384(w.last()) {
		got = "ES384 with P-384"
	}
	return w.r.Record(report.A9, isP384(w.last()), "ES384 with P-384", got)
}

// signature applies A7 and A8.
func (w *walk) signature() bool {
	key := w.last().PublicKey.(*ecdsa.PublicKey) // A9 holds
	half := document.SignatureSize / 2
	s := new(big.Int).SetBytes(w.doc.Signature[half:])
	digest := sha512.Sum384(w.doc.SigStructure())
	valid := ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(w.doc.Signature[:half]), s)
	got := "a valid signature"
	if !valid {
		got = "an invalid signature"
	}
	w.r.Record(report.A7, valid, "a valid signature by "+commonName(w.last()), got)
	// Both forms are accepted: real signatures are not normalised. So a
	// signature must never serve as an identifier.
	form := "low s"
	if s.Cmp(new(big.Int).Rsh(elliptic.P384().Params().N, 1)) > 0 {
		form = "high s"
	}
	return w.r.Record(report.A8, valid, "low or high s", got+", "+form)
}
