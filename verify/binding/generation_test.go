package binding_test

import (
	"bytes"
	"crypto/sha512"
	"reflect"
	"strings"
	"testing"

	"holdfast/verify/binding"
)

func generation() binding.Generation {
	return binding.Generation{
		Bundle: [48]byte{1}, Configuration: [48]byte{2}, KMSKey: "arn",
		PublicKeys: [][48]byte{{0x80}, {0x80, 1}},
	}
}

func TestAGenerationIsReadAsWritten(t *testing.T) {
	want := generation()
	got, err := binding.ParseGeneration(want.Encode())
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	bundle, configuration := [48]byte{1}, [48]byte{2}
	encoding := "holdfast/generation/v1" + string(bundle[:]) + string(configuration[:]) + "\x00\x00\x00\x03arn" +
		"\x00\x00\x00\x02" + string(want.PublicKeys[0][:]) + string(want.PublicKeys[1][:])
	if string(want.Encode()) != encoding || want.Digest() != sha512.Sum384([]byte(encoding)) {
		t.Errorf("got %q, want %q", want.Encode(), encoding)
	}
}

func TestAMisshapenGenerationIsRefused(t *testing.T) {
	good := generation().Encode()
	with := func(change func(*binding.Generation)) []byte {
		g := generation()
		change(&g)
		return g.Encode()
	}
	const keys = len(binding.GenerationVersion) + 96 + 4 + 3
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"empty":              {nil, "want version"},
		"a binding":          {binding.Binding{}.Encode(), "want version"},
		"the zero value":     {binding.Generation{}.Encode(), "KMS key of 0 bytes"},
		"digest cut":         {good[:len(binding.GenerationVersion)+50], "within a digest: got 2 bytes"},
		"KMS key cut":        {good[:keys-1], "truncated within the KMS key"},
		"endless KMS key":    {with(func(g *binding.Generation) { g.KMSKey = strings.Repeat("a", 2049) }), "KMS key of 2049 bytes"},
		"number cut":         {good[:keys+3], "before the number of public keys"},
		"no keys":            {with(func(g *binding.Generation) { g.PublicKeys = nil }), "0 public keys"},
		"too many keys":      {append(bytes.Clone(good[:keys]), 0, 0, 0x40, 1), "16385 public keys"},
		"keys cut":           {good[:len(good)-1], "got 95 bytes of public keys, want 96"},
		"a byte after":       {append(bytes.Clone(good), 0), "got 97 bytes"},
		"keys out of order":  {with(func(g *binding.Generation) { g.PublicKeys[0][0] = 0x90 }), "public key 2 of 2"},
		"the same key twice": {with(func(g *binding.Generation) { g.PublicKeys[1] = g.PublicKeys[0] }), "public key 2 of 2"},
	} {
		if g, err := binding.ParseGeneration(test.data); err == nil || g.PublicKeys != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %+v, %v, want %q", name, g, err, test.want)
		}
	}
}

func FuzzParseGenerationIsTheInverseOfEncode(f *testing.F) {
	f.Add(generation().Encode())
	f.Add(binding.Generation{}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		g, err := binding.ParseGeneration(data)
		if err == nil && !bytes.Equal(g.Encode(), data) {
			t.Error("two encodings of one generation")
		}
	})
}
