// Package keyfiles finds validators' keys in what other tools left on a disk:
// EIP-2335 keystores, Web3Signer's key configuration files, and the folders of
// passwords that Web3Signer and Lighthouse keep beside them.
//
// Finding reads no more than it must: [Find] says which keys there are and where
// their passwords, and [Opener.Open] opens them side by side within bounds of memory. Where
// anything is unclear it is an error with the file's name, never a guess: a key
// that is missed or taken twice costs its owner.
package keyfiles

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/secret"
	"holdfast/keys/holder"
	"holdfast/keys/mnemonic"
)

// Bounds.
const (
	maxKeys     = holder.MaxValidators
	maxPassword = 4 << 10  // of a password file, in bytes
	maxYAML     = 16 << 20 // of a key configuration file, which may hold many keys
	maxDepth    = 2        // of folders: Lighthouse keeps a folder for each key
)

// ErrMalformed reports a file that is not what its name says.
var ErrMalformed = errors.New("malformed")

// ErrMnemonic reports a mnemonic where a keystore should be.
var ErrMnemonic = fmt.Errorf("%w: this is a mnemonic, and no keystore", ErrMalformed)

// A Source is one key that was found, and not opened yet: a keystore with the file
// of its password, or a key in clear.
type Source struct {
	File  string // where it was found
	Index int    // which key of the file, from 1; 0 if the file has one

	keystore string
	password string
	raw      secret.Bytes
}

// String names the source for people.
func (s Source) String() string {
	if s.Index == 0 {
		return s.File
	}
	return fmt.Sprintf("%s (key %d)", s.File, s.Index)
}

// Passwords says where the passwords of keystores are: in one File for all, or in
// a folder Dir with one each, called as the keystore but .txt (Web3Signer) or by
// the public key (Lighthouse). Key configuration files name their own.
type Passwords struct{ File, Dir string }

// Find finds the keys in files and folders. A folder has keystores (*.json), in it
// or in a folder of its own each, or key configuration files of Web3Signer's
// (*.yaml, *.yml), which then say which keystores count. Every problem is reported.
func Find(paths []string, p Passwords) ([]Source, error) {
	f := &finder{passwords: p, seen: map[string]bool{}}
	for _, path := range paths {
		f.path(path)
	}
	if len(f.sources) > maxKeys {
		f.problems = append(f.problems, fmt.Errorf("found %d keys, and a bundle holds %d", len(f.sources), maxKeys))
	}
	if len(f.problems) == 0 && len(f.sources) == 0 {
		f.problems = []error{errors.New("found no key: want keystores (*.json) or Web3Signer's key configuration files (*.yaml)")}
	}
	if err := errors.Join(f.problems...); err != nil {
		for _, s := range f.sources {
			s.raw.Wipe()
		}
		return nil, err
	}
	return f.sources, nil
}

type finder struct {
	passwords Passwords
	seen      map[string]bool
	sources   []Source
	problems  []error
}

func (f *finder) fail(name string, err error) {
	f.problems = append(f.problems, fmt.Errorf("%s: %w", name, err))
}

func (f *finder) path(path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		f.problems = append(f.problems, err)
	case info.IsDir():
		f.folder(path)
	case isYAML(path):
		f.configurations(path)
	default:
		f.keystore(path)
	}
}

func isYAML(path string) bool {
	return strings.HasSuffix(path, ".yaml") || strings.HasSuffix(path, ".yml")
}

// folder takes the key configuration files of a folder, or else its keystores.
func (f *finder) folder(dir string) {
	var yaml, json []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		depth := strings.Count(strings.TrimPrefix(path, dir), string(filepath.Separator))
		switch {
		case err != nil:
			return err
		case d.IsDir() && depth >= maxDepth:
			return fs.SkipDir
		case d.IsDir():
		case isYAML(path) && depth == 1:
			yaml = append(yaml, path)
		case isKeystoreName(d.Name()):
			json = append(json, path)
		}
		return nil
	})
	if err != nil {
		f.problems = append(f.problems, err)
	}
	for _, path := range yaml {
		f.configurations(path)
	}
	if len(yaml) == 0 {
		for _, path := range json {
			f.keystore(path)
		}
	}
}

