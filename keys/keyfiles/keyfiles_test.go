package keyfiles_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/keys/keyfiles"
	"holdfast/keys/keyfiles/keyfilestest"
)

const abandon = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"

func newKeystore(_ testing.TB, n byte, password string) string {
	return keyfilestest.Keystore(n, password)
}

func publicKey(_ testing.TB, n byte) bls.PublicKey { return keyfilestest.PublicKey(n) }

// write makes a folder of files.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var opener = keyfiles.Opener{Memory: 1 << 20, Workers: 2}

// open finds and opens, and wants keys of the scalars, in order.
func open(t *testing.T, paths []string, p keyfiles.Passwords, want ...byte) {
	t.Helper()
	sources, err := keyfiles.Find(paths, p)
	if err != nil {
		t.Fatal(err)
	}
	results, err := opener.Open(t.Context(), sources)
	if err != nil || len(results) != len(want) {
		t.Fatalf("got %d keys, %v; want %d", len(results), err, len(want))
	}
	for i, n := range want {
		r := results[i]
		if r.Err != nil || r.Validator.PublicKey != publicKey(t, n) || r.Validator.Scalar.Len() != 32 || r.Validator.Scalar.Reveal()[31] != n {
			t.Errorf("key %d: got %v, %v", i, r.Validator.PublicKey, r.Err)
		}
	}
}

func TestKeystoresWithOnePasswordAreFound(t *testing.T) {
	dir := write(t, map[string]string{
		"keystore-m_12381_3600_0_0_0.json": newKeystore(t, 1, "same"),
		"keystore-m_12381_3600_1_0_0.json": newKeystore(t, 2, "same"),
		"deposit_data-1700000000.json":     "[]", "slashing_protection.json": "{}", "README.txt": "x", "password": "same\n",
	})
	p := keyfiles.Passwords{File: filepath.Join(dir, "password")}
	open(t, []string{dir}, p, 1, 2)
	open(t, []string{filepath.Join(dir, "keystore-m_12381_3600_1_0_0.json")}, p, 2)
}

func TestAFileNamedTwiceIsTakenOnce(t *testing.T) {
	dir := write(t, map[string]string{"a.json": newKeystore(t, 1, "same"), "password": "same\r\n"})
	open(t, []string{dir, filepath.Join(dir, "a.json"), dir + "/."}, keyfiles.Passwords{File: filepath.Join(dir, "password")}, 1)
}

func TestWeb3SignersFolderOfPasswordsIsRead(t *testing.T) {
	dir := write(t, map[string]string{
		"keystores/a.json": newKeystore(t, 1, "one"), "keystores/b.json": newKeystore(t, 2, "two"),
		"passwords/a.txt": "one", "passwords/b.txt": "two\n",
	})
	open(t, []string{dir + "/keystores"}, keyfiles.Passwords{Dir: dir + "/passwords"}, 1, 2)
}

func TestLighthousesFoldersAreRead(t *testing.T) {
	one, two := publicKey(t, 1).String(), publicKey(t, 2).String()
	dir := write(t, map[string]string{
		"validators/x-" + one + "/voting-keystore.json": newKeystore(t, 1, "one"),
		"validators/y-" + two + "/voting-keystore.json": newKeystore(t, 2, "two"),
		"validators/deep/er/voting-keystore.json":       "not reached",
		"secrets/" + one: "one", "secrets/" + two: "two",
	})
	open(t, []string{dir + "/validators"}, keyfiles.Passwords{Dir: dir + "/secrets"}, 1, 2)
}

func TestWeb3SignersKeyFolderIsRead(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": fmt.Sprintf("---\ntype: file-raw\nkeyType: \"BLS\"\nprivateKey: \"0x%064x\" # a key\n---\n# another\n\"type\": 'file-raw'\nprivateKey: %064x\n", 1, 2),
		"b.yml":  "type: file-keystore\nkeyType: BLS\nkeystoreFile: sub/c.json\r\nkeystorePasswordFile: sub/c.password\n",
		"d.json": newKeystore(t, 9, "not taken: only what the configuration names is"), "sub/c.json": newKeystore(t, 3, "three"), "sub/c.password": "three",
	})
	open(t, []string{dir}, keyfiles.Passwords{}, 1, 2, 3)
}

