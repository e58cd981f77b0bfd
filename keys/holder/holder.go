// Package holder keeps what a key holder has in one folder: the configuration in
// clear, the secrets encrypted, and the count of bundles that were sealed.
//
//	configuration.json  what an enclave may do and for whom; to be edited
//	identity.txt        the age identity that opens the secrets and every bundle
//	recipients.txt      whom a bundle's data key is sealed to; more may be added
//	secrets.age         validators' keys, the authority's, the server's, the rest
//	ca.pem              a copy of the authority's certificate, for people
//	operator.pem        vouches for a journal (strict freshness), if there is one
//	state.json          the bundle's name and the version sealed last
//
// A secret reaches the disk encrypted only, but for the two files that are keys
// themselves: identity.txt, which can have a passphrase, and operator.pem, which
// signs no duty and opens nothing. One process works in a folder at a time. A file
// is replaced whole and durably or stays as it was, so that a full disk or an
// interruption loses nothing; and a version is taken before it is used, so that no
// two bundles have one.
package holder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

// The files of a folder that users meet.
const (
	ConfigurationFile = "configuration.json"
	IdentityFile      = "identity.txt"
	RecipientsFile    = "recipients.txt"
	AuthorityFile     = "ca.pem"
	OperatorFile      = "operator.pem"

	secretsFile = "secrets.age"
	stateFile   = "state.json"
	lockFile    = ".lock"
)

// Bounds on what is read, in bytes.
const (
	maxIdentity   = 64 << 10
	maxRecipients = 64 << 10
	maxState      = 4 << 10
	maxSecrets    = 4 << 20
)

// ErrPassphrase reports that the identity's passphrase is wrong.
var ErrPassphrase = errors.New("wrong passphrase")

// ErrMalformed reports a file of the folder that is not as it should be.
var ErrMalformed = errors.New("malformed")

// A Folder is a key holder's, opened. Nobody else changes it until Close.
type Folder struct {
	dir      string
	state    state
	identity *age.HybridIdentity
	unlock   func()
}

// state is what state.json holds.
type state struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"` // of the newest bundle; 0 before the first
}

// A Contents is what a new folder starts with.
type Contents struct {
	Name          string
	Configuration []byte   // JSON
	Recipients    []string // age recipients beside the folder's own
	Passphrase    secret.Bytes
	Secrets       *Secrets
	Files         map[string][]byte // ca.pem and the like, by name
	Private       map[string][]byte // the same, readable by the owner alone
}

// Create makes a folder where there is none. It appears whole or not at all.
func Create(dir string, c Contents) error {
	if !envelope.IsName(c.Name) {
		return fmt.Errorf("name %q: want 1 to %d characters of a-z, 0-9 and -", c.Name, envelope.MaxNameSize)
	}
	return createDir(dir, func(temporary string) error { return fill(temporary, c) })
}

func fill(dir string, c Contents) error {
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		return err
	}
	written, err := encodeIdentity(identity, c.Passphrase)
	if err != nil {
		return err
	}
	recipients := "# Whom the data key of each bundle is sealed to: age recipients, one a line.\n" +
		strings.Join(append([]string{identity.Recipient().String()}, c.Recipients...), "\n") + "\n"
	if _, err := parseRecipients([]byte(recipients)); err != nil {
		return err
	}
	f := &Folder{dir: dir, state: state{Name: c.Name}, identity: identity}
	for name, data := range c.Files {
		if err := f.write(name, data, 0o644); err != nil {
			return err
		}
	}
	for name, data := range c.Private {
		if err := f.write(name, data, 0o600); err != nil {
			return err
		}
	}
	for _, write := range []func() error{
		func() error { return f.write(IdentityFile, written, 0o600) },
		func() error { return f.write(RecipientsFile, []byte(recipients), 0o644) },
		func() error { return f.write(ConfigurationFile, c.Configuration, 0o644) },
		func() error { return f.SetSecrets(c.Secrets) },
		func() error { return f.setState(f.state) },
	} {
		if err := write(); err != nil {
			return err
		}
	}
	return nil
}

// Open opens a folder. It asks for the passphrase only if the identity has one.
func Open(dir string, passphrase func() (secret.Bytes, error)) (_ *Folder, err error) {
	f := &Folder{dir: dir}
	if _, err := os.Stat(f.path(IdentityFile)); err != nil {
		return nil, fmt.Errorf("%s is no key holder's folder: %w", dir, err)
	}
	if f.unlock, err = lock(f.path(lockFile)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	f.sweep()
	if err := f.readState(); err != nil {
		return nil, err
	}
	data, err := f.read(IdentityFile, maxIdentity)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	if f.identity, err = parseIdentity(data, passphrase); err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(IdentityFile), err)
	}
	return f, nil
}

// Close lets others work in the folder.
func (f *Folder) Close() {
	if f.unlock != nil {
		f.unlock()
	}
}

// Name returns the name of the folder's bundles.
func (f *Folder) Name() string { return f.state.Name }

// Version returns the version sealed last, 0 before the first.
func (f *Folder) Version() uint64 { return f.state.Version }

// Path returns the path of a file of the folder.
func (f *Folder) Path(name string) string { return f.path(name) }

func (f *Folder) path(name string) string { return filepath.Join(f.dir, name) }

// TakeVersion raises the version durably and returns it. It belongs to the caller's
// bundle and is never given out again, whether that bundle is sealed or not.
func (f *Folder) TakeVersion() (uint64, error) {
	next := f.state
	next.Version++
	if err := f.setState(next); err != nil {
		return 0, err
	}
	f.state = next
	return next.Version, nil
}

func (f *Folder) setState(s state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return f.write(stateFile, append(data, '\n'), 0o644)
}

