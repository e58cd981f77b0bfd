package evidence_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast/verify/binding"
	"holdfast/verify/envelope"
	"holdfast/verify/envelope/envelopetest"
	"holdfast/verify/evidence"
)

// generatedAnswer is what an enclave that made keys answers.
type generatedAnswer struct {
	bundle     *envelope.Envelope
	generation binding.Generation
	publicKeys []string
}

func generated(t *testing.T) *generatedAnswer {
	t.Helper()
	e, _, err := envelopetest.New(envelopetest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &generatedAnswer{bundle: e, publicKeys: []string{envelopetest.PublicKey}, generation: binding.Generation{
		Bundle: e.Digest(), Configuration: e.ConfigurationDigest(), KMSKey: e.KMS.Key, PublicKeys: e.PublicKeys,
	}}
}

func (a *generatedAnswer) JSON(t *testing.T) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]any{
		"bundle": a.bundle.Bytes(), "pubkeys": a.publicKeys, "document": []byte("document"), "bound": a.generation.Encode(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWhatAnEnclaveMadeIsRead(t *testing.T) {
	a := generated(t)
	data := a.JSON(t)
	g, err := evidence.ParseGenerated(data)
	if err != nil {
		t.Fatal(err)
	}
	if string(g.Document) != "document" || g.Generation.Digest() != a.generation.Digest() || g.Bundle.Name != "staking" || g.PublicKeys()[0] != envelopetest.PublicKey {
		t.Errorf("got %+v", g)
	}
	if !evidence.IsGenerated(data) || evidence.IsGenerated([]byte(`{"document":"","binding":""}`)) {
		t.Error("an answer of an enclave is taken for another kind")
	}
}

func TestPartsThatDoNotBelongTogetherAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		change func(a *generatedAnswer)
		want   string
	}{
		"another bundle":        {func(a *generatedAnswer) { a.generation.Bundle[0] ^= 1 }, "another bundle"},
		"another configuration": {func(a *generatedAnswer) { a.generation.Configuration[0] ^= 1 }, "another configuration"},
		"another KMS key":       {func(a *generatedAnswer) { a.generation.KMSKey += "0" }, "another KMS key"},
		"another listed key":    {func(a *generatedAnswer) { a.publicKeys[0] = strings.Replace(a.publicKeys[0], "93", "94", 1) }, "different public keys"},
		"another bound key":     {func(a *generatedAnswer) { a.generation.PublicKeys = [][48]byte{{1}} }, "different public keys"},
		"no listed key":         {func(a *generatedAnswer) { a.publicKeys = nil }, "different public keys"},
		"no bound key":          {func(a *generatedAnswer) { a.generation.PublicKeys = nil }, "0 public keys"},
		"a bundle of nothing":   {func(a *generatedAnswer) { a.bundle = &envelope.Envelope{} }, "envelope: "},
		"a bundle for a holder": {func(a *generatedAnswer) { forHolder(t, a) }, "by age"},
	} {
		a := generated(t)
		test.change(a)
		if _, err := evidence.ParseGenerated(a.JSON(t)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	good := string(generated(t).JSON(t))
	for name, data := range map[string]string{
		"nothing":        "",
		"another member": strings.Replace(good, `"bound"`, `"bound_":"","bound"`, 1),
		"more after it":  good + "{}",
		"no base64":      strings.Replace(good, base64.StdEncoding.EncodeToString([]byte("document")), "document!", 1),
	} {
		if _, err := evidence.ParseGenerated([]byte(data)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// forHolder lets somebody else than KMS open the bundle.
func forHolder(t *testing.T, a *generatedAnswer) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := envelopetest.New(envelopetest.Options{Recipients: []age.Recipient{identity.Recipient()}})
	if err != nil {
		t.Fatal(err)
	}
	a.bundle.Age = e.Age
	a.generation.Bundle = a.bundle.Digest()
}

func FuzzParseGenerated(f *testing.F) {
	f.Add([]byte(`{"bundle":"","pubkeys":[],"document":"","bound":""}`))
	f.Add([]byte(`{"bundle":"aG9sZGZhc3QvYnVuZGxlL3YxCg==","pubkeys":["0x"],"document":"hEQ=","bound":"aG9sZGZhc3QvZ2VuZXJhdGlvbi92MQ==","skipped":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := evidence.ParseGenerated(data)
		if err == nil && (g.Generation.Bundle != g.Bundle.Digest() || len(g.PublicKeys()) != len(g.Bundle.PublicKeys)) {
			t.Errorf("a generation of another bundle: %+v", g.Generation)
		}
	})
}
