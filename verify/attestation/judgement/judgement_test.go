package judgement_test

import (
	"bytes"
	"crypto/sha512"
	"strings"
	"testing"
	"time"

	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

var (
	noon  = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	bound = binding.Binding{TLSKey: []byte("TLS key"), HPKEKey: make([]byte, binding.HPKEKeySize)}
	nonce = bytes.Repeat([]byte{7}, 32)
)

// claim is a document that satisfies [expectation].
func claim() *document.Document {
	digest := bound.Digest()
	return &document.Document{
		ModuleID:  "i-0123456789abcdef0-enc019b8596b1a9dad6",
		Timestamp: noon,
		PCRs: map[int]pcrs.PCR{
			0: {1}, 1: {2}, 2: {3},
			4: document.Extend(pcrs.PCR{}, []byte("i-0123456789abcdef0")),
		},
		UserData: digest[:],
		Nonce:    nonce,
	}
}

func expectation() judgement.Policy {
	return judgement.Policy{
		Measurements: &pcrs.File{Releases: []pcrs.Release{
			{Version: "v2.0.0", Status: pcrs.Active, Images: []pcrs.Image{
				{Architecture: pcrs.X8664, PCR0: pcrs.PCR{1}, PCR1: pcrs.PCR{2}, PCR2: pcrs.PCR{3}},
				{Architecture: pcrs.AArch64, PCR0: pcrs.PCR{4}, PCR1: pcrs.PCR{5}, PCR2: pcrs.PCR{6}},
			}},
			{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{
				{Architecture: pcrs.X8664, PCR0: pcrs.PCR{7}, PCR1: pcrs.PCR{8}, PCR2: pcrs.PCR{9}},
			}},
		}},
		Nonce: nonce, Now: noon, MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew,
		Binding: bound.Encode(), TLSKey: bound.TLSKey,
	}
}

// judged are the rules of this package.
var judged = []report.Rule{
	report.P1, report.D1, report.D2, report.E1, report.E2, report.E3, report.E4, report.E5,
	report.E6, report.E7, report.E8, report.E9, report.E10,
}

func judge(d *document.Document, p judgement.Policy) (*report.Report, judgement.Judgement) {
	r := &report.Report{}
	j := judgement.Judge(d, p, r)
	return r, j
}

func TestWhatWasExpectedPasses(t *testing.T) {
	r, j := judge(claim(), expectation())
	for _, rule := range judged {
		if got := r.Check(rule); got.Verdict != report.Pass {
			t.Errorf("%+v", got)
		}
	}
	if j.Entry.Version != "v2.0.0" || j.Entry.Image.Architecture != pcrs.X8664 || !bytes.Equal(j.Binding.TLSKey, bound.TLSKey) {
		t.Errorf("got %+v", j)
	}
}

func TestTheZeroPolicyPassesNothingThatIsAskedOfIt(t *testing.T) {
	r, j := judge(claim(), judgement.Policy{})
	for _, rule := range []report.Rule{report.D2, report.E2} {
		if got := r.Check(rule); got.Verdict != report.Fail {
			t.Errorf("%+v, want fail", got)
		}
	}
	for _, rule := range []report.Rule{report.D1, report.E1, report.E4, report.E8, report.E9} {
		if got := r.Check(rule); got.Verdict != report.Skipped {
			t.Errorf("%+v, want skipped", got)
		}
	}
	if j.Entry.Version != "" || j.Binding.TLSKey != nil {
		t.Errorf("got %+v", j)
	}
}

func TestAgeHasTwoBounds(t *testing.T) {
	for name, test := range map[string]struct {
		now  time.Time
		want report.Verdict
	}{
		"just made":         {noon, report.Pass},
		"as old as allowed": {noon.Add(5 * time.Minute), report.Pass},
		"older":             {noon.Add(5*time.Minute + time.Millisecond), report.Fail},
		"as far ahead":      {noon.Add(-time.Minute), report.Pass},
		"further ahead":     {noon.Add(-time.Minute - time.Millisecond), report.Fail},
	} {
		p := expectation()
		p.Now = test.now
		r, _ := judge(claim(), p)
		if got := r.Check(report.D2); got.Verdict != test.want {
			t.Errorf("%s: %+v, want %v", name, got, test.want)
		}
	}
}

func TestFreshnessLeftOutIsSaidSo(t *testing.T) {
	p := expectation()
	p.AtDocumentTime = true
	r, _ := judge(claim(), p)
	if got := r.Check(report.D2); got.Verdict != report.Skipped || !strings.Contains(got.Got, "NOT CHECKED") {
		t.Errorf("%+v", got)
	}
}

func TestAMismatchNamesTheNearestEntryAndWhatDiffers(t *testing.T) {
	d := claim()
	d.PCRs[1] = pcrs.PCR{0xee}
	r, _ := judge(d, expectation())
	got := r.Check(report.E1)
	if got.Verdict != report.Fail || !strings.HasPrefix(got.Got, "PCR1 ee00") || !strings.Contains(got.Got, "release v2.0.0 for x86_64") || strings.Contains(got.Got, "PCR0") {
		t.Errorf("%+v", got)
	}
}

func TestOneReleaseCanBeAskedFor(t *testing.T) {
	p := expectation()
	p.Release = "v1.0.0"
	r, _ := judge(claim(), p)
	if got := r.Check(report.E1); got.Verdict != report.Fail {
		t.Errorf("%+v: another release passed", got)
	}
	p.Release = "v2.0.0"
	if r, _ := judge(claim(), p); r.Check(report.E1).Verdict != report.Pass {
		t.Errorf("%+v", r.Check(report.E1))
	}
}

func TestMeasurementsOfTwoEntriesDoNotMix(t *testing.T) {
	d := claim()
	d.PCRs[0], d.PCRs[1], d.PCRs[2] = pcrs.PCR{1}, pcrs.PCR{5}, pcrs.PCR{9}
	if r, _ := judge(d, expectation()); r.Check(report.E1).Verdict != report.Fail {
		t.Error("PCR0, PCR1 and PCR2 of three entries passed together")
	}
}

func TestAnImageWithoutAnApplicationIsNoted(t *testing.T) {
	d := claim()
	nothing := sha512.Sum384(nil)
	d.PCRs[2] = document.Extend(pcrs.PCR{}, nothing[:])
	const known = "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"
	if d.PCRs[2].String() != known {
		t.Fatalf("got %s, want %s", d.PCRs[2], known)
	}
	r, _ := judge(d, expectation())
	if got := r.Check(report.E5); !strings.HasPrefix(got.Got, "none") {
		t.Errorf("%+v", got)
	}
}

func TestAStockKernelIsNoted(t *testing.T) {
	d := claim()
	d.PCRs[1], _ = pcrs.ParsePCR("0343b056cd8485ca7890ddd833476d78460aed2aa161548e4e26bedf321726696257d623e8805f3f605946b3d8b0c6aa")
	r, _ := judge(d, expectation())
	if got := r.Check(report.E7); !strings.HasPrefix(got.Got, "stock AWS kernel") {
		t.Errorf("%+v", got)
	}
}

func TestTheStartOfTheEnclaveIsRead(t *testing.T) {
	d := claim()
	d.ModuleID = "i-0a22e5c5f24d22174-enc0191cceb4289903f"
	d.Timestamp = time.UnixMilli(1725719859545).UTC()
	r, _ := judge(d, expectation())
	if got := r.Check(report.E10); got.Got != "about 2024-09-07T14:37:35Z, up 4s" {
		t.Errorf("%+v", got)
	}
	for _, id := range []string{"i-0a22e5c5f24d22174", "i-1-enc", "i-1-enczzzzzzzzzzzzzzzz", "i-234-enc5678"} {
		d.ModuleID = id
		r, _ := judge(d, expectation())
		if got := r.Check(report.E10); got.Verdict != report.Pass || !strings.HasPrefix(got.Got, "not told") {
			t.Errorf("%s: %+v", id, got)
		}
	}
}

func TestPCR4IsThatOfTheInstanceInTheModuleID(t *testing.T) {
	d := claim()
	d.ModuleID = "i-0fedcba9876543210-enc019b8596b1a9dad6"
	if r, _ := judge(d, expectation()); r.Check(report.E6).Verdict != report.Fail {
		t.Error("PCR4 of one instance passed for another")
	}
	d.ModuleID = "nonsense"
	if r, _ := judge(d, expectation()); r.Check(report.E6).Verdict != report.Fail || r.Check(report.P1).Verdict != report.Fail {
		t.Error("a module_id without an instance passed")
	}
}

func TestTheBindingIsHandedOutOnlyWhenItHolds(t *testing.T) {
	p := expectation()
	p.TLSKey = []byte("a relay's key")
	if _, j := judge(claim(), p); j.Binding.HPKEKey != nil {
		t.Error("a key to seal to came out of a broken binding")
	}
}
