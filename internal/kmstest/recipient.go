package kmstest

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"time"

	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

const (
	// maxAge is how old a document may be.
	maxAge = 5 * time.Minute

	// skew is how far a document may be from the future.
	skew = time.Minute
)

// recipientInfo is the field Recipient of a request.
type recipientInfo struct {
	AttestationDocument    []byte
	KeyEncryptionAlgorithm string
}

// attested verifies the recipient's document and returns its public key and its
// condition keys.
func (k *KMS) attested(r *recipientInfo) (*rsa.PublicKey, map[string]string, *failure) {
	invalid := func(why string) (*rsa.PublicKey, map[string]string, *failure) {
		return nil, nil, &failure{code: "ValidationException", message: "Value at 'recipient.attestationDocument' failed to satisfy constraint: " + why}
	}
	if r.KeyEncryptionAlgorithm != "RSAES_OAEP_SHA_256" {
		return nil, nil, &failure{code: "ValidationException", message: "Value at 'recipient.keyEncryptionAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [RSAES_OAEP_SHA_256]"}
	}
	d, err := k.verify(r.AttestationDocument)
	if err != nil {
		return invalid(err.Error())
	}
	if age := k.options.Now().Sub(d.Timestamp); age > maxAge || age < -skew {
		return invalid(fmt.Sprintf("the document is %v old", age.Round(time.Second)))
	}
	public, err := x509.ParsePKIXPublicKey(d.PublicKey)
	if err != nil {
		return invalid("public_key is no SubjectPublicKeyInfo")
	}
	key, ok := public.(*rsa.PublicKey)
	if !ok || key.N.BitLen() != 2048 {
		return invalid("public_key is not RSA of 2048 bits")
	}
	conditions := map[string]string{}
	for index, value := range d.PCRs {
		conditions[fmt.Sprintf("kms:recipientattestation:pcr%d", index)] = value.String()
	}
	if pcr0, there := d.PCRs[0]; there {
		conditions["kms:recipientattestation:imagesha384"] = pcr0.String()
	}
	return key, conditions, nil
}

// verify reads a document and verifies who signed it. A document of QEMU's module
// passes by its form alone, where that is allowed.
func (k *KMS) verify(raw []byte) (*document.Document, error) {
	r := &report.Report{}
	if k.options.AllowEmulated && document.IsEmulated(raw) {
		return document.ParseUnsafeEmulated(raw, r)
	}
	d, err := document.Parse(raw, r)
	if err != nil {
		return nil, err
	}
	validity := chain.Validity{At: []time.Time{d.Timestamp, k.options.Now()}, Skew: skew}
	return d, chain.Verify(d, k.trust, validity, r)
}
