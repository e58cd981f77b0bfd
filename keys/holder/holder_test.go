package holder_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/keys/holder"
)

const planted = "planted-secret-planted-secret-00"

func secrets(validators int) *holder.Secrets {
	s := &holder.Secrets{
		Authority: []byte("CA"), AuthorityKey: secret.New([]byte(planted + "ca")), Certificate: []byte("PEM"), Key: secret.New([]byte(planted + "tls")),
		SlashingKey: secret.New([]byte(planted)), Token: secret.New([]byte(planted + "token")),
		AccessKeyID: "AKIA", SecretAccessKey: secret.New([]byte(planted + "aws")),
	}
	for i := range validators {
		s.Add(holder.Validator{PublicKey: bls.PublicKey{byte(i >> 8), byte(i)}, Scalar: secret.New([]byte(planted))})
	}
	return s
}

func contents() holder.Contents {
	return holder.Contents{
		Name: "hoodi", Configuration: []byte("{}\n"), Secrets: secrets(3),
		Files: map[string][]byte{"ca.pem": []byte("CA")}, Private: map[string][]byte{"operator.pem": []byte("OP")},
	}
}

func noPassphrase() (secret.Bytes, error) {
	return secret.Bytes{}, errors.New("asked for a passphrase")
}

// create makes a folder and returns its path.
func create(t *testing.T, c holder.Contents) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a", "holdfast")
	if err := holder.Create(dir, c); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, dir string) *holder.Folder {
	t.Helper()
	f, err := holder.Open(dir, noPassphrase)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func TestAFolderGivesBackWhatItWasMadeOf(t *testing.T) {
	dir := create(t, contents())
	f := open(t, dir)
	got, err := f.Secrets()
	if err != nil {
		t.Fatal(err)
	}
	one, err := got.Encode()
	two, err2 := secrets(3).Encode()
	if err != nil || err2 != nil || !bytes.Equal(one, two) {
		t.Errorf("got other secrets: %v, %v", err, err2)
	}
	configuration, err := f.Configuration()
	if err != nil || string(configuration) != "{}\n" || f.Name() != "hoodi" || f.Version() != 0 {
		t.Errorf("got %s, %v, %s, %d", configuration, err, f.Name(), f.Version())
	}
	for name, mode := range map[string]fs.FileMode{
		"identity.txt": 0o600, "secrets.age": 0o600, "operator.pem": 0o600, "configuration.json": 0o644, "ca.pem": 0o644, "recipients.txt": 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: got %v, %v", name, info, err)
		}
	}
}

func TestNothingInTheFolderShowsASecret(t *testing.T) {
	dir := create(t, contents())
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("planted")) {
			t.Errorf("%s shows a secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if shown := fmt.Sprintf("%+v", secrets(2)); strings.Contains(shown, "planted") {
		t.Errorf("got %s", shown)
	}
}

func TestAFolderIsMadeOnceAndWhole(t *testing.T) {
	dir := create(t, contents())
	if err := holder.Create(dir, contents()); err == nil {
		t.Error("made over another")
	}
	for name, change := range map[string]func(*holder.Contents){
		"a bad name":       func(c *holder.Contents) { c.Name = "Hoodi!" },
		"a bad recipient":  func(c *holder.Contents) { c.Recipients = []string{"age1nobody"} },
		"a huge secret":    func(c *holder.Contents) { c.Secrets.Certificate = make([]byte, 1<<20) },
		"a weak recipient": func(c *holder.Contents) { c.Recipients = []string{weakRecipient(t)} },
	} {
		c, dir := contents(), filepath.Join(t.TempDir(), "holdfast")
		change(&c)
		if err := holder.Create(dir, c); err == nil {
			t.Errorf("%s was taken", name)
		}
		if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) > 0 {
			t.Errorf("%s left %v", name, entries)
		}
	}
}

func weakRecipient(t *testing.T) string {
	t.Helper()
	weak, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return weak.Recipient().String()
}

func TestOneProcessWorksInAFolderAtATime(t *testing.T) {
	dir := create(t, contents())
	f := open(t, dir)
	if _, err := holder.Open(dir, noPassphrase); err == nil || !strings.Contains(err.Error(), "another keys command") {
		t.Errorf("got %v", err)
	}
	f.Close()
	open(t, dir)
}

func TestAPassphraseIsAskedForAndMustBeRight(t *testing.T) {
	c := contents()
	c.Passphrase = secret.New([]byte("open sesame"))
	dir := create(t, c)
	file, err := os.ReadFile(filepath.Join(dir, "identity.txt"))
	if err != nil || bytes.Contains(file, []byte("AGE-SECRET-KEY")) {
		t.Errorf("got %s, %v", file, err)
	}
	for text, want := range map[string]error{"open sesame": nil, "open": holder.ErrPassphrase, "": holder.ErrPassphrase} {
		f, err := holder.Open(dir, func() (secret.Bytes, error) { return secret.New([]byte(text)), nil })
		if !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", text, err, want)
		}
		if err == nil {
			f.Close()
		}
	}
	if _, err := holder.Open(dir, noPassphrase); err == nil || !strings.Contains(err.Error(), "asked for") {
		t.Errorf("got %v", err)
	}
}

func TestAVersionIsTakenForGood(t *testing.T) {
	dir := create(t, contents())
	seen := map[uint64]bool{}
	for range 5 {
		f, err := holder.Open(dir, noPassphrase)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			version, err := f.TakeVersion()
			if err != nil || seen[version] || version != uint64(len(seen)+1) || f.Version() != version {
				t.Fatalf("got %d, %v after %v", version, err, seen)
			}
			seen[version] = true
		}
		f.Close()
	}
}

