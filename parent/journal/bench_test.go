package journal_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/slashing"
	store "holdfast/enclave/slashing/journal"
)

// BenchmarkSync is the limit: appending what a record of one duty takes to a file,
// and fdatasync, with nothing around it.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	record := make([]byte, 400)
	for b.Loop() {
		if _, err := f.Write(record); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRecord1, 8 and 64 are attestations made durable, of that many keys side
// by side: the time is that of one attestation.
func BenchmarkRecord1(b *testing.B)  { benchmarkRecord(b, 1, nil) }
func BenchmarkRecord8(b *testing.B)  { benchmarkRecord(b, 8, nil) }
func BenchmarkRecord64(b *testing.B) { benchmarkRecord(b, 64, nil) }

// BenchmarkSign1, 8 and 64 sign each attestation as well, once it is durable.
func BenchmarkSign1(b *testing.B)  { benchmarkRecord(b, 1, blsKey(b)) }
func BenchmarkSign8(b *testing.B)  { benchmarkRecord(b, 8, blsKey(b)) }
func BenchmarkSign64(b *testing.B) { benchmarkRecord(b, 64, blsKey(b)) }

func blsKey(b *testing.B) *bls.SecretKey {
	key, err := bls.NewSecretKey(&[32]byte{31: 1})
	if err != nil {
		b.Fatal(err)
	}
	return key
}

func benchmarkRecord(b *testing.B, keys int, signer *bls.SecretKey) {
	server := serve(b, b.TempDir())
	s := open(b, config(server.socket))
	round(b, s, signer, keys, 1)
	before := server.Stats()
	target, duties := uint64(1), 0
	b.ResetTimer()
	for duties < b.N {
		target++
		round(b, s, signer, min(keys, b.N-duties), target)
		duties += keys
	}
	b.StopTimer()
	b.ReportMetric(float64(syncs(before, server.Stats()))*float64(keys)/float64(b.N), "syncs/round")
}

// round asks for one attestation of each key at once.
func round(t testing.TB, s *store.Store, signer *bls.SecretKey, keys int, target uint64) {
	begin := make(chan struct{})
	var group sync.WaitGroup
	for n := range keys {
		group.Go(func() {
			<-begin
			d := s.Record(t.Context(), chain, keyOf(n), vote(target))
			if d.Answer != slashing.Allowed {
				t.Error(d.Err)
			}
			if signer == nil {
				return
			}
			if _, err := signer.Sign([32]byte{1}); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	group.Wait()
}

// BenchmarkTogether64 asks for attestations of 64 keys at once. It reports how many
// syncs that costs, in the mean and at most.
func BenchmarkTogether64(b *testing.B) {
	server := serve(b, b.TempDir())
	s := open(b, config(server.socket))
	round(b, s, nil, 64, 1)
	target, most, first := uint64(1), uint64(0), server.Stats()
	for b.Loop() {
		target++
		before := server.Stats()
		round(b, s, nil, 64, target)
		most = max(most, syncs(before, server.Stats()))
	}
	b.ReportMetric(float64(syncs(first, server.Stats()))/float64(b.N), "syncs")
	b.ReportMetric(float64(most), "max-syncs")
}
