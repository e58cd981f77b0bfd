// Package evidence stores what a live verification saw in a folder, so that
// anybody can repeat the verification later, with no network and another
// verifier.
//
//	evidence.json     version, URL, time, nonce, and the configuration of a bundle
//	document.cbor     the attestation document
//	binding.bin       the binding that it commits to
//	certificate.pem   the certificate of the TLS peer
//	PCRS.md           the measurements it was compared with
//	PCRS.md.sig       their signature, where it was verified
//	receipt.json      after a release: what was sent, and the public keys
//
// The time is the word of whoever wrote the folder. A verification of the
// folder says that the document passed as of that time.
package evidence

import (
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/pcrs"
)

// The files of the folder.
const (
	indexFile       = "evidence.json"
	documentFile    = "document.cbor"
	bindingFile     = "binding.bin"
	certificateFile = "certificate.pem"
	pcrsFile        = "PCRS.md"
	signatureFile   = "PCRS.md.sig"
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

	// Configuration is that of the bundle that the enclave had to have.
	Configuration *pcrs.Digest `json:"configuration,omitempty"`
}

// A Folder is what the files hold.
type Folder struct {
	Evidence

	// Measurements is PCRS.md, unparsed, and Signature its PCRS.md.sig, or
	// nil where it was not looked at.
	Measurements, Signature []byte

	// Receipt is nil where nothing was released, or nobody knows whether it
	// arrived.
	Receipt *Receipt
}

// Write makes the folder, which must not exist yet, whole or not at all.
func Write(dir string, f Folder) error {
	if _, err := os.Lstat(dir); err == nil {
		return fmt.Errorf("evidence folder %s exists already", dir)
	}
	files, err := f.Files()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), ".evidence-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	for _, file := range files {
		if err := writeFile(filepath.Join(temp, file.Name), file.Data); err != nil {
			return err
		}
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// A File is one of a folder.
type File struct {
	Name string
	Data []byte
}

// Files returns what the folder consists of.
func (f Folder) Files() ([]File, error) {
	entry := index{Version: version, URL: f.URL, Time: f.Time, Nonce: hex.EncodeToString(f.Nonce)}
	if f.Configuration != (pcrs.Digest{}) {
		entry.Configuration = &f.Configuration
	}
	idx, err := encode(entry)
	if err != nil {
		return nil, err
	}
	files := []File{
		{indexFile, idx},
		{documentFile, f.Document},
		{bindingFile, f.Binding},
		{certificateFile, CertificatePEM(f.Certificate)},
		{pcrsFile, f.Measurements},
	}
	if f.Signature != nil {
		files = append(files, File{signatureFile, f.Signature})
	}
	if f.Receipt != nil {
		receipt, err := encode(f.Receipt)
		if err != nil {
			return nil, err
		}
		files = append(files, File{receiptFile, receipt})
	}
	return files, nil
}

// WriteReceipt adds the receipt of a release to the folder.
func WriteReceipt(dir string, r Receipt) error {
	data, err := encode(r)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, "."+receiptFile)
	if err := writeFile(temp, data); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, receiptFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

func encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "  ")
	return append(data, '\n'), err
}

// writeFile writes a new file that outlives a power failure.
func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir makes the names in a directory outlive a power failure, where the
// system can do that.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, os.ErrInvalid) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// Read reads the folder back.
func Read(dir string) (Folder, error) {
	f, err := readIndex(dir)
	if err != nil {
		return Folder{}, err
	}
	for _, part := range []struct {
		name     string
		limit    int64
		optional bool
		into     *[]byte
	}{
		{documentFile, document.MaxSize, false, &f.Document},
		{bindingFile, int64(binding.MaxSize), false, &f.Binding},
		{pcrsFile, pcrs.MaxSize, false, &f.Measurements},
		{signatureFile, maxSmallSize, true, &f.Signature},
	} {
		if *part.into, err = readFile(dir, part.name, part.limit); err != nil && !(part.optional && errors.Is(err, fs.ErrNotExist)) {
			return Folder{}, err
		}
	}
	if f.Certificate, err = readCertificate(dir); err != nil {
		return Folder{}, err
	}
	if f.Receipt, err = readReceipt(dir); err != nil {
		return Folder{}, err
	}
	return f, nil
}

func readIndex(dir string) (Folder, error) {
	data, err := readFile(dir, indexFile, maxSmallSize)
	if err != nil {
		return Folder{}, err
	}
	e, err := ParseIndex(data)
	return Folder{Evidence: e}, err
}

// ParseIndex reads evidence.json: all that the other files do not hold.
func ParseIndex(data []byte) (Evidence, error) {
	var idx index
	if err := DecodeStrict(data, &idx); err != nil {
		return Evidence{}, fmt.Errorf("%s: %w", indexFile, err)
	}
	if idx.Version != version {
		return Evidence{}, fmt.Errorf("%s: got version %d, want %d", indexFile, idx.Version, version)
	}
	nonce, err := hex.DecodeString(idx.Nonce)
	if err != nil || len(nonce) != NonceSize {
		return Evidence{}, fmt.Errorf("%s: got nonce %q, want %d hexadecimal digits", indexFile, idx.Nonce, 2*NonceSize)
	}
	e := Evidence{URL: idx.URL, Time: idx.Time, Nonce: nonce}
	if idx.Configuration != nil {
		e.Configuration = *idx.Configuration
	}
	return e, nil
}

// IsIndex tells whether data is meant to be an evidence.json.
func IsIndex(data []byte) bool { return hasMembers(data, "version", "time", "nonce") }

// IsReceipt tells whether data is meant to be a receipt.json.
func IsReceipt(data []byte) bool { return hasMembers(data, "version", "time", "sealed_sha384") }

func hasMembers(data []byte, names ...string) bool {
	var object map[string]json.RawMessage
	if json.Unmarshal(data, &object) != nil {
		return false
	}
	for _, name := range names {
		if object[name] == nil {
			return false
		}
	}
	return true
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
