package attestation_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"syscall"
	"testing"
	"time"

	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/document"
	"holdfast/verify/attestation/opinion"
	"holdfast/verify/report"
)

// BenchmarkVerify prints what parsing and verifying a document costs beside
// its five P-384 verifications: four links of the chain and the signature. The
// second opinion, which repeats them all, is measured apart.
func BenchmarkVerify(b *testing.B) {
	raw := read(b, "base_2026_01.bin")
	trust := awsTrust(b)
	validity := chain.Validity{At: []time.Time{parse(b, raw).Timestamp}}
	var d *document.Document
	var r *report.Report
	whole := func() {
		r = &report.Report{}
		var err error
		if d, err = document.Parse(raw, r); err != nil {
			b.Fatal(err)
		}
		if err := chain.Verify(d, trust, validity, r); err != nil {
			b.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := make([]byte, 48)
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest)
	if err != nil {
		b.Fatal(err)
	}
	bare := func() {
		for range 5 {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest, signature) {
				b.Fatal("invalid signature")
			}
		}
	}
	var spent, floor, second time.Duration
	for b.Loop() {
		spent += cpuTime(b, whole)
		floor += cpuTime(b, bare)
		second += cpuTime(b, func() { opinion.Ask(raw, d, trust, r) })
	}
	n := float64(b.N)
	b.ReportMetric(spent.Seconds()*1e3/n, "cpu-ms/document")
	b.ReportMetric(floor.Seconds()*1e3/n, "cpu-ms/5xP-384")
	b.ReportMetric(second.Seconds()*1e3/n, "cpu-ms/second-opinion")
	b.ReportMetric(float64(spent)/float64(floor), "ratio")
}

// cpuTime returns the processor time that f takes, which other programs on the
// machine do not lengthen.
func cpuTime(b *testing.B, f func()) time.Duration {
	before := used(b)
	f()
	return used(b) - before
}

func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