// isKeystoreName leaves out what key tools put beside keystores.
func isKeystoreName(name string) bool {
	for _, other := range []string{"deposit_data", "deposit-data", "slashing_protection", "bls_to_execution_change", "signed_exit"} {
		if strings.HasPrefix(name, other) {
			return false
		}
	}
	return strings.HasSuffix(name, ".json")
}

// add takes a source, unless its file was taken already by another path.
func (f *finder) add(s Source) {
	if s.keystore != "" {
		if path, err := filepath.EvalSymlinks(s.keystore); err == nil {
			if f.seen[path] {
				return
			}
			f.seen[path] = true
		}
	}
	f.sources = append(f.sources, s)
}

// keystore takes a keystore with its password.
func (f *finder) keystore(path string) {
	claimed, err := peek(path)
	if err != nil {
		f.fail(path, err)
		return
	}
	password, err := f.passwords.of(path, claimed)
	if err != nil {
		f.fail(path, err)
		return
	}
	f.add(Source{File: path, keystore: path, password: password})
}

// peek returns the public key that a keystore claims, in lower-case hexadecimal
// digits without 0x, or nothing if it claims none.
func peek(path string) (string, error) {
	data, err := holder.ReadFile(path, keystore.MaxSize)
	defer clear(data)
	if err != nil {
		return "", err
	}
	if mnemonic.Looks(data) {
		return "", ErrMnemonic
	}
	o, err := jsontree.Parse(data)
	if err != nil || !o.Has("crypto") {
		return "", fmt.Errorf("%w: this is no EIP-2335 keystore", ErrMalformed)
	}
	if !o.Has("pubkey") {
		return "", nil
	}
	return strings.TrimPrefix(strings.ToLower(o.Text("pubkey")), "0x"), nil
}

// of finds the password of a keystore.
func (p Passwords) of(path, publicKey string) (string, error) {
	if p.Dir == "" {
		if p.File == "" {
			return "", errors.New("want a password, from --password-file or --passwords")
		}
		return p.File, nil
	}
	base := strings.TrimSuffix(filepath.Base(path), ".json")
	candidates := []string{base + ".txt"}
	if key, err := bls.ParsePublicKey(publicKey); err == nil {
		candidates = append(candidates, key.String(), key.String()+".txt", key.String()[2:])
	}
	for _, name := range candidates {
		password := filepath.Join(p.Dir, name)
		if _, err := os.Stat(password); err == nil {
			return password, nil
		}
	}
	return "", fmt.Errorf("there is no password in %s: looked for %s", p.Dir, strings.Join(candidates, ", "))
}

// configurations takes the keys that a file of Web3Signer's describes.
func (f *finder) configurations(path string) {
	data, err := holder.ReadFile(path, maxYAML)
	defer clear(data)
	if err != nil {
		f.problems = append(f.problems, err)
		return
	}
	documents, err := parseYAML(data)
	if err != nil {
		f.fail(path, fmt.Errorf("%w: %v", ErrMalformed, err))
		return
	}
	for i, d := range documents {
		s := Source{File: path}
		if len(documents) > 1 {
			s.Index = i + 1
		}
		if err := s.describe(d); err != nil {
			f.problems = append(f.problems, fmt.Errorf("%v: %w: %w", s, ErrMalformed, err))
			continue
		}
		f.add(s)
	}
}

// describe reads one document of a key configuration file.
func (s *Source) describe(d document) error {
	if err := d.bls(); err != nil {
		return err
	}
	kind := string(d["type"])
	switch kind {
	case "file-raw":
		if err := d.only("type", "keyType", "privateKey"); err != nil {
			return err
		}
		scalar, err := parseScalar(d["privateKey"])
		s.raw = scalar
		return err
	case "file-keystore":
		if err := d.only("type", "keyType", "keystoreFile", "keystorePasswordFile"); err != nil {
			return err
		}
		s.keystore, s.password = s.beside(d["keystoreFile"]), s.beside(d["keystorePasswordFile"])
		if s.keystore == "" || s.password == "" {
			return errors.New("want keystoreFile and keystorePasswordFile")
		}
		return nil
	case "":
		return errors.New("want a type")
	}
	return fmt.Errorf("a key of type %.32q is not in this folder: want file-raw or file-keystore (hint: export it from where it is)", kind)
}

