package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/reference"
	"holdfast/verify/report"
)

const documentHelp = `usage: verify document [flags] FILE

Checks an attestation document that somebody else fetched: binary, base64,
hexadecimal, or the JSON that the enclave answers to GET /attestation, which has
the binding as well. What was not given cannot be checked, and is reported as skipped:
then the verdict is INCOMPLETE and the exit status is not 0.

An enclave that made keys inside answers with the sealed bundle, and a document
that binds it: its digest, its configuration, the KMS key and the public keys.
Given that answer, checks all of it, and prints the public keys.
` + commonFlags + `
  --at-document-time   for an archived document: check the chain at the
                       document's own time and leave freshness unchecked
  --nonce HEX          the nonce that the document was asked with
  --generation FILE    the generation that the document binds ("bound" in the
                       answer of an enclave that made keys)
  --binding FILE       the binding that was served beside the document
  --certificate FILE   the certificate, in PEM, of the server that served it

examples:
  verify document --at-document-time archived.cbor
  curl -k https://signer.example:9000/attestation?nonce=… > answer.json
  verify document --nonce … --certificate signer.pem answer.json
  verify document --nonce 00112233… --binding b.bin --certificate c.pem doc.cbor
  verify document generated.json
`

// A documentCheck is one run of verify document.
type documentCheck struct {
	*verification
	nonce                                        string
	bindingFile, certificateFile, generationFile string
	atDocumentTime                               bool
}

func runDocument(_ context.Context, t *terminal, args []string) error {
	v := &documentCheck{verification: newVerification("document")}
	if err := v.parse(t, args); err != nil {
		return err
	}
	options, err := v.options(time.Now())
	if err != nil {
		return err
	}
	if err := v.fill(&options.Policy); err != nil {
		return err
	}
	name := v.set.Arg(0)
	file, err := reference.ReadFile(name, evidence.MaxGeneratedSize)
	if err != nil {
		return err
	}
	input := file
	if evidence.IsGenerated(file) {
		generated, err := evidence.ParseGenerated(file)
		if err != nil {
			return errorWithHint(int(report.Binding), fmt.Errorf("%s: %w", name, err))
		}
		input, options.Policy.Generation = generated.Document, generated.Bound
	}
	result := evidence.VerifyInput(input, options)
	o := outcome.Outcome{Subject: name, AsOf: v.asOf(options.Policy.Now), Result: result, PublicKeys: generatedKeys(result)}
	raw, _, _ := evidence.Decode(input, &report.Report{}) // nil if it cannot be read: A2 failed
	if err := v.conclude(t, o, raw, []evidence.File{{Name: filepath.Base(name), Data: file}, {Name: "PCRS.md", Data: v.Measurements}}); err != nil || v.json || o.PublicKeys == nil {
		return err
	}
	return printGeneration(t, result.Judgement.Generation, o.PublicKeys)
}

func (v *documentCheck) parse(t *terminal, args []string) error {
	v.set.StringVar(&v.nonce, "nonce", "", "")
	v.set.StringVar(&v.bindingFile, "binding", "", "")
	v.set.StringVar(&v.certificateFile, "certificate", "", "")
	v.set.StringVar(&v.generationFile, "generation", "", "")
	v.set.BoolVar(&v.atDocumentTime, "at-document-time", false, "")
	if err := v.verification.parse(t, documentHelp, args, "FILE"); err != nil {
		return err
	}
	if v.generationFile != "" && (v.bindingFile != "" || v.certificateFile != "") {
		return usageError("--generation goes without --binding and --certificate: a document binds one or the other")
	}
	return nil
}

// fill adds to a policy what the flags say.
func (v *documentCheck) fill(p *judgement.Policy) (err error) {
	p.Now, p.AtDocumentTime = time.Now(), v.atDocumentTime
	if p.Nonce, err = parseNonce(v.nonce); err != nil {
		return err
	}
	if v.bindingFile != "" {
		if p.Binding, err = reference.ReadFile(v.bindingFile, int64(binding.MaxSize)); err != nil {
			return err
		}
	}
	if v.certificateFile != "" {
		if p.TLSKey, err = readTLSKey(v.certificateFile); err != nil {
			return err
		}
	}
	if v.generationFile != "" {
		p.Generation, err = reference.ReadFile(v.generationFile, int64(binding.MaxGenerationSize))
	}
	return err
}

// asOf says when the document is judged.
func (v *documentCheck) asOf(now time.Time) string {
	if v.atDocumentTime {
		return "the document's own time"
	}
	return outcome.FormatTime(now)
}

// generatedKeys returns the public keys of a generation that passed, and nil otherwise.
func generatedKeys(result attestation.Result) []string {
	if result.Judgement == nil || result.Judgement.Generation == nil {
		return nil
	}
	return evidence.Generated{Generation: *result.Judgement.Generation}.PublicKeys()
}

func printGeneration(t *terminal, g *binding.Generation, keys []string) error {
	_, err := fmt.Fprintf(t.stdout, "made inside and sealed in bundle %x under KMS key %s, for configuration %x:\n  %s\n",
		g.Bundle, g.KMSKey, g.Configuration, strings.Join(keys, "\n  "))
	return err
}

// readTLSKey returns the public key of a certificate in PEM.
func readTLSKey(name string) ([]byte, error) {
	const limit = 16 << 10
	data, err := reference.ReadFile(name, limit)
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