func TestAWriteThatFailsLeavesWhatWasThere(t *testing.T) {
	dir := create(t, contents())
	f := open(t, dir)
	// A folder with something in it cannot be replaced by a file, not even by root.
	state := filepath.Join(dir, "state.json")
	if err := errors.Join(os.Remove(state), os.MkdirAll(filepath.Join(state, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if version, err := f.TakeVersion(); err == nil || f.Version() != 0 {
		t.Errorf("got version %d, %v", version, err)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".holdfast-tmp-*")); err != nil || len(entries) > 0 {
		t.Errorf("left %v, %v", entries, err)
	}
}

func TestWhatAnInterruptionLeftIsRemoved(t *testing.T) {
	dir := create(t, contents())
	left := filepath.Join(dir, ".holdfast-tmp-123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestADamagedFolderIsRefused(t *testing.T) {
	for name, damage := range map[string]struct {
		file, content string
		read          func(*holder.Folder) error
	}{
		"no identity":         {"identity.txt", "", nil},
		"a weak identity":     {"identity.txt", "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX\n", nil},
		"a damaged armor":     {"identity.txt", "-----BEGIN AGE ENCRYPTED FILE-----\nx\n-----END AGE ENCRYPTED FILE-----\n", nil},
		"no state":            {"state.json", "", nil},
		"an unknown field":    {"state.json", `{"name":"hoodi","version":1,"other":2}`, nil},
		"a bad name":          {"state.json", `{"name":"","version":1}`, nil},
		"two states":          {"state.json", `{"name":"a","version":1}{}`, nil},
		"damaged secrets":     {"secrets.age", "age-encryption.org/v1\n", func(f *holder.Folder) error { _, err := f.Secrets(); return err }},
		"a damaged recipient": {"recipients.txt", "age1pq1x\n", func(f *holder.Folder) error { _, err := f.Recipients(); return err }},
		"no recipient":        {"recipients.txt", "# none\n", func(f *holder.Folder) error { _, err := f.Recipients(); return err }},
		"a huge recipient":    {"recipients.txt", strings.Repeat("#", 1<<17), func(f *holder.Folder) error { _, err := f.Recipients(); return err }},
	} {
		t.Run(name, func(t *testing.T) {
			dir := create(t, contents())
			if err := os.WriteFile(filepath.Join(dir, damage.file), []byte(damage.content), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := holder.Open(dir, func() (secret.Bytes, error) { return secret.New([]byte("x")), nil })
			if err == nil {
				defer f.Close()
				if damage.read != nil {
					err = damage.read(f)
				}
			}
			if err == nil || strings.Contains(err.Error(), "GFPYYSJZ") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRecipientsMayBeAdded(t *testing.T) {
	other, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	c := contents()
	c.Recipients = []string{other.Recipient().String()}
	f := open(t, create(t, c))
	recipients, err := f.Recipients()
	if err != nil || len(recipients) != 2 {
		t.Fatalf("got %d, %v", len(recipients), err)
	}
	if !f.IsOwn(recipients) || !f.IsOwn(recipients[:1]) || f.IsOwn(recipients[1:]) {
		t.Error("the folder does not know its own recipient")
	}
	if err := holder.CheckRecipients(c.Recipients); err != nil {
		t.Error(err)
	}
	if err := holder.CheckRecipients([]string{weakRecipient(t)}); err == nil {
		t.Error("a weak recipient was taken")
	}
}

// Whatever the order, validators are kept ascending and once.
func TestValidatorsAreKeptInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	s, model := &holder.Secrets{}, map[bls.PublicKey]bool{}
	for range 2000 {
		key := bls.PublicKey{0: byte(random.IntN(4)), 47: byte(random.IntN(50))}
		if random.IntN(3) == 0 {
			if s.Remove(key) != model[key] {
				t.Fatalf("removing %v: want %t", key, model[key])
			}
			delete(model, key)
		} else {
			if s.Add(holder.Validator{PublicKey: key, Scalar: secret.New(make([]byte, 32))}) == model[key] {
				t.Fatalf("adding %v: want %t", key, !model[key])
			}
			model[key] = true
		}
		if s.Has(key) != model[key] || len(s.Validators) != len(model) {
			t.Fatalf("got %d, want %d", len(s.Validators), len(model))
		}
	}
	for i := 1; i < len(s.Validators); i++ {
		if bytes.Compare(s.Validators[i-1].PublicKey[:], s.Validators[i].PublicKey[:]) >= 0 {
			t.Fatal("out of order")
		}
	}
}

func TestTooManyValidatorsAreNotWritten(t *testing.T) {
	s := &holder.Secrets{Validators: make([]holder.Validator, holder.MaxValidators+1)}
	if _, err := s.Encode(); err == nil {
		t.Error("written")
	}
}

func FuzzParseSecrets(f *testing.F) {
	for _, n := range []int{0, 1, 3} {
		data, err := secrets(n).Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		f.Add(data[:len(data)-1])
		f.Add(append(data, 0))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := holder.ParseSecrets(data)
		if (err == nil) != (s != nil) {
			t.Fatalf("got %v and %v", s, err)
		}
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil || !reflect.DeepEqual(again, data) {
			t.Fatalf("read and written, %x is %x, %v", data, again, err)
		}
	})
}
