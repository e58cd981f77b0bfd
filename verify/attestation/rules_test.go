package attestation_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// A scene is one document of a synthetic module and what is expected of it.
// Whatever a test does not change is right.
type scene struct {
	module  nsmtest.Options
	lock16  []byte              // extended into PCR16, which is then locked
	raw     func([]byte) []byte // changes the finished document
	request func(*nsm.Request)  // changes what the enclave asks for
	options func(*attestation.Options)
	binding func(*binding.Binding)
}

// moduleID has an enclave id that says when it started.
const moduleID = "i-0123456789abcdef0-enc019b8596b1a9dad6"

var measured = [3]pcrs.PCR{{1}, {2}, {3}}

// play makes the document and verifies it.
func (s scene) play(t testing.TB) attestation.Result {
	t.Helper()
	raw, options := s.make(t)
	return attestation.Verify(raw, options, nil)
}

func (s scene) make(t testing.TB) ([]byte, attestation.Options) {
	t.Helper()
	o := s.module
	if o.ModuleID == "" && !o.Emulated {
		o.ModuleID = moduleID
	}
	if o.PCRs == nil {
		o.PCRs = map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: measured[2]}
	}
	module, err := nsmtest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	device := module.Device()
	s.extend(t, device)
	bound := binding.Binding{TLSKey: []byte("TLS key"), HPKEKey: make([]byte, binding.HPKEKeySize)}
	if s.binding != nil {
		s.binding(&bound)
	}
	digest := bound.Digest()
	request := nsm.Request{UserData: digest[:], Nonce: bytes.Repeat([]byte{7}, 32)}
	if s.request != nil {
		s.request(&request)
	}
	raw, err := device.Attest(context.Background(), request)
	if err != nil {
		t.Fatal(err)
	}
	if s.raw != nil {
		raw = s.raw(raw)
	}
	options := attestation.Options{Trust: trustIn(t, module.Root()), Policy: judgement.Policy{
		Measurements: published(t, pcrs.Image{}),
		Nonce:        bytes.Repeat([]byte{7}, 32),
		Now:          time.Now(), MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew,
		Binding: bound.Encode(), TLSKey: bound.TLSKey,
	}}
	if s.options != nil {
		s.options(&options)
	}
	return raw, options
}

func (s scene) extend(t testing.TB, device *nsm.Device) {
	t.Helper()
	if s.lock16 == nil {
		return
	}
	if _, err := device.ExtendPCR(t.Context(), 16, nsm.Digest(s.lock16)); err != nil {
		t.Fatal(err)
	}
	if err := device.LockPCR(t.Context(), 16); err != nil {
		t.Fatal(err)
	}
}

func trustIn(t testing.TB, root *x509.Certificate) chain.Trust {
	t.Helper()
	sum := sha256.Sum256(root.Raw)
	trust, err := chain.NewTrust(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw}), hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// published is a PCRS.md with the measurements of every scene.
func published(t testing.TB, img pcrs.Image) *pcrs.File {
	t.Helper()
	img.Architecture, img.EIF, img.Size = pcrs.X8664, pcrs.Digest{9}, 1
	img.PCR0, img.PCR1, img.PCR2 = measured[0], measured[1], measured[2]
	f, err := (&pcrs.File{}).WithImage("v1.0.0", img)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// mutate is a scene whose document is changed before it is made.
func mutate(change func(*nsmtest.Template)) scene {
	return scene{module: nsmtest.Options{Mutate: change}}
}

// encoded is a scene whose payload is changed after it is encoded and before
// it is signed.
func encoded(change func([]byte) []byte) scene {
	return mutate(func(t *nsmtest.Template) { t.Encoded = change })
}

// replace changes the first occurrence of old in a payload.
func replace(old, new string) scene {
	return encoded(func(payload []byte) []byte {
		if !bytes.Contains(payload, []byte(old)) {
			panic(fmt.Sprintf("no %q in the payload", old))
		}
		return bytes.Replace(payload, []byte(old), []byte(new), 1)
	})
}

// extra adds a field to the payload.
func extra(key, value string) scene {
	return mutate(func(t *nsmtest.Template) {
		t.Payload.Extra = [][]byte{append([]byte{0x60 | byte(len(key))}, key...), []byte(value)}
	})
}

func raw(change func([]byte) []byte) scene { return scene{raw: change} }

func with(change func(*attestation.Options)) scene { return scene{options: change} }

// foreignKey is a key that nobody trusts.
var foreignKey = func() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}()

