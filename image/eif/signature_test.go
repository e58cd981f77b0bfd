package eif_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"holdfast/image/eif"
	"holdfast/verify/pcrs"
)

func TestTheSignedBytesAreTheGoldenVectors(t *testing.T) {
	payload := eif.SignedPayload(golden().Measure().PCR0)
	if len(payload) != 129 {
		t.Errorf("payload of %d bytes, want 129", len(payload))
	}
	digest := sha512.Sum384(eif.SignatureStructure("\xa1\x01\x38\x22", payload))
	const want = "ef866a2db46441d81b1dc076fabc93715fb88adabb9d68c12359cf8416ba200acc79872952aa2fd80f316b5a8818edaa"
	if got := hex.EncodeToString(digest[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// signer signs images with another CBOR encoder than the one under test.
type signer struct {
	key         *ecdsa.PrivateKey
	certificate []byte // PEM
	protected   []byte
	hash        crypto.Hash
}

func newSigner(t testing.TB, curve elliptic.Curve) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &signer{key: key, certificate: certificate(t, key)}
	switch curve {
	case elliptic.P256():
		s.protected, s.hash = []byte{0xa1, 1, 0x26}, crypto.SHA256
	case elliptic.P384():
		s.protected, s.hash = []byte{0xa1, 1, 0x38, 0x22}, crypto.SHA384
	case elliptic.P521():
		s.protected, s.hash = []byte{0xa1, 1, 0x38, 0x23}, crypto.SHA512
	}
	return s
}

func certificate(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "image signer"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Unix(1<<32, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// tuple is one entry of a signature section.
type tuple struct {
	Certificate []int `cbor:"signing_certificate"`
	Signature   []int `cbor:"signature"`
}

type payload struct {
	Index int   `cbor:"register_index"`
	Value []int `cbor:"register_value"`
}

func integers(data []byte) []int {
	out := make([]int, len(data))
	for i, b := range data {
		out[i] = int(b)
	}
	return out
}

func encode(t testing.TB, value any) []byte {
	t.Helper()
	data, err := cbor.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// message returns a COSE_Sign1 message over a register.
func (s *signer) message(t testing.TB, index int, value []byte) []byte {
	t.Helper()
	body := encode(t, payload{index, integers(value)})
	h := s.hash.New()
	h.Write(encode(t, []any{"Signature1", s.protected, []byte{}, body}))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	size := (s.key.Params().BitSize + 7) / 8
	raw := append(r.FillBytes(make([]byte, size)), v.FillBytes(make([]byte, size))...)
	return encode(t, []any{s.protected, map[int]int{}, body, raw})
}

func (s *signer) section(t testing.TB, pcr0 pcrs.PCR) []byte {
	t.Helper()
	return encode(t, []tuple{{integers(s.certificate), integers(s.message(t, 0, pcr0[:]))}})
}

func (s *signer) sign(t testing.TB, img *eif.Image) *eif.Image {
	t.Helper()
	signature, err := eif.ParseSignature(s.section(t, img.Measure().PCR0))
	if err != nil {
		t.Fatal(err)
	}
	signed := *img
	signed.Signature = signature
	return &signed
}

func TestASignedImageIsReadVerifiedAndMeasured(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		t.Run(curve.Params().Name, func(t *testing.T) {
			signer := newSigner(t, curve)
			file := write(t, signer.sign(t, sample(t)))
			img, err := eif.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := img.VerifySignature(); err != nil {
				t.Error(err)
			}
			if again := write(t, img); !bytes.Equal(again, file) {
				t.Error("written back differently")
			}
			block, _ := pem.Decode(signer.certificate)
			digest := sha512.Sum384(block.Bytes)
			want := pcrs.PCR(sha512.Sum384(append(make([]byte, 48), digest[:]...)))
			if got := img.Measure().PCR8; got != want {
				t.Errorf("PCR8: got %s, want %s", got, want)
			}
		})
	}
}

func TestSigningLeavesTheOtherRegistersAlone(t *testing.T) {
	img := sample(t)
	plain, signed := img.Measure(), newSigner(t, elliptic.P384()).sign(t, img).Measure()
	signed.PCR8 = pcrs.PCR{}
	if plain != signed {
		t.Errorf("got %v, want %v", signed, plain)
	}
}

func TestASignatureOfAnotherImageDoesNotVerify(t *testing.T) {
	signed := newSigner(t, elliptic.P384()).sign(t, sample(t))
	signed.CommandLine += " debug"
	if err := signed.VerifySignature(); err == nil || !strings.Contains(err.Error(), "signature is over PCR0") {
		t.Errorf("got %v", err)
	}
}

func TestASignatureByAnotherKeyDoesNotVerify(t *testing.T) {
	signer := newSigner(t, elliptic.P384())
	signer.key = newSigner(t, elliptic.P384()).key
	signed := signer.sign(t, sample(t))
	if err := signed.VerifySignature(); err == nil || !strings.Contains(err.Error(), "does not verify with the key") {
		t.Errorf("got %v", err)
	}
}

func TestAnUnsignedImageDoesNotVerify(t *testing.T) {
	if err := sample(t).VerifySignature(); err == nil {
		t.Error("no error")
	}
}

func TestEveryFlippedBitOfASignatureIsRejectedOrMeasured(t *testing.T) {
	img := sample(t)
	section := newSigner(t, elliptic.P256()).section(t, img.Measure().PCR0)
	original, err := eif.ParseSignature(section)
	if err != nil {
		t.Fatal(err)
	}
	signed := *img
	signed.Signature = original
	want := signed.Measure().PCR8
	for i := range section {
		for bit := range 8 {
			flipped := slices.Clone(section)
			flipped[i] ^= 1 << bit
			signature, err := eif.ParseSignature(flipped)
			if err != nil {
				continue
			}
			changed := *img
			changed.Signature = signature
			if changed.VerifySignature() == nil && changed.Measure().PCR8 == want {
				t.Fatalf("byte %d bit %d: verifies, and measures the same", i, bit)
			}
		}
	}
}

func TestEveryTruncationOfASignatureIsRejected(t *testing.T) {
	section := newSigner(t, elliptic.P256()).section(t, pcrs.PCR{})
	for n := range section {
		if s, err := eif.ParseSignature(section[:n]); err == nil || s != nil {
			t.Fatalf("%d of %d bytes: got %v, %v", n, len(section), s, err)
		}
	}
}

func TestSignatureSectionsOfOtherShapesAreRejected(t *testing.T) {
	p256, p384 := newSigner(t, elliptic.P256()), newSigner(t, elliptic.P384())
	value := make([]byte, 48)
	good := tuple{integers(p384.certificate), integers(p384.message(t, 0, value))}
	if _, err := eif.ParseSignature(encode(t, []tuple{good})); err != nil {
		t.Fatal(err)
	}
	withCertificate := func(encoded []byte) []byte {
		return encode(t, []tuple{{integers(encoded), good.Signature}})
	}
	withMessage := func(message []byte) []byte {
		return encode(t, []tuple{{good.Certificate, integers(message)}})
	}
	cose := func(protected []byte, unprotected any, body, signature []byte) []byte {
		return withMessage(encode(t, []any{protected, unprotected, body, signature}))
	}
	body := encode(t, payload{0, integers(value)})
	type swapped struct {
		Signature   []int `cbor:"signature"`
		Certificate []int `cbor:"signing_certificate"`
	}
	type byteStrings struct {
		Certificate []byte `cbor:"signing_certificate"`
		Signature   []byte `cbor:"signature"`
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one := encode(t, []tuple{good})

	for _, test := range []struct {
		name    string
		section []byte
		want    string
	}{
		{"nothing", nil, "list of signatures"},
		{"an empty list", encode(t, []tuple{}), "array of 0, want 1"},
		{"two tuples", encode(t, []tuple{good, good}), "array of 2, want 1"},
		{"a tuple outside a list", encode(t, good), "map, want array"},
		{"a third key", encode(t, []map[string]any{{"a": 1, "b": 2, "c": 3}}), "map of 3, want 2"},
		{"keys in the other order", encode(t, []swapped{{good.Signature, good.Certificate}}), `key "signature", want "signing_certificate"`},
		{"byte strings for arrays", encode(t, []byteStrings{{p384.certificate, nil}}), "byte string, want array"},
		{"data behind it", append(slices.Clone(one), 0), "data after its end"},
		{"a head that is not the shortest", append([]byte{0x98, 1}, one[1:]...), "shortest head"},
		{"an indefinite length", append(append([]byte{0x9f}, one[1:]...), 0xff), "shortest head"},
		{"an integer that is not the shortest", bytes.Replace(one, encode(t, good.Certificate)[:5], append(slices.Clone(encode(t, good.Certificate)[:3]), 0x19, 0, 0x2d), 1), "shortest head"},
		{"an array longer than the section", []byte("\x81\xa2\x73signing_certificate\x9b\xff\xff\xff\xff\xff\xff\xff\xff"), "items, want at most"},
		{"a text longer than the section", []byte("\x81\xa2\x7b\xff\xff\xff\xff\xff\xff\xff\xff"), "bytes, want at most"},
		{"an item beyond a byte", encode(t, []tuple{{[]int{256}, nil}}), "is 256, want a byte"},
		{"an item below zero", encode(t, []tuple{{[]int{-1}, nil}}), "want integer"},
		{"too long", make([]byte, 32769), "want at most 32768"},
		{"no certificate", withCertificate(nil), "want the pem of one certificate"},
		{"a certificate in DER", withCertificate([]byte{0x30, 0x82}), "want the pem of one certificate"},
		{"two certificates", withCertificate(append(slices.Clone(p384.certificate), p384.certificate...)), "want the pem of one certificate"},
		{"text before the certificate", withCertificate(append([]byte("text\n"), p384.certificate...)), "want the pem of one certificate"},
		{"a certificate with empty lines", withCertificate(bytes.Replace(p384.certificate, []byte("\n"), []byte("\n\n"), 2)), "want the pem of one certificate"},
		{"a certificate with a header", withCertificate(bytes.Replace(p384.certificate, []byte("\n"), []byte("\nA: b\n\n"), 1)), "want the pem of one certificate"},
		{"a certificate without its last newline", withCertificate(bytes.TrimSpace(p384.certificate)), "want the pem of one certificate"},
		{"a private key", withCertificate(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "want the pem of one certificate"},
		{"a certificate that is none", withCertificate(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})), "signing certificate"},
		{"an Ed25519 key", withCertificate(certificate(t, edwards)), "want ecdsa"},
		{"a curve that COSE lacks", withCertificate(certificate(t, p224)), "want p-256, p-384 or p-521"},
		{"the algorithm of another curve", withCertificate(p256.certificate), "for the certificate's key"},
		{"a tagged message", withMessage(append([]byte{0xd2}, p384.message(t, 0, value)...)), "COSE_Sign1: type 6, want array"},
		{"data behind the message", withMessage(append(p384.message(t, 0, value), 0)), "data after its end"},
		{"an unprotected header", cose(p384.protected, map[int]int{4: 1}, body, make([]byte, 96)), "map of 1, want 0"},
		{"no protected header", cose(nil, map[int]int{}, body, make([]byte, 96)), "protected header"},
		{"more in the protected header", cose(append([]byte{0xa2, 1, 0x38, 0x22}, 4, 0), map[int]int{}, body, make([]byte, 96)), "protected header"},
		{"a signature too short", cose(p384.protected, map[int]int{}, body, make([]byte, 95)), "signature of 95 bytes, want 96"},
		{"a DER signature's length", cose(p384.protected, map[int]int{}, body, make([]byte, 102)), "signature of 102 bytes, want 96"},
		{"another register", withMessage(p384.message(t, 1, value)), "integer of 1, want 0"},
		{"a short register", withMessage(p384.message(t, 0, value[:47])), "register of 47 bytes, want 48"},
		{"a payload of other keys", cose(p384.protected, map[int]int{}, encode(t, map[string]int{"a": 1, "b": 2}), make([]byte, 96)), "register_index"},
		{"data behind the payload", cose(p384.protected, map[int]int{}, append(slices.Clone(body), 0), make([]byte, 96)), "data after its end"},
		{"a payload as a text", withMessage(encode(t, []any{p384.protected, map[int]int{}, string(body), make([]byte, 96)})), "payload: text, want byte string"},
	} {
		t.Run(test.name, func(t *testing.T) {
			signature, err := eif.ParseSignature(test.section)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
			if signature != nil {
				t.Error("a signature came with the error")
			}
		})
	}
}

// FuzzParseSignature looks for panics and for two sections that one signature could come from.
func FuzzParseSignature(f *testing.F) {
	f.Add(newSigner(f, elliptic.P256()).section(f, pcrs.PCR{}))
	f.Add([]byte("\x81\xa2\x73signing_certificate\x81\x00\x69signature\x80"))
	f.Add([]byte("\x81\xa2\x73signing_certificate\x9b\x00\x00\x00\x01\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, section []byte) {
		signature, err := eif.ParseSignature(section)
		if (err == nil) != (signature != nil) {
			t.Fatalf("got %v and %v", signature, err)
		}
		if err != nil {
			return
		}
		img := golden()
		img.Signature = signature
		parsed, err := eif.ParseStructure(write(t, img))
		if err != nil || parsed.Measure() != img.Measure() {
			t.Fatalf("does not come back: %v", err)
		}
	})
}
