package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kms"

	"holdfast/keys/keyfiles/keyfilestest"
	"holdfast/verify/envelope"
)

const kmsKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// recorder stands in for KMS and notes what it is asked.
type recorder struct {
	asked  *kms.EncryptInput
	answer func(*kms.EncryptInput) (*kms.EncryptOutput, error)
}

func (r *recorder) Encrypt(_ context.Context, in *kms.EncryptInput, _ ...func(*kms.Options)) (*kms.EncryptOutput, error) {
	copied := *in
	copied.Plaintext = bytes.Clone(in.Plaintext)
	r.asked = &copied
	return r.answer(in)
}

func encrypted(in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	return &kms.EncryptOutput{KeyId: in.KeyId, CiphertextBlob: []byte("wrapped")}, nil
}

// holding is a holder's folder at work, with every word that the commands print.
type holding struct {
	*terminal
	t       *testing.T
	printed bytes.Buffer
	kms     *recorder
	region  string
}

// hold makes a folder of one key and one client, in a working folder of its own.
func hold(t *testing.T, flags ...string) *holding {
	t.Helper()
	t.Chdir(t.TempDir())
	h := &holding{t: t, kms: &recorder{answer: encrypted}}
	h.terminal = newTerminal(h)
	write(t, "a.json", keyfilestest.Keystore(1, "planted password"))
	write(t, "password", "planted password\n")
	h.want(0, append([]string{"new", "--network", "hoodi", "--tls-name", "signer.example", "--no-passphrase"}, flags...)...)
	h.want(0, "add", "a.json", "--password-file", "password")
	h.want(0, "client", "vc-1")
	return h
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newTerminal makes a terminal that nobody sits at.
func newTerminal(h *holding) *terminal {
	return &terminal{
		stdout: &h.printed, stderr: &h.printed,
		console: func() (console, error) { return nil, errors.New("nobody is there") },
		kms: func(_ context.Context, region, _ string) (encrypter, error) {
			h.region = region
			return h.kms, nil
		},
	}
}

// want runs a command line and wants an exit status.
func (h *holding) want(status int, args ...string) {
	h.t.Helper()
	if got := run(h.t.Context(), h.terminal, args); got != status {
		h.t.Fatalf("keys %s: got status %d, want %d\n%s", strings.Join(args, " "), got, status, &h.printed)
	}
}

func TestKMSEncryptsUnderTheContextOfTheBundle(t *testing.T) {
	h := hold(t, "--kms-key", kmsKey)
	h.want(0, "seal")
	e, b, err := openBundle("bundle.hf", "holdfast/identity.txt")
	if err != nil || len(b.Keys) != 1 {
		t.Fatalf("got %v", err)
	}
	if h.region != "eu-central-1" || *h.kms.asked.KeyId != kmsKey || len(h.kms.asked.Plaintext) != envelope.DataKeySize {
		t.Errorf("asked in %s for %s, %d bytes", h.region, *h.kms.asked.KeyId, len(h.kms.asked.Plaintext))
	}
	digest := e.ConfigurationDigest()
	want := map[string]string{"purpose": purpose, "name": "hoodi", "version": "1", "configuration": hex.EncodeToString(digest[:])}
	for name, value := range want {
		if h.kms.asked.EncryptionContext[name] != value {
			t.Errorf("context %s: got %q, want %q", name, h.kms.asked.EncryptionContext[name], value)
		}
	}
	if len(h.kms.asked.EncryptionContext) != len(want) || e.KMS == nil || string(e.KMS.Ciphertext) != "wrapped" || e.KMS.Key != kmsKey {
		t.Errorf("got %v and %+v", h.kms.asked.EncryptionContext, e.KMS)
	}
}

func TestKMSAloneCanRelease(t *testing.T) {
	h := hold(t, "--kms-key", kmsKey)
	h.want(0, "seal", "--no-age")
	data, err := os.ReadFile("bundle.hf")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := envelope.Parse(data); err != nil || e.Age != nil || e.KMS == nil {
		t.Errorf("got %v", err)
	}
}

func TestEveryBundleHasADataKeyOfItsOwn(t *testing.T) {
	h := hold(t, "--kms-key", kmsKey)
	seen := map[string]bool{}
	for range 3 {
		h.want(0, "seal")
		if seen[string(h.kms.asked.Plaintext)] {
			t.Error("a data key was used twice")
		}
		seen[string(h.kms.asked.Plaintext)] = true
	}
}

func TestNoBundleIsLeftWhereKMSFails(t *testing.T) {
	other := strings.Replace(kmsKey, "1234abcd", "99999999", 1)
	for name, answer := range map[string]func(*kms.EncryptInput) (*kms.EncryptOutput, error){
		"denied": func(*kms.EncryptInput) (*kms.EncryptOutput, error) { return nil, errors.New("AccessDeniedException") },
		"another key": func(*kms.EncryptInput) (*kms.EncryptOutput, error) {
			return &kms.EncryptOutput{KeyId: &other, CiphertextBlob: []byte{1}}, nil
		},
		"no key": func(*kms.EncryptInput) (*kms.EncryptOutput, error) {
			return &kms.EncryptOutput{CiphertextBlob: []byte{1}}, nil
		},
		"no blob": func(in *kms.EncryptInput) (*kms.EncryptOutput, error) {
			return &kms.EncryptOutput{KeyId: in.KeyId}, nil
		},
		"a huge blob": func(in *kms.EncryptInput) (*kms.EncryptOutput, error) {
			return &kms.EncryptOutput{KeyId: in.KeyId, CiphertextBlob: make([]byte, 1<<20)}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := hold(t, "--kms-key", kmsKey)
			h.kms.answer = answer
			h.want(exitFailed, "seal")
			if _, err := os.Stat("bundle.hf"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v", err)
			}
			h.kms.answer = encrypted
			h.want(0, "seal")
			if data, err := os.ReadFile("bundle.hf"); err != nil || !strings.Contains(h.printed.String(), "version 2 for hoodi") {
				t.Errorf("got %d bytes, %v: the version was used twice", len(data), err)
			}
		})
	}
}