func keyOn(curve elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func long(n int) []byte { return make([]byte, n) }

// transgressions lists, for every rule that can fail, documents or policies
// that break it and no rule before it in its group.
var transgressions = []struct {
	rule  report.Rule
	name  string
	scene scene
}{
	{report.A1, "an empty input", raw(func([]byte) []byte { return nil })},
	{report.A1, "a document of 16 KiB and one byte", raw(func(d []byte) []byte { return append(d, long(document.MaxSize+1-len(d))...) })},
	{report.A3, "an indefinite outer array", raw(func(d []byte) []byte { d[0] = 0x9f; return append(d, 0xff) })},
	{report.A3, "three elements", raw(func(d []byte) []byte { d[0] = 0x83; return d })},
	{report.A3, "five elements", raw(func(d []byte) []byte { d[0] = 0x85; return append(d, 0xf6) })},
	{report.A3, "tag 98", raw(func(d []byte) []byte { return append([]byte{0xd8, 98}, d...) })},
	{report.A3, "tag 18 twice", raw(func(d []byte) []byte { return append([]byte{0xd2, 0xd2}, d...) })},
	{report.A3, "bytes after the array", raw(func(d []byte) []byte { return append(d, 0) })},
	{report.A4, "algorithm ES156", mutate(func(t *nsmtest.Template) { t.Protected = []byte{0xa1, 0x01, 0x26} })},
	{report.A4, "the algorithm as text", mutate(func(t *nsmtest.Template) { t.Protected = []byte("\xa1\x01\x65ES384") })},
	{report.A4, "a second label", mutate(func(t *nsmtest.Template) { t.Protected = []byte("\xa2\x01\x38\x22\x04\x41\x00") })},
	{report.A4, "an empty protected header", mutate(func(t *nsmtest.Template) { t.Protected = nil })},
	{report.A4, "the same algorithm in a longer form", mutate(func(t *nsmtest.Template) { t.Protected = []byte{0xa1, 0x01, 0x39, 0x00, 0x22} })},
	{report.A5, "null for the unprotected header", mutate(func(t *nsmtest.Template) { t.Unprotected = []byte{0xf6} })},
	{report.A5, "a key id in the unprotected header", mutate(func(t *nsmtest.Template) { t.Unprotected = []byte{0xa1, 0x04, 0x40} })},
	{report.A6, "a signature of 95 bytes", mutate(func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { return s[1:] } })},
	{report.A6, "a signature of 97 bytes", mutate(func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { return append(s, 0) } })},
	{report.A6, "an empty payload", encoded(func([]byte) []byte { return nil })},
	{report.A7, "a flipped bit in r", mutate(func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { s[0] ^= 1; return s } })},
	{report.A7, "r of zero", mutate(func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { clear(s[:48]); return s } })},
	{report.A7, "s of zero", mutate(func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { clear(s[48:]); return s } })},
	{report.A7, "s beyond the order", mutate(func(t *nsmtest.Template) {
		t.Signed = func(s []byte) []byte { copy(s[48:], bytes.Repeat([]byte{0xff}, 48)); return s }
	})},
	{report.A8, "no valid signature in any form", mutate(func(t *nsmtest.Template) { t.Signed = func(s []byte) []byte { return long(96) } })},
	{report.A9, "a leaf on P-256", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Key = keyOn(elliptic.P256())
		t.Signed = func(s []byte) []byte { return append(s, long(32)...) }
	})},
	{report.A9, "a leaf on P-521", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Key = keyOn(elliptic.P521())
		t.Signed = func(s []byte) []byte { return s[:96] }
	})},

	{report.B1, "an array for a payload", encoded(func([]byte) []byte { return []byte{0x80} })},
	{report.B1, "a payload cut in its head", encoded(func([]byte) []byte { return []byte{0xb9, 0} })},
	{report.B2, "pcrs as an indefinite map", replace("\x64pcrs\xb0", "\x64pcrs\xbf")},
	{report.B2, "cabundle as an indefinite array", replace("\x68cabundle\x84", "\x68cabundle\x9f")},
	{report.B2, "a chunked string", replace("\x66digest\x66SHA384", "\x66digest\x7f\x63SHA\x63384\xff")},
	{report.B2, "a tagged timestamp", replace("\x69timestamp", "\x69timestamp\xc1")},
	{report.B2, "a float in an unknown field", extra("extra", "\xf9\x00\x00")},
	{report.B2, "undefined in an unknown field", extra("extra", "\xf7")},
	{report.B2, "true in an unknown field", extra("extra", "\xf5")},
	{report.B2, "a length longer than it must be", replace("\x66digest\x66SHA384", "\x66digest\x78\x06SHA384")},
	{report.B2, "a string beyond the end", extra("extra", "\x5b\xff\xff\xff\xff\xff\xff\xff\xff")},
	{report.B2, "text that is not UTF-8", replace("\x66SHA384", "\x66SHA38\xff")},
	{report.B3, "a field twice", extra("digest", "\x66SHA384")},
	{report.B3, "an unknown field twice", mutate(func(t *nsmtest.Template) {
		t.Payload.Extra = [][]byte{[]byte("\x61x"), {0}, []byte("\x61x"), {0}}
	})},
	{report.B3, "a register twice", encoded(func(p []byte) []byte { return bytes.Replace(p, []byte("\x01\x58\x30"), []byte("\x00\x58\x30"), 1) })},
	{report.B3, "a number for a key", mutate(func(t *nsmtest.Template) { t.Payload.Extra = [][]byte{{0x01}, {0x01}} })},
	{report.B3, "text for a register's index", replace("pcrs\xb0\x00", "pcrs\xb0\x60")},
	{report.B3, "bytes after the map", encoded(func(p []byte) []byte { return append(p, 0xf6) })},
	{report.B3, "deep nesting", extra("extra", "\x81\x81\x81\x81\x81\x00")},
	{report.B4, "33 registers", replace("\x64pcrs\xb0", "\x64pcrs\xb8\x21")},
	{report.B4, "four billion registers", replace("\x64pcrs\xb0", "\x64pcrs\xba\xff\xff\xff\xff")},
	{report.B4, "33 certificates", replace("\x68cabundle\x84", "\x68cabundle\x98\x21")},
	{report.B4, "33 fields", encoded(func(p []byte) []byte { return append([]byte{0xb8, 33}, p[1:]...) })},
	{report.B4, "33 fields in an indefinite map", mutate(func(t *nsmtest.Template) {
		t.Payload.Indefinite = true
		for i := range 24 {
			t.Payload.Extra = append(t.Payload.Extra, []byte{0x62, 'x', byte('a' + i)}, []byte{0})
		}
	})},
	{report.B5, "no cabundle", replace("\x68cabundle", "\x68cabundlf")},
	{report.B5, "no pcrs", replace("\x64pcrs", "\x64pcrz")},
	{report.B5, "a NitroTPM's registers", replace("\x64pcrs", "\x6dnitrotpm_pcrs")},
	{report.B5, "an unknown field under --strict", scene{
		module:  extra("extra", "\x00").module,
		options: func(o *attestation.Options) { o.Policy.Strict = true },
	}},
	{report.B6, "PCRS for pcrs", replace("\x64pcrs", "\x64PCRS")},
	{report.B6, "Nonce beside nonce", extra("Nonce", "\x40")},

	{report.F1, "an empty module_id", mutate(func(t *nsmtest.Template) { t.Payload.ModuleID = "" })},
	{report.F1, "a module_id of 257 bytes", mutate(func(t *nsmtest.Template) { t.Payload.ModuleID = strings.Repeat("i", 257) })},
	{report.F2, "SHA256", mutate(func(t *nsmtest.Template) { t.Payload.Digest = "SHA256" })},
	{report.F3, "a timestamp of zero", mutate(func(t *nsmtest.Template) { t.Payload.Timestamp = 0 })},
	{report.F3, "a timestamp of 2^53", mutate(func(t *nsmtest.Template) { t.Payload.Timestamp = 1 << 53 })},
	{report.F4, "no registers", mutate(func(t *nsmtest.Template) { t.Payload.PCRs = nil })},
	{report.F4, "register 32", mutate(func(t *nsmtest.Template) { t.Payload.PCRs[32] = long(48) })},
	{report.F4, "a register of 32 bytes", mutate(func(t *nsmtest.Template) { t.Payload.PCRs[0] = long(32) })},
	{report.F4, "a register of 96 bytes", mutate(func(t *nsmtest.Template) { t.Payload.PCRs[0] = long(96) })},
	{report.F5, "no certificate", mutate(func(t *nsmtest.Template) { t.Issued = func(p *nsmtest.Payload) { p.Certificate = nil } })},
	{report.F5, "a certificate of 1025 bytes", mutate(func(t *nsmtest.Template) { t.Issued = func(p *nsmtest.Payload) { p.Certificate = long(1025) } })},
	{report.F6, "an empty cabundle", mutate(func(t *nsmtest.Template) { t.Issued = func(p *nsmtest.Payload) { p.CABundle = nil } })},
	{report.F6, "an empty element", mutate(func(t *nsmtest.Template) { t.Issued = func(p *nsmtest.Payload) { p.CABundle[2] = nil } })},
	{report.F7, "an empty public_key", mutate(func(t *nsmtest.Template) { t.Payload.PublicKey = []byte{} })},
	{report.F7, "a public_key of 1025 bytes", mutate(func(t *nsmtest.Template) { t.Payload.PublicKey = long(1025) })},
	{report.F8, "user_data of 1025 bytes", mutate(func(t *nsmtest.Template) { t.Payload.UserData = long(1025) })},
	{report.F8, "a nonce of 1025 bytes", mutate(func(t *nsmtest.Template) { t.Payload.Nonce = long(1025) })},

	{report.P1, "a NitroTPM's module_id", scene{module: nsmtest.Options{ModuleID: "i-0123456789abcdef0-tpm0000000000000000"}}},
	{report.P1, "some other module_id", scene{module: nsmtest.Options{ModuleID: "sandbox-1"}}},

	{report.C1, "no trust at all", with(func(o *attestation.Options) { o.Trust = chain.Trust{} })},
	{report.C2, "a root that is not the pinned one", with(func(o *attestation.Options) { o.Trust, _ = chain.AWS() })},
	{report.C2, "the root left out", mutate(func(t *nsmtest.Template) { t.Issued = func(p *nsmtest.Payload) { p.CABundle = p.CABundle[1:] } })},
	{report.C3, "two authorities exchanged", mutate(func(t *nsmtest.Template) {
		t.Issued = func(p *nsmtest.Payload) { p.CABundle[1], p.CABundle[2] = p.CABundle[2], p.CABundle[1] }
	})},
	{report.C3, "leaf first", mutate(func(t *nsmtest.Template) {
		t.Issued = func(p *nsmtest.Payload) { p.CABundle[1], p.CABundle[3] = p.CABundle[3], p.CABundle[1] }
	})},
	{report.C3, "an authority left out", mutate(func(t *nsmtest.Template) {
		t.Issued = func(p *nsmtest.Payload) { p.CABundle = append(p.CABundle[:2:2], p.CABundle[3]) }
	})},
	{report.C3, "an authority twice", mutate(func(t *nsmtest.Template) {
		t.Issued = func(p *nsmtest.Payload) { p.CABundle = append(p.CABundle, p.CABundle[3]) }
	})},
	{report.C3, "an issuer of another name", mutate(func(t *nsmtest.Template) { t.Chain.Instance.Issuer = &pkix.Name{CommonName: "elsewhere"} })},
	{report.C4, "an authority signed by another key", mutate(func(t *nsmtest.Template) { t.Chain.Zonal.Signer = foreignKey })},
	{report.C4, "a leaf signed by another key", mutate(func(t *nsmtest.Template) { t.Chain.Leaf.Signer = foreignKey })},
	{report.C4, "a leaf signed with SHA-256", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Certificate.SignatureAlgorithm = x509.ECDSAWithSHA256
	})},
	{report.C4, "an authority on P-256", mutate(func(t *nsmtest.Template) {
		t.Chain.Zonal.Key = keyOn(elliptic.P256())
		t.Chain.Instance.Certificate.SignatureAlgorithm = x509.ECDSAWithSHA384
	})},
	{report.C4, "an unknown critical extension", mutate(func(t *nsmtest.Template) {
		t.Chain.Instance.Certificate.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
	})},
	{report.C4, "bytes after a certificate", mutate(func(t *nsmtest.Template) {
		t.Issued = func(p *nsmtest.Payload) { p.CABundle[1] = append(p.CABundle[1], 0) }
	})},
	{report.C5, "an authority that is none", mutate(func(t *nsmtest.Template) {
		t.Chain.Instance.Certificate.IsCA = false
		t.Chain.Instance.Certificate.MaxPathLenZero = false
	})},
	{report.C5, "an authority that may not sign certificates", mutate(func(t *nsmtest.Template) { t.Chain.Zonal.Certificate.KeyUsage = x509.KeyUsageDigitalSignature })},
	{report.C5, "a path longer than allowed", mutate(func(t *nsmtest.Template) {
		t.Chain.Regional.Certificate.MaxPathLen = 0
		t.Chain.Regional.Certificate.MaxPathLenZero = true
	})},
	{report.C5, "basicConstraints that are not critical", mutate(func(t *nsmtest.Template) {
		c := t.Chain.Zonal.Certificate
		c.BasicConstraintsValid = false
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Value: []byte{0x30, 3, 1, 1, 0xff}}}
	})},
	{report.C5, "nine certificates", mutate(func(t *nsmtest.Template) {
		t.Issued = func(p *nsmtest.Payload) {
			for range 4 {
				p.CABundle = append(p.CABundle, p.CABundle[3])
			}
		}
	})},
	{report.C6, "a leaf that is an authority", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Certificate.IsCA = true
		t.Chain.Leaf.Certificate.MaxPathLen = -1
	})},
	{report.C6, "a leaf that may not sign", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Certificate.ExtraExtensions = nil
		t.Chain.Leaf.Certificate.KeyUsage = x509.KeyUsageKeyAgreement
	})},
	{report.C7, "a leaf that has expired", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Certificate.NotAfter = time.Now().Add(-time.Minute)
	})},
	{report.C7, "a leaf of tomorrow", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Certificate.NotBefore = time.Now().Add(24 * time.Hour)
		t.Chain.Leaf.Certificate.NotAfter = time.Now().Add(48 * time.Hour)
	})},
	{report.C7, "an authority that has expired", mutate(func(t *nsmtest.Template) {
		t.Chain.Regional.Certificate.NotAfter = time.Now().Add(-time.Minute)
	})},
	{report.C7, "a leaf that expires between the document and its judgement", scene{
		module:  nsmtest.Options{Now: func() time.Time { return time.Now().Add(-4 * time.Hour) }},
		options: func(o *attestation.Options) { o.Policy.MaxAge = 5 * time.Hour },
	}},
	{report.C8, "a denied authority", scene{
		module: mutate(func(t *nsmtest.Template) { t.Chain.Regional.Certificate.SerialNumber.SetInt64(0xbad) }).module,
		options: func(o *attestation.Options) {
			o.Trust = o.Trust.Deny(chain.Denied{Issuer: "aws.nitro-enclaves", Serial: "bad"})
		},
	}},
	{report.C9, "a leaf of another module", mutate(func(t *nsmtest.Template) { t.Payload.ModuleID = "i-0123456789abcdef0-enc0000000000000000" })},
	{report.C9, "an instance of another name", mutate(func(t *nsmtest.Template) {
		t.Chain.Instance.Certificate.Subject.CommonName = "i-00000000000000000.eu-central-1.aws.nitro-enclaves"
	})},
	{report.C9, "a zone of another region", mutate(func(t *nsmtest.Template) {
		t.Chain.Zonal.Certificate.Subject.CommonName = "x.zonal.us-east-1.aws.nitro-enclaves"
	})},
	{report.C9, "a region of another name", mutate(func(t *nsmtest.Template) {
		t.Chain.Regional.Certificate.Subject.CommonName = "x.us-east-1.aws.nitro-enclaves"
	})},
	{report.C9, "a leaf that names no region", mutate(func(t *nsmtest.Template) {
		t.Chain.Leaf.Certificate.Subject.CommonName = moduleID + "..aws"
	})},

	{report.S1, "a name that an authority may not certify", mutate(func(t *nsmtest.Template) {
		t.Chain.Zonal.Certificate.PermittedDNSDomains = []string{"example.org"}
		t.Chain.Zonal.Certificate.PermittedDNSDomainsCritical = true
		t.Chain.Leaf.Certificate.DNSNames = []string{"example.com"}
	})},

	{report.D1, "another nonce", scene{request: func(r *nsm.Request) { r.Nonce[0] ^= 1 }}},
	{report.D1, "no nonce in the document", scene{request: func(r *nsm.Request) { r.Nonce = nil }}},
	{report.D1, "a nonce with the right beginning", scene{request: func(r *nsm.Request) { r.Nonce = append(r.Nonce, 0) }}},
	{report.D1, "a policy with a short nonce", scene{
		request: func(r *nsm.Request) { r.Nonce = r.Nonce[:15] },
		options: func(o *attestation.Options) { o.Policy.Nonce = o.Policy.Nonce[:15] },
	}},
	{report.D2, "a document six minutes old", with(func(o *attestation.Options) { o.Policy.Now = o.Policy.Now.Add(6 * time.Minute) })},
	{report.D2, "a document from the future", with(func(o *attestation.Options) {
		o.Policy.Now = o.Policy.Now.Add(-2 * time.Minute)
		o.Policy.Skew = time.Minute
	})},
	{report.D2, "a policy without a maximum age", with(func(o *attestation.Options) { o.Policy.MaxAge = 0 })},
	{report.D2, "a policy without a time", with(func(o *attestation.Options) { o.Policy.Now = time.Time{} })},

	{report.E1, "another PCR0", scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {8}, 1: measured[1], 2: measured[2]}}}},
	{report.E1, "another PCR1", scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: {8}, 2: measured[2]}}}},
	{report.E1, "another PCR2", scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: {8}}}}},
	{report.E1, "a revoked release", with(func(o *attestation.Options) {
		releases := append([]pcrs.Release(nil), o.Policy.Measurements.Releases...)
		releases[0].Status = pcrs.Revoked
		active := pcrs.Release{Version: "v0.9.0", Status: pcrs.Active, Images: []pcrs.Image{{Architecture: pcrs.X8664, PCR0: pcrs.PCR{5}, PCR1: pcrs.PCR{5}, PCR2: pcrs.PCR{5}}}}
		o.Policy.Measurements = &pcrs.File{Releases: append(releases, active)}
	})},
	{report.E2, "no PCRS.md", with(func(o *attestation.Options) { o.Policy.Measurements = nil })},
	{report.E2, "an empty PCRS.md", with(func(o *attestation.Options) { o.Policy.Measurements = &pcrs.File{} })},
	{report.E2, "a release that is not there", with(func(o *attestation.Options) { o.Policy.Release = "v7.0.0" })},
	{report.E2, "nothing but revoked releases", with(func(o *attestation.Options) { o.Policy.Measurements.Releases[0].Status = pcrs.Revoked })},
	{report.E2, "a published measurement of zero", with(func(o *attestation.Options) {
		o.Policy.Measurements.Releases[0].Images[0].PCR1 = pcrs.PCR{}
	})},
	{report.E3, "debug mode", scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {}, 1: {}, 2: {}}}}},
	{report.E3, "debug mode, though zeros are published", scene{
		module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: {}, 1: {}, 2: {}}},
		options: func(o *attestation.Options) {
			o.Policy.Measurements = &pcrs.File{Releases: []pcrs.Release{{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{{Architecture: pcrs.X8664}}}}}
		},
	}},
	{report.E3, "one register of zero", scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: {}}}}},
	{report.E3, "no PCR2", mutate(func(t *nsmtest.Template) { delete(t.Payload.PCRs, 2) })},
	{report.E4, "no signature where one is published", scene{options: func(o *attestation.Options) {
		o.Policy.Measurements.Releases[0].Images[0].PCR8 = pcrs.PCR{8}
	}}},
	{report.E4, "another signer", scene{
		module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: measured[2], 8: {7}}},
		options: func(o *attestation.Options) {
			o.Policy.Measurements.Releases[0].Images[0].PCR8 = pcrs.PCR{8}
		},
	}},
	{report.E6, "PCR4 of another instance", scene{module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: measured[2], 4: {4}}}}},
	{report.E6, "no PCR4", mutate(func(t *nsmtest.Template) { delete(t.Payload.PCRs, 4) })},
	{report.E8, "a bound configuration that PCR16 does not show", scene{binding: func(b *binding.Binding) { b.Configuration[0] = 1 }}},
	{report.E8, "PCR16 of another configuration", scene{binding: func(b *binding.Binding) { b.Configuration[0] = 1 }, lock16: append([]byte{2}, long(47)...)}},
	{report.E8, "PCR16 without a configuration", scene{lock16: long(48)}},
	{report.E11, "no bundle yet", with(func(o *attestation.Options) { o.Policy.Configuration[0] = 1 })},
	{report.E11, "another bundle", scene{
		binding: func(b *binding.Binding) { b.Configuration[0] = 2 }, lock16: append([]byte{2}, long(47)...),
		options: func(o *attestation.Options) { o.Policy.Configuration[0] = 1 },
	}},
	{report.E12, "a bundle whose configuration PCR16 does not show", scene{
		binding: func(b *binding.Binding) { b.Configuration[0] = 1 },
		options: func(o *attestation.Options) { o.Policy.Configuration[0] = 1 },
	}},
	{report.E12, "PCR16 of another bundle", scene{
		binding: func(b *binding.Binding) { b.Configuration[0] = 1 }, lock16: append([]byte{2}, long(47)...),
		options: func(o *attestation.Options) { o.Policy.Configuration[0] = 1 },
	}},
	{report.E9, "other user_data", scene{request: func(r *nsm.Request) { r.UserData[0] ^= 1 }}},
	{report.E9, "a generation that is not bound", with(func(o *attestation.Options) { o.Policy.Generation = generated.Encode() })},
	{report.E9, "a malformed generation", scene{
		request: func(r *nsm.Request) { digest := generated.Digest(); r.UserData = digest[:] },
		options: func(o *attestation.Options) { o.Policy.Generation = append(generated.Encode(), 0) },
	}},
	{report.E9, "no user_data", scene{request: func(r *nsm.Request) { r.UserData = nil }}},
	{report.E9, "another TLS key", with(func(o *attestation.Options) { o.Policy.TLSKey = []byte("a relay's key") })},
	{report.E9, "another binding", with(func(o *attestation.Options) {
		o.Policy.Binding = binding.Binding{TLSKey: []byte("x"), HPKEKey: long(binding.HPKEKeySize)}.Encode()
	})},
	{report.E9, "a malformed binding", with(func(o *attestation.Options) { o.Policy.Binding = append(o.Policy.Binding, 0) })},
}

