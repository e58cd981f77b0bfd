// Package evidence stores what a live verification saw in a folder, so that
// anybody can repeat the verification later, with no network and another
// verifier.
//
//	evidence.json     version, URL, time and nonce
//	document.cbor     the attestation document
//	binding.bin       the binding that it commits to
//	certificate.pem   the certificate of the TLS peer
//	PCRS.md           the measurements it was compared with
//	receipt.json      after a release: what was sent, and the public keys
//
// The time is the word of whoever wrote the folder. A verification of the
// folder says that the document passed as of that time.
package evidence

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/live"
	"holdfast/verify/pcrs"
)

// The files of the folder.
const (
	indexFile       = "evidence.json"
	documentFile    = "document.cbor"
	bindingFile     = "binding.bin"
	certificateFile = "certificate.pem"
	pcrsFile        = "PCRS.md"
	receiptFile     = "receipt.json"
)

// version is that of the folder's form.
const version = 1

// maxSmallSize bounds the index and the certificate.
const maxSmallSize = 16 << 10

type index struct {
	Version int       `json:"version"`
	URL     string    `json:"url"`
	Time    time.Time `json:"time"`
	Nonce   string    `json:"nonce"`
}

// A Receipt says what was released to a verified enclave. It has no secret.
type Receipt struct {
	Time       time.Time   `json:"time"`
	URL        string      `json:"url"`
	Release    string      `json:"release"`
	Emulated   bool        `json:"emulated"`
	Sealed     pcrs.Digest `json:"sealed_sha384"`
	PublicKeys []string    `json:"public_keys"`
}

// Write makes the folder, which must not exist yet, whole or not at all.
func Write(dir string, e live.Evidence, measurements []byte) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("evidence folder %s exists already", dir)
	}
	idx, err := json.MarshalIndent(index{version, e.URL, e.Time, hex.EncodeToString(e.Nonce)}, "", "  ")
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".evidence-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for name, data := range map[string][]byte{
		indexFile:       append(idx, '\n'),
		documentFile:    e.Document,
		bindingFile:     e.Binding,
		certificateFile: CertificatePEM(e.Certificate),
		pcrsFile:        measurements,
	} {
		if err := os.WriteFile(filepath.Join(temp, name), data, 0o644); err != nil {
			return err
		}
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	return os.Rename(temp, dir)
}

// WriteReceipt adds the receipt of a release to the folder.
func WriteReceipt(dir string, r Receipt) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, receiptFile), append(data, '\n'), 0o644)
}

// Read reads the folder back. measurements is its PCRS.md, unparsed.
func Read(dir string) (e live.Evidence, measurements []byte, err error) {
	data, err := readFile(dir, indexFile, maxSmallSize)
	if err != nil {
		return e, nil, err
	}
	var idx index
	if err := live.DecodeStrict(data, &idx); err != nil {
		return e, nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	if idx.Version != version {
		return e, nil, fmt.Errorf("%s: got version %d, want %d", indexFile, idx.Version, version)
	}
	e.URL, e.Time = idx.URL, idx.Time
	if e.Nonce, err = hex.DecodeString(idx.Nonce); err != nil || len(e.Nonce) != live.NonceSize {
		return e, nil, fmt.Errorf("%s: got nonce %q, want %d hexadecimal digits", indexFile, idx.Nonce, 2*live.NonceSize)
	}
	if e.Document, err = readFile(dir, documentFile, document.MaxSize); err != nil {
		return e, nil, err
	}
	if e.Binding, err = readFile(dir, bindingFile, int64(binding.MaxSize)); err != nil {
		return e, nil, err
	}
	if e.Certificate, err = readCertificate(dir); err != nil {
		return e, nil, err
	}
	measurements, err = readFile(dir, pcrsFile, pcrs.MaxSize)
	return e, measurements, err
}

func readCertificate(dir string) ([]byte, error) {
	data, err := readFile(dir, certificateFile, maxSmallSize)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) != 0 {
		return nil, fmt.Errorf("%s: want one PEM block of type CERTIFICATE", certificateFile)
	}
	return block.Bytes, nil
}

// readFile reads a file of at most limit bytes.
func readFile(dir, name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s: more than %d bytes", name, limit)
	}
	return data, err
}

// CertificatePEM returns a certificate in the form that a client's trust store
// takes.
func CertificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
