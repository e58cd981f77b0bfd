package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"time"

	"holdfast/verify/binding"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/report"
)

const documentHelp = `usage: verify document [flags] FILE

Checks an attestation document that somebody else fetched: binary, base64,
hexadecimal, or the JSON that the enclave answers to GET /attestation, which has
the binding as well. What was not given cannot be checked, and is reported as skipped:
then the verdict is INCOMPLETE and the exit status is not 0.
` + commonFlags + `
  --at-document-time   for an archived document: check the chain at the
                       document's own time and leave freshness unchecked
  --nonce HEX          the nonce that the document was asked with
  --binding FILE       the binding that was served beside the document
  --certificate FILE   the certificate, in PEM, of the server that served it

examples:
  verify document --at-document-time archived.cbor
  curl -k https://signer.example:9000/attestation?nonce=… > answer.json
  verify document --nonce … --certificate signer.pem answer.json
  verify document --nonce 00112233… --binding b.bin --certificate c.pem doc.cbor
`

func runDocument(_ context.Context, t *terminal, args []string) error {
	v := newVerification("document")
	var nonce, bindingFile, certificateFile string
	var atDocumentTime bool
	v.set.StringVar(&nonce, "nonce", "", "")
	v.set.StringVar(&bindingFile, "binding", "", "")
	v.set.StringVar(&certificateFile, "certificate", "", "")
	v.set.BoolVar(&atDocumentTime, "at-document-time", false, "")
	if err := v.parse(t, documentHelp, args, "FILE"); err != nil {
		return err
	}
	options, err := v.options(time.Now())
	if err != nil {
		return err
	}
	p := &options.Policy
	p.Now, p.AtDocumentTime = time.Now(), atDocumentTime
	if p.Nonce, err = parseNonce(nonce); err != nil {
		return err
	}
	if bindingFile != "" {
		if p.Binding, err = readBounded(bindingFile, int64(binding.MaxSize)); err != nil {
			return err
		}
	}
	if certificateFile != "" {
		if p.TLSKey, err = readTLSKey(certificateFile); err != nil {
			return err
		}
	}
	asOf := outcome.FormatTime(p.Now)
	if atDocumentTime {
		asOf = "the document's own time"
	}
	name := v.set.Arg(0)
	input, err := readBounded(name, evidence.MaxAnswerSize)
	if err != nil {
		return err
	}
	result := evidence.VerifyInput(input, options)
	o := outcome.Outcome{Subject: name, AsOf: asOf, Result: result}
	raw, _, _ := evidence.Decode(input, &report.Report{}) // nil if it cannot be read: A2 failed
	return v.conclude(t, o, raw, []evidence.File{{Name: filepath.Base(name), Data: input}, {Name: "PCRS.md", Data: v.measurements}})
}

// readTLSKey returns the public key of a certificate in PEM.
func readTLSKey(name string) ([]byte, error) {
	const limit = 16 << 10
	data, err := readBounded(name, limit)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: want a PEM block of type CERTIFICATE", name)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return certificate.RawSubjectPublicKeyInfo, nil
}