// generated is what an enclave that made one key may bind.
var generated = binding.Generation{Bundle: [48]byte{1}, KMSKey: "arn", PublicKeys: [][48]byte{{0x80}}}

// A document of a generation answers no nonce and binds no channel.
func TestADocumentOfAGenerationPasses(t *testing.T) {
	for name, s := range map[string]scene{
		"before a bundle": {},
		"with a bundle":   {lock16: long(48)},
	} {
		s.request = func(r *nsm.Request) { digest := generated.Digest(); r.UserData, r.Nonce = digest[:], nil }
		s.options = func(o *attestation.Options) {
			o.Policy.Generation, o.Policy.Nonce, o.Policy.Binding, o.Policy.TLSKey = generated.Encode(), nil, nil, nil
		}
		result := s.play(t)
		onlySkipped(t, result.Report)
		if result.Verdict != attestation.Good || result.Judgement.Generation == nil || result.Judgement.Generation.Digest() != generated.Digest() {
			t.Errorf("%s: got verdict %v, %+v", name, result.Verdict, result.Judgement)
		}
	}
}

func TestAGoodDocumentPassesEveryRule(t *testing.T) {
	configured := func(b *binding.Binding) { b.Configuration[0] = 1 }
	for name, s := range map[string]scene{
		"definite":              {},
		"indefinite":            {module: nsmtest.Options{Indefinite: true}},
		"tagged":                mutate(func(t *nsmtest.Template) { t.Tagged = true }),
		"with a public key":     {request: func(r *nsm.Request) { r.PublicKey = long(1024) }},
		"with an unknown field": extra("extra", "\xa1\x01\x82\x20\xf6"),
		"with a configuration":  {binding: configured, lock16: append([]byte{1}, long(47)...)},
		"with a bundle to release": {
			binding: configured, lock16: append([]byte{1}, long(47)...),
			options: func(o *attestation.Options) { o.Policy.Configuration[0] = 1 },
		},
		"signed and so published":     {module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: measured[2], 8: {8}}}, options: func(o *attestation.Options) { o.Policy.Measurements.Releases[0].Images[0].PCR8 = pcrs.PCR{8} }},
		"signed though not published": {module: nsmtest.Options{PCRs: map[int]nsm.Digest{0: measured[0], 1: measured[1], 2: measured[2], 8: {8}}}},
	} {
		t.Run(name, func(t *testing.T) {
			result := s.play(t)
			onlySkipped(t, result.Report)
			if result.Verdict != attestation.Good || result.ExitStatus() != 0 || result.Document == nil || result.Judgement.Entry.Version != "v1.0.0" {
				t.Errorf("got verdict %v, status %d", result.Verdict, result.ExitStatus())
			}
		})
	}
}

