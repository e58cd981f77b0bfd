package nsmtest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hf/nsm/request"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
)

// document is a decoded document. The decoder is another's, so that the
// writer is not judged by itself.
type document struct {
	raw       [4]cbor.RawMessage
	protected []byte
	payload   []byte
	signature []byte
	fields    struct {
		ModuleID    string         `cbor:"module_id"`
		Digest      string         `cbor:"digest"`
		Timestamp   uint64         `cbor:"timestamp"`
		PCRs        map[int][]byte `cbor:"pcrs"`
		Certificate []byte         `cbor:"certificate"`
		CABundle    [][]byte       `cbor:"cabundle"`
		PublicKey   []byte         `cbor:"public_key"`
		UserData    []byte         `cbor:"user_data"`
		Nonce       []byte         `cbor:"nonce"`
	}
}

func decode(t *testing.T, raw []byte) document {
	t.Helper()
	strict, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, TagsMd: cbor.TagsForbidden, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	var d document
	for _, step := range []struct {
		from func() []byte
		into any
	}{
		{func() []byte { return raw }, &d.raw},
		{func() []byte { return d.raw[0] }, &d.protected},
		{func() []byte { return d.raw[2] }, &d.payload},
		{func() []byte { return d.raw[3] }, &d.signature},
		{func() []byte { return d.payload }, &d.fields},
	} {
		if err := strict.Unmarshal(step.from(), step.into); err != nil {
			t.Fatalf("%x: %v", step.from(), err)
		}
	}
	return d
}

