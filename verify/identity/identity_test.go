package identity_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"golang.org/x/crypto/ssh"

	"holdfast/verify/identity"
)

func never(string) ([]byte, error) { return nil, errors.New("asked for a passphrase") }

func says(passphrase string) identity.Passphrase {
	return func(string) ([]byte, error) { return []byte(passphrase), nil }
}

func write(t *testing.T, data []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "identity")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// opens encrypts to a recipient and decrypts with what a file holds.
func opens(t *testing.T, recipient age.Recipient, file []byte, passphrase identity.Passphrase) {
	t.Helper()
	identities, err := identity.Load([]string{write(t, file)}, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "message"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := age.Decrypt(&out, identities...)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "message" {
		t.Errorf("got %q, %v", got, err)
	}
}

func protect(t *testing.T, plaintext, passphrase string) []byte {
	t.Helper()
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(10)
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, plaintext); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func armored(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := armor.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestEveryKindOfIdentityOpens(t *testing.T) {
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	locked, err := ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	sshIdentity, err := agessh.NewEd25519Identity(key)
	if err != nil {
		t.Fatal(err)
	}
	text := "# created: 2026\n" + hybrid.String() + "\n"
	opens(t, classic.Recipient(), []byte(classic.String()+"\n"), never)
	opens(t, hybrid.Recipient(), []byte(text), never)
	opens(t, hybrid.Recipient(), protect(t, text, "correct horse"), says("correct horse"))
	opens(t, hybrid.Recipient(), append([]byte("\n"), armored(t, protect(t, text, "correct horse"))...), says("correct horse"))
	opens(t, sshIdentity.Recipient(), pem.EncodeToMemory(block), never)
	opens(t, sshIdentity.Recipient(), pem.EncodeToMemory(locked), says("correct horse"))
}

func TestAFileOfNoIdentityIsRefused(t *testing.T) {
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	const planted = "planted-secret"
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":                      {nil, "no identities"},
		"something else":             {[]byte(planted), "line 1"},
		"too large":                  {bytes.Repeat([]byte("#"), identity.MaxSize+1), "more than 65536 bytes"},
		"a wrong passphrase":         {protect(t, hybrid.String(), "correct horse"), "wrong passphrase"},
		"no identity, protected":     {protect(t, planted, "wrong"), "line 1"},
		"an SSH key of another type": {pem.EncodeToMemory(block), "type ssh-ed25519"},
		"PEM of something else":      {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE"}), "ssh"},
	} {
		_, err := identity.Load([]string{write(t, test.data)}, says("wrong"))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "identity file") || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if _, err := identity.Load(nil, never); err == nil {
		t.Error("no file at all: no error")
	}
	if _, err := identity.Load([]string{"nowhere"}, never); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := identity.Load([]string{write(t, protect(t, hybrid.String(), "x"))}, never); err == nil || !strings.Contains(err.Error(), "asked for a passphrase") {
		t.Errorf("got %v", err)
	}
}
