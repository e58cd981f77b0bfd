package bundle_test

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/secret"
	"holdfast/verify/envelope"
)

const many = 10_000

// BenchmarkDerive is what 10,000 keys cost at least: their public keys, on as many
// processors as there are. BenchmarkSeal and BenchmarkOpen are measured beside it, and
// report by how much the heap grew at most.
func BenchmarkDerive(b *testing.B) {
	made := scalars(many)
	for b.Loop() {
		deriveBare(b, made)
	}
}

// BenchmarkOpen reads the file of a bundle of 10,000 keys, and makes it ready to sign.
func BenchmarkOpen(b *testing.B) {
	d := plain()
	d.Secrets.Validators = scalars(many)
	file := seal(b, d, dataKey(1)).Bytes()
	peak := watchHeap(b)
	for b.Loop() {
		opened, err := openFile(file)
		if err != nil {
			b.Fatal(err)
		}
		opened.Wipe()
	}
	b.ReportMetric(peak(), "peak-MB")
}

// BenchmarkSeal seals a bundle of 10,000 keys.
func BenchmarkSeal(b *testing.B) {
	d := plain()
	d.Secrets.Validators = scalars(many)
	peak := watchHeap(b)
	for b.Loop() {
		seal(b, d, dataKey(1))
	}
	b.ReportMetric(peak(), "peak-MB")
}

// TestOpeningCostsLittleMoreThanTheKeys holds a load to 1.5 times the bare cost of its
// derivations, in processor time, which a busy machine disturbs less than the clock's.
// The best of several tries counts.
func TestOpeningCostsLittleMoreThanTheKeys(t *testing.T) {
	if testing.Short() {
		t.Skip("derives tens of thousands of keys")
	}
	d := plain()
	d.Secrets.Validators = scalars(many)
	file := seal(t, d, dataKey(1)).Bytes()
	best, bare := time.Hour, time.Hour
	for range 3 {
		start := processorTime(t)
		deriveBare(t, d.Secrets.Validators)
		bare, start = min(bare, processorTime(t)-start), processorTime(t)
		opened, err := openFile(file)
		if err != nil {
			t.Fatal(err)
		}
		best = min(best, processorTime(t)-start)
		opened.Wipe()
	}
	if ratio := float64(best) / float64(bare); ratio > 1.5 {
		t.Errorf("opening %d keys took %v, %.2f times their derivation (%v); want at most 1.5", many, best, ratio, bare)
	}
}

func openFile(file []byte) (*bundle.Bundle, error) {
	e, err := envelope.Parse(file)
	if err != nil {
		return nil, err
	}
	return bundle.Open(e, dataKey(1))
}

// processorTime is what this process has used so far.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// deriveBare derives public keys on every processor.
func deriveBare(t testing.TB, scalars []secret.Bytes) {
	t.Helper()
	var group errgroup.Group
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		group.Go(func() error {
			for i := worker; i < len(scalars); i += workers {
				if _, err := bls.NewSecretKey((*[32]byte)(scalars[i].Reveal())); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// watchHeap samples the heap, and returns a function that ends that and returns the
// growth to the highest sample in MB.
func watchHeap(b *testing.B) func() float64 {
	b.Helper()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	before, done := stats.HeapInuse, make(chan struct{})
	var highest atomic.Uint64
	go func() {
		for {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			highest.Store(max(highest.Load(), now.HeapInuse))
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() float64 {
		close(done)
		return float64(highest.Load()-min(before, highest.Load())) / 1e6
	}
}