// verify checks the signature and the chain up to root at the given time.
func (d document) verify(root *x509.Certificate, at time.Time) error {
	leaf, err := x509.ParseCertificate(d.fields.Certificate)
	if err != nil {
		return err
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, der := range d.fields.CABundle[1:] {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		between.AddCert(certificate)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return err
	}
	signed, err := cbor.Marshal([]any{"Signature1", d.protected, []byte{}, d.payload})
	if err != nil {
		return err
	}
	digest := sha512.Sum384(signed)
	key := leaf.PublicKey.(*ecdsa.PublicKey)
	half := len(d.signature) / 2
	r, s := new(big.Int).SetBytes(d.signature[:half]), new(big.Int).SetBytes(d.signature[half:])
	if !ecdsa.Verify(key, digest[:], r, s) {
		return errors.New("signature does not verify")
	}
	return nil
}

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func newModule(t *testing.T, options nsmtest.Options) *nsmtest.Module {
	t.Helper()
	options.Now = func() time.Time { return now }
	module, err := nsmtest.New(options)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func attest(t *testing.T, module *nsmtest.Module, r nsm.Request) []byte {
	t.Helper()
	raw, err := module.Device().Attest(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestADocumentVerifiesUpToTheRoot(t *testing.T) {
	r := nsm.Request{UserData: []byte("user data"), Nonce: []byte("nonce"), PublicKey: []byte("public key")}
	for _, indefinite := range []bool{false, true} {
		module := newModule(t, nsmtest.Options{Indefinite: indefinite})
		d := decode(t, attest(t, module, r))
		if err := d.verify(module.Root(), now); err != nil {
			t.Error(err)
		}
		if got := d.payload[0] == 0xbf; got != indefinite {
			t.Errorf("got an indefinite map: %t, want %t", got, indefinite)
		}
		f := d.fields
		if !bytes.Equal(f.UserData, r.UserData) || !bytes.Equal(f.Nonce, r.Nonce) || !bytes.Equal(f.PublicKey, r.PublicKey) {
			t.Errorf("got %q, %q, %q, want the request", f.UserData, f.Nonce, f.PublicKey)
		}
		if f.Timestamp != uint64(now.UnixMilli()) || f.Digest != "SHA384" || f.ModuleID != nsmtest.DefaultModuleID {
			t.Errorf("got %d, %q, %q", f.Timestamp, f.Digest, f.ModuleID)
		}
		if !bytes.Equal(d.protected, []byte{0xa1, 0x01, 0x38, 0x22}) || !bytes.Equal(d.raw[1], []byte{0xa0}) || len(d.signature) != 96 {
			t.Errorf("got headers %x and %x and %d bytes of signature", d.protected, d.raw[1], len(d.signature))
		}
	}
}

func TestAFieldNotAskedForIsNull(t *testing.T) {
	d := decode(t, attest(t, newModule(t, nsmtest.Options{}), nsm.Request{}))
	if d.fields.UserData != nil || d.fields.Nonce != nil || d.fields.PublicKey != nil {
		t.Errorf("got %+v, want nulls", d.fields)
	}
}

// The profile is that of base_2026_01 and marlin1, documents that Nitro signed.
func TestTheChainHasTheProfileOfRealOnes(t *testing.T) {
	module := newModule(t, nsmtest.Options{ModuleID: "i-0aaaabbbbccccdddd-enc0111122223333444", Region: "us-east-1"})
	d := decode(t, attest(t, module, nsm.Request{}))
	profile := []struct {
		suffix   string
		usage    x509.KeyUsage
		critical bool
		length   int
		validity time.Duration
	}{
		{"aws.nitro-enclaves", 97, true, -1, 0},
		{".us-east-1.aws.nitro-enclaves", 97, true, 2, (20*24 + 1) * time.Hour},
		{".zonal.us-east-1.aws.nitro-enclaves", 97, true, 1, 138 * time.Hour},
		{"i-0aaaabbbbccccdddd.us-east-1.aws.nitro-enclaves", 32, true, 0, 24 * time.Hour},
		{"i-0aaaabbbbccccdddd-enc0111122223333444.us-east-1.aws", 3, false, -1, 10803 * time.Second},
	}
	if len(d.fields.CABundle) != len(profile)-1 || !bytes.Equal(d.fields.CABundle[0], module.Root().Raw) {
		t.Fatalf("got a bundle of %d, want %d from the root down", len(d.fields.CABundle), len(profile)-1)
	}
	above := module.Root()
	for i, der := range append(d.fields.CABundle, d.fields.Certificate) {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		want, name := profile[i], certificate.Subject.CommonName
		if !strings.HasSuffix(name, want.suffix) || certificate.Issuer.CommonName != above.Subject.CommonName {
			t.Errorf("got %q by %q, want …%q by %q", name, certificate.Issuer.CommonName, want.suffix, above.Subject.CommonName)
		}
		if certificate.KeyUsage != want.usage || usageIsCritical(certificate) != want.critical {
			t.Errorf("%s: got key usage %d, critical %t", name, certificate.KeyUsage, usageIsCritical(certificate))
		}
		if certificate.IsCA == (i == len(profile)-1) || certificate.MaxPathLen != want.length {
			t.Errorf("%s: got authority %t of length %d, want length %d", name, certificate.IsCA, certificate.MaxPathLen, want.length)
		}
		if got := certificate.NotAfter.Sub(certificate.NotBefore); want.validity != 0 && got != want.validity {
			t.Errorf("%s: valid for %v, want %v", name, got, want.validity)
		}
		if certificate.SignatureAlgorithm != x509.ECDSAWithSHA384 || len(der) > 1024 {
			t.Errorf("%s: got %v and %d bytes", name, certificate.SignatureAlgorithm, len(der))
		}
		above = certificate
	}
	if above.SubjectKeyId != nil || above.AuthorityKeyId != nil {
		t.Error("the leaf has key identifiers, which real ones lack")
	}
}

func usageIsCritical(certificate *x509.Certificate) bool {
	for _, extension := range certificate.Extensions {
		if extension.Id.String() == "2.5.29.15" {
			return extension.Critical
		}
	}
	return false
}

func TestADocumentListsTheLockedRegistersOnly(t *testing.T) {
	value := sha512.Sum384([]byte("measured"))
	module := newModule(t, nsmtest.Options{PCRs: map[int]nsm.Digest{2: value}})
	device := module.Device()
	extended, err := device.ExtendPCR(t.Context(), 16, value)
	if err != nil {
		t.Fatal(err)
	}
	before := decode(t, attest(t, module, nsm.Request{})).fields.PCRs
	if len(before) != 16 || !bytes.Equal(before[2], value[:]) || before[16] != nil {
		t.Errorf("got %d registers, PCR2 %x, PCR16 %x", len(before), before[2], before[16])
	}
	instance := sha512.Sum384(append(make([]byte, 48), "i-0123456789abcdef0"...))
	if !bytes.Equal(before[4], instance[:]) {
		t.Errorf("got PCR4 %x, want that of the instance, %x", before[4], instance)
	}
	if err := device.LockPCR(t.Context(), 16); err != nil {
		t.Fatal(err)
	}
	if after := decode(t, attest(t, module, nsm.Request{})).fields.PCRs; len(after) != 17 || !bytes.Equal(after[16], extended[:]) {
		t.Errorf("got %d registers, PCR16 %x, want %x", len(after), after[16], extended)
	}
}

func TestLockingARangeLocksWhatIsBelowIt(t *testing.T) {
	module := newModule(t, nsmtest.Options{})
	if res, err := module.Send(&request.LockPCRs{Range: 17}); err != nil || res.LockPCRs == nil {
		t.Fatalf("got %+v, %v", res, err)
	}
	for index, locked := range map[int]bool{16: true, 17: false} {
		if got, err := module.Device().DescribePCR(t.Context(), index); err != nil || got.Locked != locked {
			t.Errorf("register %d: got %+v, %v, want locked %t", index, got, err, locked)
		}
	}
	for _, req := range []request.Request{&request.LockPCRs{Range: 33}, &request.DescribePCR{Index: 32}, &request.LockPCR{Index: 32}} {
		if res, err := module.Send(req); err != nil || nsm.Code(res.Error) != nsm.InvalidIndex {
			t.Errorf("got %+v, %v, want %v", res, err, nsm.InvalidIndex)
		}
	}
}

// The form is that of hw/virtio/virtio-nsm.c.
func TestAnEmulatedDocumentIsQEMUs(t *testing.T) {
	module := newModule(t, nsmtest.Options{Emulated: true})
	d := decode(t, attest(t, module, nsm.Request{Nonce: []byte("nonce")}))
	zeros := make([]byte, 64)
	if !bytes.Equal(d.protected, []byte{0xa1, 0x01, 0x20}) || !bytes.Equal(d.signature, zeros) {
		t.Errorf("got header %x and signature %x", d.protected, d.signature)
	}
	if !bytes.Equal(d.fields.Certificate, zeros) || len(d.fields.CABundle) != 1 || !bytes.Equal(d.fields.CABundle[0], zeros) {
		t.Errorf("got certificate %x and bundle %x", d.fields.Certificate, d.fields.CABundle)
	}
	if d.fields.ModuleID != nsmtest.EmulatedModuleID || d.payload[0] != 0xa9 || string(d.fields.Nonce) != "nonce" {
		t.Errorf("got module %q, payload %x…, nonce %q", d.fields.ModuleID, d.payload[0], d.fields.Nonce)
	}
}

func TestEveryMutationMakesItsFault(t *testing.T) {
	stranger, err := ecdsa.GenerateKey(elliptic.P384(), nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(*nsmtest.Template){
		"expired leaf":   func(t *nsmtest.Template) { t.Chain.Leaf.Certificate.NotAfter = now.Add(-time.Second) },
		"early regional": func(t *nsmtest.Template) { t.Chain.Regional.Certificate.NotBefore = now.Add(time.Hour) },
		"short path":     func(t *nsmtest.Template) { t.Chain.Regional.Certificate.MaxPathLen = 1 },
		"no authority": func(t *nsmtest.Template) {
			t.Chain.Instance.Certificate.IsCA, t.Chain.Instance.Certificate.MaxPathLenZero = false, false
		},
		"stranger's signer": func(t *nsmtest.Template) { t.Chain.Zonal.Signer = stranger },
		"other issuer":      func(t *nsmtest.Template) { t.Chain.Zonal.Issuer = &pkix.Name{CommonName: "nobody"} },
		"signature":         func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { s[5] ^= 1; return s } },
		"bundle order":      func(t *nsmtest.Template) { t.Issued = func(p *nsmtest.Payload) { p.CABundle = p.CABundle[:2] } },
		"another leaf":      func(t *nsmtest.Template) { t.Chain.Leaf.Key = stranger; t.Chain.Leaf.Signer = stranger },
	}
	for name, mutate := range tests {
		t.Run(name, func(t *testing.T) {
			module := newModule(t, nsmtest.Options{Mutate: mutate})
			if err := decode(t, attest(t, module, nsm.Request{})).verify(module.Root(), now); err == nil {
				t.Error("the document verifies")
			} else {
				t.Log(err)
			}
		})
	}
}

func TestAMutationReachesHeadersPayloadAndBytes(t *testing.T) {
	module := newModule(t, nsmtest.Options{Mutate: func(t *nsmtest.Template) {
		t.Tagged = true
		t.Unprotected = []byte{0xf6}
		t.Payload.Extra = [][]byte{{0x61, 'x'}, {0x01}}
		t.Encoded = func(payload []byte) []byte { return append(payload, 0x00) }
		t.Chain.Leaf.Certificate.Subject.CommonName = "someone else"
	}})
	raw := attest(t, module, nsm.Request{})
	if !bytes.HasPrefix(raw, []byte{0xd2, 0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xf6}) {
		t.Errorf("got %x…, want a tag and a null header", raw[:8])
	}
	if !bytes.Contains(raw, []byte{0x61, 'x', 0x01, 0x00}) || !bytes.Contains(raw, []byte("someone else")) {
		t.Error("the document lacks what was added")
	}
}

func TestTheModuleFailsWhenToldTo(t *testing.T) {
	cause := errors.New("no such device")
	module := newModule(t, nsmtest.Options{Before: func(request.Request) error { return cause }})
	if _, err := module.Device().Random(t.Context(), 1); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	module = newModule(t, nsmtest.Options{})
	if err := module.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := module.Send(&request.GetRandom{}); err == nil {
		t.Error("a closed module answered")
	}
}

func TestARequestTooLargeForTheModuleIsRefused(t *testing.T) {
	module := newModule(t, nsmtest.Options{})
	res, err := module.Send(&request.Attestation{Nonce: make([]byte, nsm.MaxNonceSize+1)})
	if err != nil || nsm.Code(res.Error) != nsm.InputTooLarge {
		t.Errorf("got %+v, %v, want %v", res, err, nsm.InputTooLarge)
	}
}
