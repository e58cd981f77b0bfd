package document_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"holdfast/verify/attestation/document"
	"holdfast/verify/report"
)

// vectors are the documents of package attestation's testdata, in binary.
func vectors(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("../testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, path := range paths {
		if filepath.Ext(path) == ".md" {
			continue
		}
		input, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := document.Decode(input, &report.Report{})
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(path)] = raw
	}
	if len(out) != 8 {
		t.Fatalf("got %d documents, want 8", len(out))
	}
	return out
}

func TestParseReadsAnIndefiniteMap(t *testing.T) {
	d, err := document.Parse(vectors(t)["base_2026_01.bin"], &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	if want := "i-0368fa67e156d6d23-enc019b8596b1a9dad6"; d.ModuleID != want || d.InstanceID() != want[:19] {
		t.Errorf("got module %q of instance %q, want %q", d.ModuleID, d.InstanceID(), want)
	}
	if got := d.Timestamp.UnixMilli(); got != 1767472867402 {
		t.Errorf("got timestamp %d", got)
	}
	if len(d.PCRs) != 16 || d.PCRs[0].String()[:8] != "4b8d4cf2" || len(d.CABundle) != 4 || len(d.Certificate) != 639 {
		t.Errorf("got %d PCRs, PCR0 %s, %d in cabundle, a certificate of %d bytes", len(d.PCRs), d.PCRs[0], len(d.CABundle), len(d.Certificate))
	}
	if d.PublicKey != nil || len(d.UserData) != 20 || d.Nonce != nil || d.UnknownKeys != nil {
		t.Errorf("got public_key %x, user_data %x, nonce %x, unknown %v", d.PublicKey, d.UserData, d.Nonce, d.UnknownKeys)
	}
}

func TestSigStructureIsThatOfRFC9052(t *testing.T) {
	d := &document.Document{Protected: []byte{0xa1, 1, 0x38, 0x22}, Payload: bytes.Repeat([]byte{9}, 300)}
	want := append([]byte("\x84\x6aSignature1\x44\xa1\x01\x38\x22\x40\x59\x01\x2c"), d.Payload...)
	if got := d.SigStructure(); !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	d.Payload = d.Payload[:200]
	if got := d.SigStructure(); !bytes.Contains(got, []byte{0x40, 0x58, 200, 9}) {
		t.Errorf("got %x", got)
	}
}

func TestDecode(t *testing.T) {
	raw := vectors(t)["marlin1.bin"]
	tagged := append([]byte{0xd2}, raw...)
	for name, test := range map[string]struct {
		input []byte
		want  []byte // nil: refused
	}{
		"binary":                {raw, raw},
		"binary with a tag":     {tagged, tagged},
		"base64":                {[]byte(base64.StdEncoding.EncodeToString(raw)), raw},
		"base64, line feed":     {[]byte(base64.StdEncoding.EncodeToString(raw) + "\n"), raw},
		"base64 with a tag":     {[]byte(base64.StdEncoding.EncodeToString(tagged)), tagged},
		"base64url":             {[]byte(base64.URLEncoding.EncodeToString(raw)), raw},
		"base64url, unpadded":   {[]byte(base64.RawURLEncoding.EncodeToString(raw)), raw},
		"base64, unpadded":      {[]byte(base64.RawStdEncoding.EncodeToString(raw)), raw},
		"hexadecimal":           {[]byte(hex.EncodeToString(raw)), raw},
		"hexadecimal, tag":      {[]byte(hex.EncodeToString(tagged)), tagged},
		"nothing":               {nil, nil},
		"something else":        {[]byte("hello"), nil},
		"PEM":                   {[]byte("-----BEGIN"), nil},
		"base64 of two lines":   {[]byte("hESh\nATgi"), nil},
		"base64, two spellings": {[]byte("hESh+_8="), nil},
		"base64, loose bits":    {[]byte("hF=="), nil},
		"hexadecimal cut":       {[]byte("844"), nil},
		"too much":              {make([]byte, document.MaxInputSize+1), nil},
	} {
		r := &report.Report{}
		got, err := document.Decode(test.input, r)
		if !bytes.Equal(got, test.want) || (err == nil) != (test.want != nil) {
			t.Errorf("%s: got %.8x and error %v", name, got, err)
		}
		if want := map[bool]report.Verdict{true: report.Pass, false: report.Fail}[test.want != nil]; r.Check(report.A2).Verdict != want {
			t.Errorf("%s: A2 is %v, want %v", name, r.Check(report.A2).Verdict, want)
		}
	}
}

func TestErrorsNameTheRule(t *testing.T) {
	_, err := document.Parse([]byte{0x80}, &report.Report{})
	var e *document.Error
	if !errors.As(err, &e) || e.Rule != report.A3 {
		t.Errorf("got %v, want an error about A3", err)
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for name, raw := range vectors(t) {
		for n := range raw {
			if d, err := document.Parse(raw[:n], &report.Report{}); err == nil || d != nil {
				t.Fatalf("%s: accepted %d of %d bytes", name, n, len(raw))
			}
		}
	}
}

// TestParsingAllocatesLittle parses heads that promise much more than follows.
func TestParsingAllocatesLittle(t *testing.T) {
	promises := [][]byte{
		[]byte("\x84\x44\xa1\x01\x38\x22\xa0\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
		[]byte("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
		append([]byte("\x84\x44\xa1\x01\x38\x22\xa0\x4f\xa1\x64pcrs\xbb\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x58\x60"), make([]byte, 96)...),
	}
	for _, raw := range promises {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 100 {
			if _, err := document.Parse(raw, &report.Report{}); err == nil {
				t.Fatalf("accepted %x", raw)
			}
		}
		runtime.ReadMemStats(&after)
		if got := (after.TotalAlloc - before.TotalAlloc) / 100; got > 64<<10 {
			t.Errorf("%.16x: %d bytes allocated", raw, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, raw := range vectors(f) {
		f.Add(raw)
	}
	f.Add([]byte("\x84\x43\xa1\x01\x20\xa0\x41\xbf\x58\x40"))
	f.Add([]byte("\xd2\x84\x44\xa1\x01\x38\x22\xa0\x43\xa1\x61\x78\x58\x60"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &report.Report{}
		d, err := document.Parse(raw, r)
		if (err == nil) != (d != nil) {
			t.Fatalf("got document %v with error %v", d, err)
		}
		if u, err := document.ParseUnsafeEmulated(raw, &report.Report{}); err == nil && (d != nil || u == nil) {
			t.Fatal("one document is both signed and emulated")
		}
		if err != nil {
			if len(r.With(report.Fail)) == 0 {
				t.Fatal("refused without a failed rule")
			}
			return
		}
		if len(r.With(report.Fail)) != 0 {
			t.Fatalf("accepted with failed rules: %+v", r.With(report.Fail))
		}
		if len(d.Signature) != document.SignatureSize || len(d.CABundle) == 0 || len(d.PCRs) == 0 || d.Timestamp.UnixMilli() <= 0 {
			t.Fatalf("accepted %+v", d)
		}
	})
}

// FuzzPayload drives the CBOR reader without the COSE structure in its way.
func FuzzPayload(f *testing.F) {
	for _, raw := range vectors(f) {
		if d, err := document.Parse(raw, &report.Report{}); err == nil {
			f.Add(d.Payload)
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) > 0xffff {
			return
		}
		raw := append([]byte("\x84\x44\xa1\x01\x38\x22\xa0"), 0x59, byte(len(payload)>>8), byte(len(payload)))
		raw = append(append(raw, payload...), 0x58, 96)
		raw = append(raw, make([]byte, 96)...)
		d, err := document.Parse(raw, &report.Report{})
		if err == nil && !bytes.Equal(d.Payload, payload) {
			t.Error("the payload changed")
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("hESh"))
	f.Add([]byte("8444"))
	f.Add([]byte{0x84})
	f.Fuzz(func(t *testing.T, input []byte) {
		raw, err := document.Decode(input, &report.Report{})
		if err != nil && raw != nil {
			t.Error("bytes came back with an error")
		}
	})
}