// beside resolves a path against the folder of the key configuration file, as
// Web3Signer does.
func (s *Source) beside(path []byte) string {
	if len(path) == 0 || filepath.IsAbs(string(path)) {
		return string(path)
	}
	return filepath.Join(filepath.Dir(s.File), string(path))
}

// parseScalar reads a key of up to 64 hexadecimal digits with or without 0x.
func parseScalar(text []byte) (secret.Bytes, error) {
	digits := bytes.TrimPrefix(text, []byte("0x"))
	scalar := make([]byte, 32)
	if len(digits) != 2*len(scalar) {
		return secret.Bytes{}, errors.New("privateKey: want 0x and 64 hexadecimal digits")
	}
	if _, err := hex.Decode(scalar, digits); err != nil {
		clear(scalar)
		return secret.Bytes{}, errors.New("privateKey: want 0x and 64 hexadecimal digits")
	}
	return secret.New(scalar), nil
}

// A Result is what became of a source: a validator, or an error.
type Result struct {
	Source    Source
	Validator holder.Validator
	Err       error
}

// An Opener opens sources side by side.
type Opener struct {
	Memory   int64                 // for key derivations together, in bytes
	Workers  int                   // derivations at once
	Progress func(done, total int) // called after each source; may be nil
}

// Open opens every source, and has a result for each in the order given. It ends
// early only when ctx does.
func (o Opener) Open(ctx context.Context, sources []Source) ([]Result, error) {
	opener := keystore.NewOpener(o.Memory, o.Workers)
	results := make([]Result, len(sources))
	opened := make(chan struct{})
	var group errgroup.Group
	group.SetLimit(o.Workers)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for done := 1; done <= len(sources); done++ {
			<-opened
			if o.Progress != nil {
				o.Progress(done, len(sources))
			}
		}
	}()
	for i, s := range sources {
		group.Go(func() error {
			validator, err := s.open(ctx, opener)
			results[i] = Result{s, validator, err}
			opened <- struct{}{}
			return nil
		})
	}
	group.Wait()
	<-counted
	if err := ctx.Err(); err != nil {
		for _, r := range results {
			r.Validator.Scalar.Wipe()
		}
		return nil, err
	}
	return results, nil
}

func (s Source) open(ctx context.Context, opener *keystore.Opener) (holder.Validator, error) {
	if s.keystore == "" {
		return fromScalar(s.raw)
	}
	if err := ctx.Err(); err != nil {
		return holder.Validator{}, err
	}
	file, err := holder.ReadFile(s.keystore, keystore.MaxSize)
	defer clear(file)
	if err != nil {
		return holder.Validator{}, err
	}
	password, err := holder.ReadFile(s.password, maxPassword)
	defer clear(password)
	if err != nil {
		return holder.Validator{}, fmt.Errorf("password: %w", err)
	}
	scalar, key, err := opener.OpenScalar(ctx, file, firstLine(password))
	if err != nil {
		return holder.Validator{}, err
	}
	defer key.Wipe()
	return holder.Validator{PublicKey: key.PublicKey(), Scalar: scalar}, nil
}

// firstLine leaves out the newline at a password file's end, and nothing else.
func firstLine(password []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(password, []byte("\n")), []byte("\r"))
}

// fromScalar derives the public key of a key in clear.
func fromScalar(scalar secret.Bytes) (holder.Validator, error) {
	key, err := bls.NewSecretKey((*[32]byte)(scalar.Reveal()))
	if err != nil {
		return holder.Validator{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	defer key.Wipe()
	return holder.Validator{PublicKey: key.PublicKey(), Scalar: scalar}, nil
}
