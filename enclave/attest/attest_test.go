package attest_test

import (
	"bytes"
	"context"
	"crypto/sha512"
	"errors"
	"testing"

	"github.com/hf/nsm/request"

	"holdfast/enclave/attest"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/binding"
)

var complete = binding.Binding{
	TLSKey:        []byte("public key"),
	HPKEKey:       bytes.Repeat([]byte{7}, binding.HPKEKeySize),
	Configuration: [48]byte{1, 2, 3},
}

func TestADocumentCarriesTheNonceAndTheBindingsDigest(t *testing.T) {
	// Userdata and nonce are taken from the payload as it is made.
	var payload nsmtest.Payload
	module, err := nsmtest.New(nsmtest.Options{Mutate: func(t *nsmtest.Template) { payload = t.Payload }})
	if err != nil {
		t.Fatal(err)
	}
	attester, err := attest.New(module.Device(), complete)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range 3 {
		nonce := [attest.NonceSize]byte{byte(i), 31: 0xff}
		evidence, err := attester.Attest(t.Context(), nonce)
		if err != nil {
			t.Fatal(err)
		}
		if digest := sha512.Sum384(evidence.Binding); !bytes.Equal(payload.UserData, digest[:]) {
			t.Errorf("got user data %x, want the binding's digest %x", payload.UserData, digest)
		}
		if !bytes.Equal(payload.Nonce, nonce[:]) || payload.PublicKey != nil {
			t.Errorf("got nonce %x and public key %x, want %x and none", payload.Nonce, payload.PublicKey, nonce)
		}
		if !bytes.Contains(evidence.Document, nonce[:]) {
			t.Error("the document lacks the nonce")
		}
		got, err := binding.Parse(evidence.Binding)
		if err != nil || !bytes.Equal(got.TLSKey, complete.TLSKey) || got.Configuration != complete.Configuration {
			t.Errorf("got %+v, %v", got, err)
		}
		seen[string(evidence.Document)] = true
	}
	if len(seen) != 3 {
		t.Errorf("got %d documents for 3 requests", len(seen))
	}
}

func TestAnIncompleteBindingIsRefused(t *testing.T) {
	for name, b := range map[string]binding.Binding{
		"zero":           {},
		"no TLS key":     {HPKEKey: complete.HPKEKey},
		"no HPKE key":    {TLSKey: complete.TLSKey},
		"short HPKE key": {TLSKey: complete.TLSKey, HPKEKey: complete.HPKEKey[1:]},
		"long TLS key":   {TLSKey: make([]byte, binding.MaxTLSKeySize+1), HPKEKey: complete.HPKEKey},
	} {
		if _, err := attest.New(nil, b); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestAModuleThatFailsIsAnError(t *testing.T) {
	cause := errors.New("no such device")
	module, err := nsmtest.New(nsmtest.Options{Before: func(request.Request) error { return cause }})
	if err != nil {
		t.Fatal(err)
	}
	attester, err := attest.New(module.Device(), complete)
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := attester.Attest(t.Context(), [attest.NonceSize]byte{})
	if !errors.Is(err, cause) || evidence.Document != nil || evidence.Binding != nil {
		t.Errorf("got %+v, %v, want %v alone", evidence, err, cause)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := attester.Attest(ended, [attest.NonceSize]byte{}); err == nil {
		t.Error("got a document after the context ended")
	}
}
