package attestation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"syscall"
	"testing"
	"time"

	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/attestation/opinion"
	"holdfast/verify/report"
)

// BenchmarkVerifyDocument is all that is done for one document, the second
// opinion included. That repeats the five P-384 verifications of our own: four
// links of the chain and the signature.
func BenchmarkVerifyDocument(b *testing.B) {
	raw := read(b, "base_2026_01.bin")
	options := attestation.Options{
		Trust:  awsTrust(b),
		Policy: judgement.Policy{Measurements: publishing(b, parse(b, raw)), AtDocumentTime: true},
	}
	measureCPU(b, func() {
		if result := attestation.Verify(raw, options, nil); result.Verdict != attestation.Incomplete {
			b.Fatal(result.Blocking())
		}
	})
}

// BenchmarkOurOwn is the same without the second opinion.
func BenchmarkOurOwn(b *testing.B) {
	raw := read(b, "base_2026_01.bin")
	trust := awsTrust(b)
	policy := judgement.Policy{Measurements: publishing(b, parse(b, raw)), AtDocumentTime: true}
	validity := chain.Validity{At: []time.Time{parse(b, raw).Timestamp}}
	measureCPU(b, func() {
		r := &report.Report{}
		d, err := document.Parse(raw, r)
		if err != nil {
			b.Fatal(err)
		}
		if err := chain.Verify(d, trust, validity, r); err != nil {
			b.Fatal(err)
		}
		judgement.Judge(d, policy, r)
	})
}

// BenchmarkSecondOpinion is what the second opinion adds.
func BenchmarkSecondOpinion(b *testing.B) {
	raw := read(b, "base_2026_01.bin")
	d, trust := parse(b, raw), awsTrust(b)
	r := &report.Report{}
	r.Pass(report.A7, "", "")
	r.Pass(report.A9, "", "")
	measureCPU(b, func() { opinion.Ask(raw, d, trust, r) })
	if r.Check(report.S1).Verdict != report.Pass {
		b.Fatal(r.Check(report.S1))
	}
}

// BenchmarkFiveP384 is the floor: the verifications that no verifier can leave
// out.
func BenchmarkFiveP384(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := make([]byte, 48)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		b.Fatal(err)
	}
	measureCPU(b, func() {
		for range 5 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest, signature) {
				b.Fatal("invalid signature")
			}
		}
	})
}

// measureCPU runs f b.N times and reports the least processor time that it took,
// which other programs on the machine lengthen least.
func measureCPU(b *testing.B, f func()) {
	least := time.Duration(1<<63 - 1)
	for b.Loop() {
		before := used(b)
		f()
		least = min(least, used(b)-before)
	}
	b.ReportMetric(least.Seconds()*1e3, "least-cpu-ms/op")
}

func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
