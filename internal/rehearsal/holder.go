package rehearsal

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"holdfast/enclave/ethereum/bls"
)

// A Holder plays the key holder: a folder of `keys` with one validator's key, and one validator client. Its
// identity has no passphrase, since nobody is there to type one, and it is thrown away with the run.
type Holder struct {
	Key    bls.PublicKey
	Bundle string // the sealed bundle's file, once Seal has made it

	run    *Run
	folder string
}

// The validator client, and what the deposit data of a key that nobody deposits for says.
const (
	clientName = "vc-1"
	withdrawal = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" // an example of ERC-55
)

// NewHolder starts a folder, makes a key, and a certificate for the validator client. The flags go to keys new.
func (r *Run) NewHolder(ctx context.Context, name string, flags ...string) (*Holder, error) {
	h := &Holder{run: r, folder: name, Bundle: name + ".hf"}
	for _, args := range [][]string{
		append([]string{"new", "--tls-name", "127.0.0.1", "--no-passphrase"}, flags...),
		{"generate", "--withdrawal", withdrawal, "--mnemonic-file", name + ".mnemonic", "--deposits", name + ".deposits.json"},
		{"client", clientName, "--for", "lighthouse"},
	} {
		if _, err := h.keys(ctx, args...); err != nil {
			return nil, err
		}
	}
	list, err := h.keys(ctx, "list")
	if err != nil {
		return nil, err
	}
	return h, h.readKey(strings.TrimSpace(list))
}

// keys runs keys on the folder.
func (h *Holder) keys(ctx context.Context, args ...string) (string, error) {
	return h.run.Output(ctx, "keys", append(args, "--dir", h.folder)...)
}

func (h *Holder) readKey(s string) error {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || len(digits) != 2*len(h.Key) {
		return fmt.Errorf("keys list printed %q, want one public key", s)
	}
	_, err := hex.Decode(h.Key[:], []byte(digits))
	return err
}

// Edit changes the folder's configuration, as an editor would.
func (h *Holder) Edit(change func(configuration map[string]any)) error {
	name := h.run.Path(h.folder, "configuration.json")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var configuration map[string]any
	if err := json.Unmarshal(text, &configuration); err != nil {
		return err
	}
	change(configuration)
	if text, err = json.MarshalIndent(configuration, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o644)
}

// Seal seals the bundle and returns what keys says of it.
func (h *Holder) Seal(ctx context.Context) (string, error) {
	return h.keys(ctx, "seal", "--out", h.Bundle)
}

// A Verification is what verify finds out about an enclave.
type Verification struct {
	Verdict    string
	Emulated   bool
	Checks     []Check
	PublicKeys []string `json:"public_keys"`
}

// A Check is one line of verify's report.
type Check struct{ ID, What, Expected, Got, Verdict string }

// failures names the checks that failed.
func (v *Verification) failures() error {
	var errs []error
	for _, c := range v.Checks {
		if c.Verdict == "fail" {
			errs = append(errs, fmt.Errorf("%s %s: got %s, want %s", c.ID, c.What, c.Got, c.Expected))
		}
	}
	return errors.Join(errs...)
}

// Verify makes every check of an enclave and of the bundle's configuration in it, and keeps its certificate
// in a file of that name.
func (h *Holder) Verify(ctx context.Context, m *Machine, certificate string) (Verification, error) {
	return h.verify(ctx, "live", "--bundle", h.Bundle, "--save-certificate", certificate, m.URL)
}

// Release makes every check again and then releases the bundle's data key.
func (h *Holder) Release(ctx context.Context, m *Machine) error {
	v, err := h.verify(ctx, "release", "--identity", filepath.Join(h.folder, "identity.txt"), m.URL, h.Bundle)
	if err != nil {
		return err
	}
	if len(v.PublicKeys) != 1 || v.PublicKeys[0] != h.Key.String() {
		return fmt.Errorf("the enclave says that it signs for %v, want %s", v.PublicKeys, h.Key)
	}
	return nil
}

func (h *Holder) verify(ctx context.Context, command string, args ...string) (Verification, error) {
	var v Verification
	flags := []string{command, "--unsafe-accept-emulated", "--json", "--pcrs", h.run.Published()}
	if err := h.run.JSON(ctx, &v, "verify", append(flags, args...)...); err != nil {
		return v, errors.Join(err, v.failures())
	}
	if !v.Emulated {
		return v, errors.New("the emulator's document was not recognised as emulated")
	}
	return v, nil
}

// Unlock waits until the machine's enclave has taken the bundle, releases its data key, and waits until the
// enclave serves.
func (h *Holder) Unlock(ctx context.Context, m *Machine) (Status, error) {
	if _, err := m.Await(ctx, WaitingForDataKey); err != nil {
		return Status{}, err
	}
	if err := h.Release(ctx, m); err != nil {
		return Status{}, err
	}
	return m.Await(ctx, Serving)
}