func TestAProblemNamesItsFileAndNoSecret(t *testing.T) {
	planted := strings.Repeat("5eC2e7", 11)[:64]
	for name, c := range map[string]struct {
		files     map[string]string
		passwords keyfiles.Passwords
		want      string
	}{
		"a mnemonic":               {map[string]string{"a.json": abandon + "\n"}, keyfiles.Passwords{File: "x"}, "a.json: malformed: this is a mnemonic"},
		"no JSON":                  {map[string]string{"a.json": planted}, keyfiles.Passwords{File: "x"}, "a.json: malformed: this is no EIP-2335 keystore"},
		"no keystore":              {map[string]string{"a.json": `{"privateKey":"` + planted + `"}`}, keyfiles.Passwords{File: "x"}, "a.json: malformed"},
		"a huge file":              {map[string]string{"a.json": strings.Repeat(" ", 1<<17)}, keyfiles.Passwords{File: "x"}, "more than"},
		"no password":              {map[string]string{"a.json": newKeystore(t, 1, "x")}, keyfiles.Passwords{}, "want a password"},
		"no password in a folder":  {map[string]string{"a.json": newKeystore(t, 1, "x")}, keyfiles.Passwords{Dir: "nowhere"}, "looked for a.txt"},
		"nothing":                  {map[string]string{"a": "x"}, keyfiles.Passwords{}, "found no key"},
		"a vault's key":            {map[string]string{"a.yaml": "type: hashicorp\ntoken: " + planted}, keyfiles.Passwords{}, `a.yaml: malformed: a key of type "hashicorp"`},
		"another curve":            {map[string]string{"a.yaml": "type: file-raw\nkeyType: SECP256K1\nprivateKey: " + planted}, keyfiles.Passwords{}, "want BLS"},
		"a short key":              {map[string]string{"a.yaml": "type: file-raw\nprivateKey: " + planted[:62]}, keyfiles.Passwords{}, "64 hexadecimal digits"},
		"no digits":                {map[string]string{"a.yaml": "type: file-raw\nprivateKey: " + "zz" + planted[2:]}, keyfiles.Passwords{}, "64 hexadecimal digits"},
		"an unknown field":         {map[string]string{"a.yaml": "type: file-raw\nkey: " + planted}, keyfiles.Passwords{}, `field "key" is not known`},
		"no type":                  {map[string]string{"a.yaml": "privateKey: " + planted}, keyfiles.Passwords{}, "want a type"},
		"no password file":         {map[string]string{"a.yaml": "type: file-keystore\nkeystoreFile: a.json"}, keyfiles.Passwords{}, "keystorePasswordFile"},
		"a nested value":           {map[string]string{"a.yaml": "type:\n  file-raw: " + planted}, keyfiles.Passwords{}, "line 1: want a value"},
		"a list":                   {map[string]string{"a.yaml": "- " + planted}, keyfiles.Passwords{}, "line 1: want name: value"},
		"a field twice":            {map[string]string{"a.yaml": "type: file-raw\ntype: " + planted}, keyfiles.Passwords{}, "line 2: type comes twice"},
		"an empty configuration":   {map[string]string{"a.yaml": "# none\n---\n"}, keyfiles.Passwords{}, "describes no key"},
		"the second of two is bad": {map[string]string{"a.yaml": fmt.Sprintf("type: file-raw\nprivateKey: %064x\n---\ntype: file-raw\nprivateKey: x", 1)}, keyfiles.Passwords{}, "a.yaml (key 2)"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := keyfiles.Find([]string{write(t, c.files)}, c.passwords)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if strings.Contains(err.Error(), planted[:16]) || strings.Contains(err.Error(), "abandon") {
				t.Errorf("%v shows a secret", err)
			}
		})
	}
}

func TestEachBadKeyHasItsOwnError(t *testing.T) {
	dir := write(t, map[string]string{
		"a.json": newKeystore(t, 1, "right"), "b.json": newKeystore(t, 2, "wrong"),
		"c.json": strings.Replace(newKeystore(t, 3, "right"), publicKey(t, 3).String()[2:], publicKey(t, 4).String()[2:], 1),
		"d.yml":  "x", "password": "right",
	})
	if _, err := keyfiles.Find([]string{dir, dir + "/none"}, keyfiles.Passwords{}); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("got %v, want two problems", err)
	}
	paths := []string{dir + "/a.json", dir + "/b.json", dir + "/c.json"}
	sources, err := keyfiles.Find(paths, keyfiles.Passwords{File: dir + "/password"})
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	counting := opener
	counting.Progress = func(done, total int) {
		if done != last+1 || total != 3 {
			t.Errorf("got %d of %d after %d", done, total, last)
		}
		last = done
	}
	results, err := counting.Open(t.Context(), sources)
	if err != nil || results[0].Err != nil || !errors.Is(results[1].Err, keystore.ErrPassword) || results[2].Err == nil ||
		!strings.Contains(results[2].Err.Error(), "claims public key") || last != 3 {
		t.Errorf("got %v, %v, %v; %d done", err, results[1].Err, results[2].Err, last)
	}
}

func TestAKeyOfZeroIsRefused(t *testing.T) {
	dir := write(t, map[string]string{"a.yaml": fmt.Sprintf("type: file-raw\nprivateKey: %064x", 0)})
	sources, err := keyfiles.Find([]string{dir}, keyfiles.Passwords{})
	if err != nil {
		t.Fatal(err)
	}
	results, err := opener.Open(t.Context(), sources)
	if err != nil || !errors.Is(results[0].Err, keyfiles.ErrMalformed) {
		t.Errorf("got %v, %v", err, results[0].Err)
	}
}

func TestAnInterruptionEndsTheOpening(t *testing.T) {
	dir := write(t, map[string]string{"a.json": newKeystore(t, 1, "x"), "b.json": newKeystore(t, 2, "x"), "password": "x"})
	sources, err := keyfiles.Find([]string{dir}, keyfiles.Passwords{File: dir + "/password"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if results, err := opener.Open(ctx, sources); !errors.Is(err, context.Canceled) || results != nil {
		t.Errorf("got %v, %v", results, err)
	}
}

func FuzzFindInYAML(f *testing.F) {
	f.Add(fmt.Sprintf("---\ntype: file-raw\nkeyType: \"BLS\"\nprivateKey: \"0x%064x\" # a key\n---\n", 1))
	f.Add("type: file-keystore\nkeystoreFile: c.json\nkeystorePasswordFile: c\n")
	f.Add("a: |\n  b")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "a.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		sources, err := keyfiles.Find([]string{path}, keyfiles.Passwords{})
		if (err == nil) != (len(sources) > 0) {
			t.Fatalf("got %d keys and %v", len(sources), err)
		}
	})
}