// The client of AWS's SDK, against a server that takes the wire's form apart.
func TestTheRequestToKMSIsSignedAndWhole(t *testing.T) {
	h := hold(t, "--kms-key", kmsKey)
	var target, authorization string
	var body struct {
		KeyId             string
		Plaintext         []byte
		EncryptionContext map[string]string
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target, authorization = r.Header.Get("X-Amz-Target"), r.Header.Get("Authorization")
		data, _ := io.ReadAll(r.Body)
		json.Unmarshal(data, &body)
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		json.NewEncoder(w).Encode(map[string]any{"KeyId": body.KeyId, "CiphertextBlob": []byte("wrapped")})
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "planted-aws-secret",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	h.terminal.kms = newKMS
	h.want(0, "seal", "--endpoint-url", server.URL)
	if target != "TrentService.Encrypt" || !strings.Contains(authorization, "/eu-central-1/kms/aws4_request") {
		t.Errorf("got %q, %q", target, authorization)
	}
	if body.KeyId != kmsKey || len(body.Plaintext) != envelope.DataKeySize || body.EncryptionContext["version"] != "1" {
		t.Errorf("got key %s, %d bytes, %v", body.KeyId, len(body.Plaintext), body.EncryptionContext)
	}
}

func TestAnInterruptedSealLeavesNoBundle(t *testing.T) {
	h := hold(t, "--kms-key", kmsKey)
	ctx, cancel := context.WithCancel(t.Context())
	h.kms.answer = func(in *kms.EncryptInput) (*kms.EncryptOutput, error) {
		cancel()
		return encrypted(in)
	}
	if status := run(ctx, h.terminal, []string{"seal"}); status != exitFailed {
		t.Errorf("got %d", status)
	}
	if _, err := os.Stat("bundle.hf"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// Secrets that are planted by all ways in come out by none, and no file but those
// that are keys themselves shows one.
func TestNoSecretIsPrintedOrLeftInClear(t *testing.T) {
	h := hold(t, "--kms-key", kmsKey, "--keymanager-token", writeToken(t),
		"--slashing-table", "arn:aws:dynamodb:eu-central-1:111122223333:table/slashing", "--slashing-credentials", writeCredentials(t))
	write(t, "words", strings.Repeat("abandon ", 11)+"about\n")
	h.want(0, "generate", "--withdrawal", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "--mnemonic-from", "words", "--start", "0", "--deposits", "d.json")
	h.want(0, "seal")
	h.want(0, "show", "bundle.hf", "--json", "--keys")
	h.want(0, "list")
	h.want(0, "rotate-tls")
	write(t, "bad.yaml", "type: file-raw\nprivateKey: planted")
	h.want(exitMalformed, "add", "bad.yaml")
	h.want(exitPassword, "add", keystoreOf(t, 2), "--password-file", "password")
	_, b, err := openBundle("bundle.hf", "holdfast/identity.txt")
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{
		"planted", "abandon", string(b.SlashingKey.Reveal()), hex.EncodeToString(b.SlashingKey.Reveal()),
		string(b.Token.Reveal()), string(b.Store.SecretAccessKey.Reveal()), string(b.Identity.Key.Reveal()),
		string(h.kms.asked.Plaintext), hex.EncodeToString(h.kms.asked.Plaintext), "AGE-SECRET-KEY",
		strings.Repeat("0", 62) + "01",
	}
	clear := func(where, text string) {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("%s shows a secret, %.8q…", where, s)
			}
		}
	}
	clear("the output", h.printed.String())
	for _, name := range []string{"bundle.hf", "d.json"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		clear(name, string(data))
	}
	err = filepath.WalkDir("holdfast", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "identity.txt" {
			return err
		}
		data, err := os.ReadFile(path)
		clear(path, string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func writeToken(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "token")
	write(t, name, "planted-token-0123456789abcdef0123456789abcdef\n")
	return name
}

func writeCredentials(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "credentials.json")
	write(t, name, `{"AccessKey":{"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"plantedUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY0"}}`)
	return name
}

// keystoreOf makes a keystore whose password is another.
func keystoreOf(t *testing.T, n byte) string {
	name := filepath.Join(t.TempDir(), "other.json")
	write(t, name, keyfilestest.Keystore(n, "another planted password"))
	return name
}

func TestAnInterruptionSaysSo(t *testing.T) {
	h := hold(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.printed.Reset()
	if status := run(ctx, h.terminal, []string{"add", "a.json", "--password-file", "password"}); status != exitFailed || h.printed.String() != "keys: interrupted\n" {
		t.Errorf("got %d, %s", status, &h.printed)
	}
}
