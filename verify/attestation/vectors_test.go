package attestation_test

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// genuine lists the documents of real enclaves that do not run in debug mode.
var genuine = []string{"base_2026_01.bin", "blocky_prod.b64", "marlin1.bin", "marlin2.bin", "qos_mock.bin", "veracruz.cbor"}

// read returns a test document in its binary form.
func read(t testing.TB, name string) []byte {
	t.Helper()
	input, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := document.Decode(input, &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func parse(t testing.TB, raw []byte) *document.Document {
	t.Helper()
	d, err := document.Parse(raw, &report.Report{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func awsTrust(t testing.TB) chain.Trust {
	t.Helper()
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// publishing returns a PCRS.md that lists the image of a document.
func publishing(t testing.TB, d *document.Document) *pcrs.File {
	t.Helper()
	f, err := (&pcrs.File{}).WithImage("v1.0.0", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1,
		PCR0: d.PCRs[0], PCR1: d.PCRs[1], PCR2: d.PCRs[2],
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// onlySkipped fails unless exactly the given rules were not checked and all
// others hold.
func onlySkipped(t *testing.T, r *report.Report, want ...report.Rule) {
	t.Helper()
	skipped := map[report.Rule]bool{}
	for _, rule := range want {
		skipped[rule] = true
	}
	for _, c := range r.Checks() {
		expected := report.Pass
		if skipped[c.Rule()] {
			expected = report.Skipped
		}
		if c.Verdict != expected {
			t.Errorf("%s %s: %s, want %s: got %s, expected %s", c.ID, c.What, c.Verdict, expected, c.Got, c.Expected)
		}
	}
}

func TestEveryRealDocumentVerifiesAtItsOwnTime(t *testing.T) {
	for _, name := range genuine {
		t.Run(name, func(t *testing.T) {
			raw := read(t, name)
			d := parse(t, raw)
			result := attestation.Verify(raw, attestation.Options{
				Trust:  awsTrust(t),
				Policy: judgement.Policy{Measurements: publishing(t, d), AtDocumentTime: true},
			}, nil)
			onlySkipped(t, result.Report, report.D1, report.D2, report.E8, report.E9)
			if result.Verdict != attestation.Incomplete || result.ExitStatus() != int(report.Freshness) {
				t.Errorf("got verdict %v and status %d, want incomplete and %d: archived is not fresh", result.Verdict, result.ExitStatus(), report.Freshness)
			}
			if result.Document != nil {
				t.Error("a document came out of an incomplete verification")
			}
		})
	}
}

func TestEveryRealDocumentFailsOnceItsLeafHasExpired(t *testing.T) {
	for _, name := range append(genuine, "blocky_debug.b64") {
		t.Run(name, func(t *testing.T) {
			raw := read(t, name)
			d := parse(t, raw)
			leaf, err := x509.ParseCertificate(d.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			at := func(moment time.Time) report.Verdict {
				r := &report.Report{}
				_ = chain.Verify(d, awsTrust(t), chain.Validity{At: []time.Time{d.Timestamp, moment}}, r)
				return r.Check(report.C7).Verdict
			}
			if got := at(leaf.NotAfter); got != report.Pass {
				t.Errorf("at the last second: %v, want pass", got)
			}
			if got := at(leaf.NotAfter.Add(time.Second)); got != report.Fail {
				t.Errorf("a second later: %v, want fail", got)
			}
			policy := judgement.Policy{Measurements: publishing(t, parse(t, read(t, "marlin1.bin"))), Now: time.Now(), MaxAge: judgement.DefaultMaxAge}
			result := attestation.Verify(raw, attestation.Options{Trust: awsTrust(t), Policy: policy}, nil)
			if result.Verdict != attestation.Refused || result.Report.Check(report.C7).Verdict != report.Fail || result.Report.Check(report.D2).Verdict != report.Fail {
				t.Errorf("today: got %v, want refused by C7 and D2", result.Verdict)
			}
		})
	}
}

func TestADebugModeEnclaveIsRefusedForItsZeroMeasurements(t *testing.T) {
	raw := read(t, "blocky_debug.b64")
	// Its twin's measurements are published; they are not what it shows.
	options := attestation.Options{Trust: awsTrust(t), Policy: judgement.Policy{
		Measurements: publishing(t, parse(t, read(t, "blocky_prod.b64"))), AtDocumentTime: true,
	}}
	result := attestation.Verify(raw, options, nil)
	if got := result.Report.Check(report.E3); got.Verdict != report.Fail {
		t.Errorf("E3: %+v, want it to fail", got)
	}
	for _, rule := range []report.Rule{report.A7, report.C7, report.S1} {
		if got := result.Report.Check(rule); got.Verdict != report.Pass {
			t.Errorf("%s: %+v: the document is genuine", rule, got)
		}
	}
	if result.Verdict != attestation.Refused || result.ExitStatus() != int(report.Measurements) {
		t.Errorf("got %v, status %d", result.Verdict, result.ExitStatus())
	}
}

func TestASelfSignedDocumentIsRefusedForItsForm(t *testing.T) {
	r := &report.Report{}
	if _, err := document.Parse(read(t, "blocky_selfsigned.b64"), r); err == nil {
		t.Fatal("accepted")
	}
	if got := r.Check(report.A5); got.Verdict != report.Fail {
		t.Errorf("A5: %+v, want it to fail: the unprotected header is null", got)
	}
}

func TestEveryFlippedByteFails(t *testing.T) {
	for _, name := range []string{"base_2026_01.bin", "veracruz.cbor"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := read(t, name)
			trust := awsTrust(t)
			validity := chain.Validity{At: []time.Time{parse(t, raw).Timestamp}}
			for i := range raw {
				changed := append([]byte(nil), raw...)
				changed[i] ^= 1 << (i % 8)
				r := &report.Report{}
				d, err := document.Parse(changed, r)
				if err != nil {
					continue
				}
				if chain.Verify(d, trust, validity, r) == nil {
					t.Fatalf("byte %d does not count", i)
				}
			}
		})
	}
}
