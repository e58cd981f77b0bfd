package release_test

import (
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/enclavetest"
	"holdfast/verify/release"
)

const secret = `{"secret_key":"0x2222"}`

// opened starts an enclave and a channel that has seen it.
func opened(t *testing.T, options enclavetest.Options) (*enclavetest.Enclave, *channel.Channel) {
	t.Helper()
	e, err := enclavetest.Start(func([]byte, []byte) ([]byte, error) { return []byte("document"), nil }, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := channel.Open(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Get(t.Context(), "/", 1<<10); err != nil {
		t.Fatal(err)
	}
	return e, c
}

func seal(t *testing.T, b binding.Binding) []byte {
	t.Helper()
	sealed, err := release.Seal(release.KeyFile(secret), b)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestASealedKeyFileOpensInItsEnclaveOnly(t *testing.T) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b := binding.Binding{TLSKey: []byte("TLS"), HPKEKey: key.PublicKey().Bytes()}
	sealed := seal(t, b)
	open := func(b binding.Binding) ([]byte, error) {
		return hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), binding.ReleaseInfo(b.Digest()), sealed)
	}
	if got, err := open(b); err != nil || string(got) != secret {
		t.Errorf("got %q %v", got, err)
	}
	other := b
	other.TLSKey = []byte("another TLS key")
	if _, err := open(other); err == nil {
		t.Error("opened under another binding")
	}
	if strings.Contains(string(sealed), "secret_key") {
		t.Error("not encrypted")
	}
}

func TestSealRefuses(t *testing.T) {
	good, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b := binding.Binding{TLSKey: []byte("TLS"), HPKEKey: good.PublicKey().Bytes()}
	for name, test := range map[string]struct {
		file release.KeyFile
		b    binding.Binding
	}{
		"an empty file":     {nil, b},
		"too large a file":  {make([]byte, release.MaxKeyFileSize+1), b},
		"the zero binding":  {release.KeyFile(secret), binding.Binding{}},
		"a short HPKE key":  {release.KeyFile(secret), binding.Binding{HPKEKey: b.HPKEKey[1:]}},
		"a broken HPKE key": {release.KeyFile(secret), binding.Binding{HPKEKey: []byte(strings.Repeat("\xff", binding.HPKEKeySize))}},
	} {
		if _, err := release.Seal(test.file, test.b); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestSendReturnsThePublicKeysOnce(t *testing.T) {
	e, c := opened(t, enclavetest.Options{})
	keys, err := release.Send(t.Context(), c, seal(t, e.Binding()))
	if err != nil || len(keys) != 1 || keys[0] != enclavetest.PublicKey {
		t.Fatalf("got %v %v", keys, err)
	}
	if got := e.Released(); string(got) != secret {
		t.Errorf("the enclave got %q", got)
	}
	if _, err := release.Send(t.Context(), c, seal(t, e.Binding())); !errors.Is(err, release.ErrReleased) {
		t.Errorf("got %v, want %v", err, release.ErrReleased)
	}
}

func TestSendRefusesAnotherTLSKey(t *testing.T) {
	e, c := opened(t, enclavetest.Options{SecondKey: true})
	e.CloseConnections()
	if _, err := release.Send(t.Context(), c, seal(t, e.Binding())); err == nil || e.Released() != nil {
		t.Errorf("got %v, released %v", err, e.Released() != nil)
	}
}

func TestSendRefusesAChannelThatHasSeenNothing(t *testing.T) {
	c, err := channel.Open("https://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := release.Send(t.Context(), c, []byte("sealed")); err == nil || !strings.Contains(err.Error(), "verified nothing") {
		t.Errorf("got %v", err)
	}
}

func TestSendRefusesOddAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		status     int
		body, want string
	}{
		"malformed sealed file": {http.StatusBadRequest, `{"error":"not sealed to this enclave","code":400}`, "not sealed to this enclave"},
		"no key":                {http.StatusOK, `{"public_keys":[]}`, "names no public key"},
		"a short key":           {http.StatusOK, `{"public_keys":["0x12"]}`, "want 0x and 96"},
		"a key without 0x":      {http.StatusOK, `{"public_keys":["` + enclavetest.PublicKey[2:] + `"]}`, "want 0x and 96"},
		"something else":        {http.StatusOK, `{"keys":[]}`, "malformed JSON"},
	} {
		_, c := opened(t, enclavetest.Options{Handle: func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			w.WriteHeader(test.status)
			_, _ = w.Write([]byte(test.body))
			return true
		}})
		if _, err := release.Send(t.Context(), c, []byte("sealed")); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func TestAKeyFileDoesNotShowItself(t *testing.T) {
	k := release.KeyFile(secret)
	for _, format := range []string{"%v", "%s", "%x", "%q", "%d", "%+v", "%#v"} {
		if got := fmt.Sprintf(format, k); got != "[redacted]" {
			t.Errorf("%s: got %s", format, got)
		}
		if got := fmt.Sprintf(format, struct{ K release.KeyFile }{k}); strings.Contains(got, "secret") || strings.Contains(got, "123") {
			t.Errorf("%s within a struct: got %s", format, got)
		}
	}
	if _, err := json.Marshal(k); err == nil {
		t.Error("marshalled to JSON")
	}
	k.Clear()
	if strings.Trim(string(k), "\x00") != "" {
		t.Error("not cleared")
	}
}
