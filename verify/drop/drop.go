// Package drop verifies the files that somebody drops on a page: a document
// alone, or with its binding, certificate and measurements, or all that an
// evidence folder has. It reaches the verdict that the command reaches, and
// shows it as the same page.
package drop

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/evidence"
	"holdfast/verify/outcome"
	"holdfast/verify/page"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// MaxFileSize bounds each file.
const MaxFileSize = pcrs.MaxSize

// maxFiles bounds how many can be dropped at once.
const maxFiles = 16

// Settings are what the page asks beside the files.
type Settings struct {
	// Now is the time of the machine. AtDocumentTime verifies an archived
	// document at its own time; its age is then not checked.
	Now            time.Time
	AtDocumentTime bool

	Nonce   string // hexadecimal, or empty
	Release string // the only one to accept, or empty

	// Measurements is the PCRS.md to compare with if none is dropped.
	Measurements []byte
}

// A Result is what the page shows.
type Result struct {
	HTML    string // the body of the report
	Verdict attestation.Verdict
}

// files are the dropped files by what they are.
type files struct {
	document, binding, certificate, measurements, index []byte

	name string // of the document
}

// Verify judges what was dropped. An error means that there is nothing to
// judge.
func Verify(dropped []evidence.File, s Settings) (Result, error) {
	sorted, err := sortFiles(dropped)
	if err != nil {
		return Result{}, err
	}
	if sorted.measurements == nil {
		sorted.measurements = s.Measurements
	}
	options, err := sorted.options(s)
	if err != nil {
		return Result{}, err
	}
	o, raw, err := sorted.verify(options, s)
	if err != nil {
		return Result{}, err
	}
	var b bytes.Buffer
	err = page.WriteBody(&b, page.Page{Outcome: o, Document: raw, Published: options.Policy.Measurements, Evidence: dropped})
	return Result{HTML: b.String(), Verdict: o.Result.Verdict}, err
}

// sortFiles tells by their contents what the files are.
func sortFiles(dropped []evidence.File) (files, error) {
	if len(dropped) == 0 || len(dropped) > maxFiles {
		return files{}, fmt.Errorf("got %d files, want 1 to %d", len(dropped), maxFiles)
	}
	var f files
	for _, file := range dropped {
		if len(file.Data) > MaxFileSize {
			return files{}, fmt.Errorf("%s: more than %d bytes", file.Name, MaxFileSize)
		}
		into, what := f.place(file.Data)
		switch {
		case into == nil: // a receipt or a signature: no part of the verdict
			continue
		case *into != nil:
			return files{}, fmt.Errorf("%s: a second %s", file.Name, what)
		}
		*into = file.Data
		if into == &f.document {
			f.name = file.Name
		}
	}
	if f.document == nil {
		return files{}, errors.New("no attestation document among the files")
	}
	return f, nil
}

// place returns where a file belongs, nil for a file that does not count.
func (f *files) place(data []byte) (into *[]byte, what string) {
	switch {
	case bytes.HasPrefix(data, []byte("# PCRS")):
		return &f.measurements, "PCRS.md"
	case bytes.HasPrefix(data, []byte("-----BEGIN CERTIFICATE-----")):
		return &f.certificate, "certificate"
	case bytes.HasPrefix(data, []byte("-----BEGIN SSH SIGNATURE-----")):
		return nil, ""
	case bytes.HasPrefix(data, []byte(binding.Version)):
		return &f.binding, "binding"
	case evidence.IsReceipt(data):
		return nil, ""
	case evidence.IsIndex(data):
		return &f.index, "evidence.json"
	}
	return &f.document, "document"
}

// options makes the policy from what was dropped.
func (f files) options(s Settings) (attestation.Options, error) {
	trust, err := chain.AWS()
	if err != nil {
		return attestation.Options{}, err
	}
	p := judgement.Policy{
		Release: s.Release, Now: s.Now, MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew,
		AtDocumentTime: s.AtDocumentTime, Binding: f.binding,
	}
	if len(f.measurements) > 0 {
		if p.Measurements, err = pcrs.Parse(f.measurements); err != nil {
			return attestation.Options{}, err
		}
	}
	if p.Nonce, err = hex.DecodeString(s.Nonce); err != nil {
		return attestation.Options{}, fmt.Errorf("nonce: %w", err)
	}
	if len(p.Nonce) == 0 {
		p.Nonce = nil
	}
	if f.certificate != nil {
		c, err := f.parseCertificate()
		if err != nil {
			return attestation.Options{}, err
		}
		p.TLSKey = c.RawSubjectPublicKeyInfo
	}
	return attestation.Options{Trust: trust, Policy: p}, nil
}

func (f files) parseCertificate() (*x509.Certificate, error) {
	block, rest := pem.Decode(f.certificate)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		return nil, errors.New("certificate: want one PEM block of type CERTIFICATE")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return c, nil
}

// verify judges evidence as of its own time, and anything else by the settings.
func (f files) verify(options attestation.Options, s Settings) (outcome.Outcome, []byte, error) {
	if f.index != nil {
		return f.verifyEvidence(options)
	}
	asOf := outcome.FormatTime(s.Now)
	if s.AtDocumentTime {
		asOf = "the document's own time"
	}
	raw, _, _ := evidence.Decode(f.document, &report.Report{}) // nil if it cannot be read: A2 fails
	return outcome.Outcome{Subject: f.name, AsOf: asOf, Result: evidence.VerifyInput(f.document, options)}, raw, nil
}

func (f files) verifyEvidence(options attestation.Options) (outcome.Outcome, []byte, error) {
	if f.binding == nil || f.certificate == nil {
		return outcome.Outcome{}, nil, errors.New("evidence.json goes with the document, binding.bin and certificate.pem of its folder")
	}
	e, err := evidence.ParseIndex(f.index)
	if err != nil {
		return outcome.Outcome{}, nil, err
	}
	c, err := f.parseCertificate()
	if err != nil {
		return outcome.Outcome{}, nil, err
	}
	e.Document, e.Binding, e.Certificate = f.document, f.binding, c.Raw
	return outcome.Outcome{Subject: e.URL, AsOf: outcome.FormatTime(e.Time), Result: e.Verify(options)}, e.Document, nil
}
