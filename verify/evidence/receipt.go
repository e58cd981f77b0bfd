package evidence

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// A Receipt says what was released to a verified enclave: the data key of a bundle.
// It has no secret.
type Receipt struct {
	Version      int               `json:"version"`
	Time         time.Time         `json:"time"` // when the enclave had answered
	URL          string            `json:"url"`
	ModuleID     string            `json:"module_id"`
	Release      string            `json:"release"`
	Architecture pcrs.Architecture `json:"architecture"`
	Emulated     bool              `json:"emulated"`
	PCRs         []Register        `json:"pcrs"`
	Document     pcrs.Digest       `json:"document_sha384"`
	Binding      pcrs.Digest       `json:"binding_sha384"`
	Bundle       Bundle            `json:"bundle"`
	Sealed       pcrs.Digest       `json:"sealed_sha384"`
	PublicKeys   []string          `json:"public_keys"`
}

// A Bundle names a sealed bundle.
type Bundle struct {
	Name          string      `json:"name"`
	Version       uint64      `json:"version"`
	Digest        pcrs.Digest `json:"sha384"` // of the file
	Configuration pcrs.Digest `json:"configuration_sha384"`
}

// A Register is one register of the document, all of which a receipt lists in
// ascending order.
type Register struct {
	Index int      `json:"index"`
	Value pcrs.PCR `json:"value"`
}

// receiptVersion is that of the receipt's form.
const receiptVersion = 2

// maxReceiptSize bounds a receipt: a public key takes 120 bytes, and a bundle has at
// most 16,384.
const maxReceiptSize = 4 << 20

// NewReceipt fills in what the evidence of a verification says. What was
// released, and when, is for the caller to add.
func NewReceipt(e Evidence, d *document.Document, b binding.Binding, entry pcrs.Entry, emulated bool) Receipt {
	return Receipt{
		Version:      receiptVersion,
		URL:          e.URL,
		ModuleID:     d.ModuleID,
		Release:      entry.Version,
		Architecture: entry.Image.Architecture,
		Emulated:     emulated,
		PCRs:         registers(d),
		Document:     sha512.Sum384(e.Document),
		Binding:      b.Digest(),
	}
}

func registers(d *document.Document) []Register {
	list := make([]Register, 0, len(d.PCRs))
	for i, value := range d.PCRs {
		list = append(list, Register{i, value})
	}
	slices.SortFunc(list, func(a, b Register) int { return a.Index - b.Index })
	return list
}

func readReceipt(dir string) (*Receipt, error) {
	data, err := readFile(dir, receiptFile, maxReceiptSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := &Receipt{}
	if err := DecodeStrict(data, r); err != nil {
		return nil, fmt.Errorf("%s: %w", receiptFile, err)
	}
	if r.Version != receiptVersion {
		return nil, fmt.Errorf("%s: got version %d, want %d", receiptFile, r.Version, receiptVersion)
	}
	return r, nil
}

// Check tells whether a receipt speaks of the folder that it lies in. Release
// and verdict are the verification's business.
func (r Receipt) Check(f Folder) error {
	d, err := parse(f.Document)
	if err != nil {
		return err
	}
	b, err := binding.Parse(f.Binding)
	if err != nil {
		return err
	}
	for what, same := range map[string]bool{
		"URL":       r.URL == f.URL,
		"module_id": r.ModuleID == d.ModuleID,
		"document":  r.Document == pcrs.Digest(sha512.Sum384(f.Document)),
		"binding":   r.Binding == pcrs.Digest(b.Digest()),
		"registers": slices.Equal(r.PCRs, registers(d)),
		"bundle":    r.Bundle.Configuration == f.Configuration && f.Configuration == pcrs.Digest(b.Configuration),
		"time":      !r.Time.Before(f.Time),
	} {
		if !same {
			return fmt.Errorf("%s: another %s than the evidence beside it", receiptFile, what)
		}
	}
	return nil
}

// parse reads a document of either kind; its signature is not looked at.
func parse(raw []byte) (*document.Document, error) {
	if document.IsEmulated(raw) {
		return document.ParseUnsafeEmulated(raw, &report.Report{})
	}
	return document.Parse(raw, &report.Report{})
}

// ModuleID returns the module_id that the document claims. Nothing of it is
// verified.
func (f Folder) ModuleID() (string, error) {
	d, err := parse(f.Document)
	if err != nil {
		return "", err
	}
	return d.ModuleID, nil
}
