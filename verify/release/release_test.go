package release_test

import (
	"bytes"
	"crypto/hpke"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/enclavetest"
	"holdfast/verify/envelope"
	"holdfast/verify/envelope/envelopetest"
	"holdfast/verify/release"
)

// A held is a bundle with the identity of its holder.
type held struct {
	*envelope.Envelope
	dataKey    release.DataKey
	identities []age.Identity
}

func newHeld(t *testing.T) held {
	t.Helper()
	identity, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	e, dataKey, err := envelopetest.New(envelopetest.Options{Recipients: []age.Recipient{identity.Recipient()}})
	if err != nil {
		t.Fatal(err)
	}
	return held{e, dataKey, []age.Identity{identity}}
}

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

// judged is what a verification makes of an enclave that has the bundle.
func judged(b binding.Binding, h held) judgement.Judgement {
	return judgement.Judgement{Binding: b, Configuration: h.ConfigurationDigest()}
}

func seal(t *testing.T, h held, b binding.Binding) []byte {
	t.Helper()
	sealed, err := release.Seal(h.dataKey, h.Envelope, judged(b, h))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestTheHoldersIdentityOpensTheDataKey(t *testing.T) {
	h := newHeld(t)
	if got, err := release.OpenDataKey(h.Envelope, h.identities); err != nil || !bytes.Equal(got, h.dataKey) {
		t.Errorf("got another key, %v", err)
	}
	if _, err := release.OpenDataKey(h.Envelope, newHeld(t).identities); !errors.Is(err, release.ErrIdentity) {
		t.Errorf("another's identity: got %v", err)
	}
	kms, _, err := envelopetest.New(envelopetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := release.OpenDataKey(kms, h.identities); !errors.Is(err, release.ErrNoAge) {
		t.Errorf("a bundle for KMS: got %v", err)
	}
}

func TestADataKeyThatIsNotTheBundlesIsNotReleased(t *testing.T) {
	h := newHeld(t)
	recipient := h.identities[0].(*age.HybridIdentity).Recipient()
	for name, test := range map[string]struct {
		key  []byte
		want string
	}{
		"another's": {make([]byte, 32), "another bundle's data key"},
		"short":     {make([]byte, 31), "31 bytes, want 32"},
		"long":      {make([]byte, 1000), "33 bytes, want 32"},
	} {
		e, _, err := envelopetest.New(envelopetest.Options{Recipients: []age.Recipient{recipient}, DataKey: test.key})
		if err != nil {
			t.Fatal(err)
		}
		if key, err := release.OpenDataKey(e, h.identities); err == nil || key != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	broken := *h.Envelope
	broken.Age = broken.Age[:len(broken.Age)-1]
	if _, err := release.OpenDataKey(&broken, h.identities); err == nil || !strings.Contains(err.Error(), "age file of the bundle") {
		t.Errorf("cut short: got %v", err)
	}
}

func TestASealedDataKeyOpensInItsEnclaveOnly(t *testing.T) {
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	h := newHeld(t)
	b := binding.Binding{TLSKey: []byte("TLS"), HPKEKey: key.PublicKey().Bytes()}
	sealed := seal(t, h, b)
	open := func(b binding.Binding) ([]byte, error) {
		return hpke.Open(key, hpke.HKDFSHA256(), hpke.AES256GCM(), binding.ReleaseInfo(b.Digest()), sealed)
	}
	message, err := open(b)
	if err != nil {
		t.Fatal(err)
	}
	if digest, got, err := envelope.ParseRelease(message); err != nil || digest != h.Digest() || !bytes.Equal(got, h.dataKey) {
		t.Errorf("got %x for %x, %v", got, digest, err)
	}
	other := b
	other.TLSKey = []byte("another TLS key")
	if _, err := open(other); err == nil {
		t.Error("opened under another binding")
	}
	if bytes.Contains(sealed, h.dataKey) || len(sealed) > 4096 {
		t.Errorf("not encrypted, or too large: %d bytes", len(sealed))
	}
}

func TestSealRefuses(t *testing.T) {
	good, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	h := newHeld(t)
	b := binding.Binding{TLSKey: []byte("TLS"), HPKEKey: good.PublicKey().Bytes()}
	for name, test := range map[string]struct {
		key release.DataKey
		j   judgement.Judgement
	}{
		"an empty key":             {nil, judged(b, h)},
		"a short key":              {h.dataKey[1:], judged(b, h)},
		"the zero judgement":       {h.dataKey, judgement.Judgement{}},
		"a judgement of no bundle": {h.dataKey, judgement.Judgement{Binding: b}},
		"another bundle's":         {h.dataKey, judgement.Judgement{Binding: b, Configuration: [48]byte{1}}},
		"the zero binding":         {h.dataKey, judged(binding.Binding{}, h)},
		"a short HPKE key":         {h.dataKey, judged(binding.Binding{HPKEKey: b.HPKEKey[1:]}, h)},
		"a broken HPKE key":        {h.dataKey, judged(binding.Binding{HPKEKey: []byte(strings.Repeat("\xff", binding.HPKEKeySize))}, h)},
	} {
		if _, err := release.Seal(test.key, h.Envelope, test.j); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
}

func TestSendReturnsThePublicKeysOnce(t *testing.T) {
	h := newHeld(t)
	e, c := opened(t, enclavetest.Options{Bundle: h.Envelope})
	keys, err := release.Send(t.Context(), c, seal(t, h, e.Binding()))
	if err != nil || len(keys) != 1 || keys[0] != envelopetest.PublicKey {
		t.Fatalf("got %v %v", keys, err)
	}
	if got := e.Released(); !bytes.Equal(got, h.dataKey) {
		t.Errorf("the enclave got %x", got)
	}
	if _, err := release.Send(t.Context(), c, seal(t, h, e.Binding())); !errors.Is(err, release.ErrReleased) {
		t.Errorf("got %v, want %v", err, release.ErrReleased)
	}
}

func TestAnEnclaveWithAnotherBundleTakesNothing(t *testing.T) {
	h := newHeld(t)
	e, c := opened(t, enclavetest.Options{Bundle: newHeld(t).Envelope})
	if _, err := release.Send(t.Context(), c, seal(t, h, e.Binding())); err == nil || !strings.Contains(err.Error(), "another bundle") {
		t.Errorf("got %v", err)
	}
}

func TestSendRefusesAnotherTLSKey(t *testing.T) {
	h := newHeld(t)
	e, c := opened(t, enclavetest.Options{SecondKey: true, Bundle: h.Envelope})
	e.CloseConnections()
	if _, err := release.Send(t.Context(), c, seal(t, h, e.Binding())); err == nil || e.Released() != nil {
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
		"malformed sealed key": {http.StatusBadRequest, `{"error":"not sealed to this enclave","code":400}`, "not sealed to this enclave"},
		"no key":               {http.StatusOK, `{"public_keys":[]}`, "names no public key"},
		"a short key":          {http.StatusOK, `{"public_keys":["0x12"]}`, "want 0x and 96"},
		"a key without 0x":     {http.StatusOK, `{"public_keys":["` + envelopetest.PublicKey[2:] + `"]}`, "want 0x and 96"},
		"a key in upper case":  {http.StatusOK, `{"public_keys":["0x` + strings.ToUpper(envelopetest.PublicKey[2:]) + `"]}`, "lower-case"},
		"something else":       {http.StatusOK, `{"keys":[]}`, "malformed JSON"},
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

func TestTheKeysThatAnEnclaveNamesAreTheBundles(t *testing.T) {
	e := newHeld(t).Envelope
	other := "0x" + strings.Repeat("ab", 48)
	for name, test := range map[string]struct {
		keys []string
		want string
	}{
		"another": {[]string{other}, "for other keys"},
		"more":    {[]string{other, envelopetest.PublicKey}, "for 2 keys, but the bundle lists 1"},
		"none":    {nil, "for 0 keys"},
	} {
		if err := release.Compare(e, test.keys); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if err := release.Compare(e, []string{envelopetest.PublicKey}); err != nil {
		t.Error(err)
	}
}

func TestADataKeyDoesNotShowItself(t *testing.T) {
	const secret = "secret-data-key"
	k := release.DataKey(secret)
	for _, format := range []string{"%v", "%s", "%x", "%q", "%d", "%+v", "%#v"} {
		if got := fmt.Sprintf(format, k); got != "[redacted]" {
			t.Errorf("%s: got %s", format, got)
		}
		if got := fmt.Sprintf(format, struct{ K release.DataKey }{k}); strings.Contains(got, "secret") || strings.Contains(got, "115") {
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