func TestEveryRuleFailsWhenItIsBroken(t *testing.T) {
	for _, test := range transgressions {
		t.Run(test.rule.String()+" "+test.name, func(t *testing.T) {
			result := test.scene.play(t)
			if got := result.Report.Check(test.rule); got.Verdict != report.Fail {
				t.Errorf("%s: %s, want fail: got %s, expected %s", got.ID, got.Verdict, got.Got, got.Expected)
			}
			if result.Verdict != attestation.Refused || result.Document != nil || result.Judgement != nil {
				t.Errorf("got verdict %v and a document %v", result.Verdict, result.Document != nil)
			}
			if status := result.ExitStatus(); status < int(report.Malformed) || status > int(test.rule.Class()) {
				t.Errorf("got exit status %d, want %d or the status of an earlier kind", status, test.rule.Class())
			}
		})
	}
}

// TestEveryRuleHasATestThatBreaksIt keeps the table complete. The rules that
// are left out cannot fail by themselves, or are broken elsewhere.
func TestEveryRuleHasATestThatBreaksIt(t *testing.T) {
	elsewhere := map[report.Rule]string{
		report.A2:  "TestDecode in package document",
		report.E5:  "for information",
		report.E7:  "for information",
		report.E10: "for information",
	}
	for _, test := range transgressions {
		elsewhere[test.rule] = test.name
	}
	for _, rule := range report.Rules() {
		if elsewhere[rule] == "" {
			t.Errorf("no test breaks %s", rule)
		}
	}
}