func (f *Folder) readState() error {
	data, err := f.read(stateFile, maxState)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&f.state); err != nil || decoder.More() || !envelope.IsName(f.state.Name) {
		return fmt.Errorf("%s: %w: want a name and a version", f.path(stateFile), ErrMalformed)
	}
	return nil
}

// Configuration reads configuration.json, which is not checked.
func (f *Folder) Configuration() ([]byte, error) {
	return f.read(ConfigurationFile, envelope.MaxConfigurationSize)
}

// SetConfiguration replaces configuration.json.
func (f *Folder) SetConfiguration(data []byte) error { return f.write(ConfigurationFile, data, 0o644) }

// SetFile replaces another file of the folder that holds no secret.
func (f *Folder) SetFile(name string, data []byte) error { return f.write(name, data, 0o644) }

// Recipients returns whom a bundle's data key is sealed to.
func (f *Folder) Recipients() ([]age.Recipient, error) {
	data, err := f.read(RecipientsFile, maxRecipients)
	if err != nil {
		return nil, err
	}
	recipients, err := parseRecipients(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(RecipientsFile), err)
	}
	return recipients, nil
}

// IsOwn reports whether the folder's own identity is among recipients.
func (f *Folder) IsOwn(recipients []age.Recipient) bool {
	return slices.ContainsFunc(recipients, func(r age.Recipient) bool {
		hybrid, ok := r.(*age.HybridRecipient)
		return ok && hybrid.String() == f.identity.Recipient().String()
	})
}

// CheckRecipients reports recipients that a folder could not have together.
func CheckRecipients(recipients []string) error {
	identity, err := age.GenerateHybridIdentity()
	if err == nil {
		_, err = parseRecipients([]byte(strings.Join(append([]string{identity.Recipient().String()}, recipients...), "\n")))
	}
	return err
}

// parseRecipients reads age recipients, post-quantum ones all or none: a data key
// is as safe as the weakest recipient makes it, and age refuses to mix.
func parseRecipients(data []byte) ([]age.Recipient, error) {
	recipients, err := age.ParseRecipients(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	for i, r := range recipients {
		if _, ok := r.(*age.HybridRecipient); !ok {
			return nil, fmt.Errorf("%w: recipient %d is not post-quantum: want age1pq1… (age-keygen -pq)", ErrMalformed, i+1)
		}
	}
	return recipients, nil
}

// Secrets reads secrets.age. The caller wipes them.
func (f *Folder) Secrets() (*Secrets, error) {
	file, err := f.read(secretsFile, maxSecrets)
	if err != nil {
		return nil, err
	}
	plain, err := open(file, maxSecrets, f.identity)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(secretsFile), err)
	}
	defer clear(plain)
	s, err := parseSecrets(plain)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path(secretsFile), err)
	}
	return s, nil
}

// SetSecrets replaces secrets.age.
func (f *Folder) SetSecrets(s *Secrets) error {
	plain, err := s.encode()
	if err != nil {
		return err
	}
	defer clear(plain)
	var file bytes.Buffer
	if err := encrypt(&file, plain, f.identity.Recipient()); err != nil {
		return err
	}
	return f.write(secretsFile, file.Bytes(), 0o600)
}

func encrypt(out io.Writer, plain []byte, recipients ...age.Recipient) error {
	w, err := age.Encrypt(out, recipients...)
	if err != nil {
		return err
	}
	if _, err := w.Write(plain); err != nil {
		return err
	}
	return w.Close()
}

// open decrypts at most limit bytes. The caller wipes them.
func open(file []byte, limit int64, identity age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(file), identity)
	if err != nil {
		return nil, err
	}
	// Of the right size at once, so that no copy is left behind by growing.
	plain := make([]byte, 0, len(file))
	buffer := bytes.NewBuffer(plain)
	if n, err := buffer.ReadFrom(io.LimitReader(r, limit+1)); err != nil || n > limit {
		clear(buffer.Bytes())
		return nil, fmt.Errorf("%w: damaged, or more than %d bytes", ErrMalformed, limit)
	}
	return buffer.Bytes(), nil
}

// encodeIdentity writes an identity as age-keygen does, or under a passphrase as
// `age -p -a` does.
func encodeIdentity(identity *age.HybridIdentity, passphrase secret.Bytes) ([]byte, error) {
	text := fmt.Appendf(nil, "# public key: %s\n%s\n", identity.Recipient(), identity)
	if passphrase.Len() == 0 {
		return text, nil
	}
	defer clear(text)
	recipient, err := age.NewScryptRecipient(string(passphrase.Reveal()))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	if err := encrypt(w, text, recipient); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}

func parseIdentity(data []byte, passphrase func() (secret.Bytes, error)) (*age.HybridIdentity, error) {
	if bytes.HasPrefix(data, []byte(armor.Header)) {
		plain, err := openIdentity(data, passphrase)
		if err != nil {
			return nil, err
		}
		defer clear(plain)
		data = plain
	}
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err == nil && len(identities) == 1 {
		if identity, ok := identities[0].(*age.HybridIdentity); ok {
			return identity, nil
		}
	}
	// Without the cause, which may quote the line.
	return nil, fmt.Errorf("%w: want one post-quantum age identity", ErrMalformed)
}

func openIdentity(data []byte, passphrase func() (secret.Bytes, error)) ([]byte, error) {
	text, err := passphrase()
	if err != nil {
		return nil, err
	}
	defer text.Wipe()
	identity, err := age.NewScryptIdentity(string(text.Reveal()))
	if err != nil {
		return nil, ErrPassphrase // it is empty
	}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(data)), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, ErrPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	plain, err := io.ReadAll(io.LimitReader(r, maxIdentity))
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return plain, nil
}
