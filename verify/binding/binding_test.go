package binding_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"holdfast/verify/binding"
)

func example() binding.Binding {
	return binding.Binding{
		TLSKey:        bytes.Repeat([]byte{1}, 91),
		HPKEKey:       bytes.Repeat([]byte{2}, binding.HPKEKeySize),
		Configuration: [48]byte{3},
	}
}

// frame lays out an encoding by hand.
func frame(version string, tls, hpke, rest []byte) []byte {
	out := []byte(version)
	for _, field := range [][]byte{tls, hpke} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(field)))
		out = append(out, field...)
	}
	return append(out, rest...)
}

func TestParseReadsBackWhatEncodeWrote(t *testing.T) {
	want := example()
	got, err := binding.Parse(want.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.TLSKey, want.TLSKey) || !bytes.Equal(got.HPKEKey, want.HPKEKey) || got.Configuration != want.Configuration {
		t.Errorf("got %v, want %v", got, want)
	}
	if got.Digest() != sha512.Sum384(want.Encode()) {
		t.Error("the digest is not the SHA-384 of the encoding")
	}
}

func TestTheEncodingDoesNotChange(t *testing.T) {
	b := example()
	want := frame("holdfast/attestation/v1", b.TLSKey, b.HPKEKey, b.Configuration[:])
	if !bytes.Equal(b.Encode(), want) {
		t.Errorf("got %x, want %x", b.Encode(), want)
	}
	digest := b.Digest()
	const known = "96c95fc597663f5ddca8d7cdef540acb0082bd0aa04737583718c9423175a7f1958231c827a8aa5c1e2672998cee8e7c"
	if got := hex.EncodeToString(digest[:]); got != known {
		t.Errorf("got digest %s, want %s", got, known)
	}
}

func TestParseRefuses(t *testing.T) {
	b := example()
	configuration := b.Configuration[:]
	for name, data := range map[string][]byte{
		"nothing":                    nil,
		"another version":            frame("holdfast/attestation/v2", b.TLSKey, b.HPKEKey, configuration),
		"the zero binding":           binding.Binding{}.Encode(),
		"an empty TLS key":           frame(binding.Version, nil, b.HPKEKey, configuration),
		"an endless TLS key":         frame(binding.Version, make([]byte, binding.MaxTLSKeySize+1), b.HPKEKey, configuration),
		"an empty HPKE key":          frame(binding.Version, b.TLSKey, nil, configuration),
		"a short HPKE key":           frame(binding.Version, b.TLSKey, b.HPKEKey[1:], configuration),
		"no configuration":           frame(binding.Version, b.TLSKey, b.HPKEKey, nil),
		"a short configuration":      frame(binding.Version, b.TLSKey, b.HPKEKey, configuration[1:]),
		"a byte after the end":       append(b.Encode(), 0),
		"a length of four gigabytes": append([]byte(binding.Version), 0xff, 0xff, 0xff, 0xff, 1),
		"a cut length":               append([]byte(binding.Version), 0, 0),
		"a cut TLS key":              append([]byte(binding.Version), 0, 0, 0, 9, 1),
	} {
		if got, err := binding.Parse(data); err == nil || got.TLSKey != nil {
			t.Errorf("%s: got %v and error %v", name, got, err)
		}
	}
}

func TestEveryPartChangesTheDigest(t *testing.T) {
	b := example()
	encoded := b.Encode()
	for i := range encoded {
		changed := bytes.Clone(encoded)
		changed[i] ^= 1
		if got, err := binding.Parse(changed); err == nil && got.Digest() == b.Digest() {
			t.Fatalf("byte %d does not count", i)
		}
	}
}

func TestReleaseInfoNamesThePurposeAndTheBinding(t *testing.T) {
	digest := [48]byte{7}
	if got, want := binding.ReleaseInfo(digest), append([]byte("holdfast/release/v1"), digest[:]...); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzParseIsTheInverseOfEncode(f *testing.F) {
	f.Add(example().Encode())
	f.Add(binding.Binding{}.Encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := binding.Parse(data)
		if err == nil && !bytes.Equal(b.Encode(), data) {
			t.Error("two encodings of one binding")
		}
	})
}