func TestTheZeroOptionsRefuseEverything(t *testing.T) {
	document, _ := scene{}.make(t)
	result := attestation.Verify(document, attestation.Options{}, nil)
	for _, rule := range []report.Rule{report.C1, report.D2, report.E2} {
		if got := result.Report.Check(rule).Verdict; got != report.Fail {
			t.Errorf("%s: %v, want fail", rule, got)
		}
	}
	if result.Verdict != attestation.Refused || (attestation.Result{}).Verdict != attestation.Refused {
		t.Errorf("got %v, want refused", result.Verdict)
	}
}

func TestWhatIsNotCheckedIsNoPass(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*judgement.Policy)
		status int
	}{
		"no nonce":     {func(p *judgement.Policy) { p.Nonce = nil }, int(report.Freshness)},
		"no binding":   {func(p *judgement.Policy) { p.Binding = nil }, int(report.Binding)},
		"no TLS key":   {func(p *judgement.Policy) { p.TLSKey = nil }, int(report.Binding)},
		"no freshness": {func(p *judgement.Policy) { p.AtDocumentTime = true }, int(report.Freshness)},
	} {
		t.Run(name, func(t *testing.T) {
			result := with(func(o *attestation.Options) { test.change(&o.Policy) }).play(t)
			if result.Verdict != attestation.Incomplete || result.ExitStatus() != test.status || result.Document != nil {
				t.Errorf("got %v, status %d, want incomplete, %d", result.Verdict, result.ExitStatus(), test.status)
			}
		})
	}
}
