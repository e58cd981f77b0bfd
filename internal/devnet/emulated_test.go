package devnet_test

import (
	"context"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/bundle/bundletest"
	"holdfast/image/eif"
	"holdfast/image/sandbox"
	"holdfast/internal/appliance"
	"holdfast/internal/devnet"
	"holdfast/parent/emulator"
	"holdfast/parent/emulator/emulatortest"
	"holdfast/parent/proxy"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/channel"
	"holdfast/verify/evidence"
	"holdfast/verify/live"
	"holdfast/verify/pcrs"
	"holdfast/verify/release"
)

func TestMain(m *testing.M) {
	sandbox.Init()
	os.Exit(m.Run())
}

// httpsPort is where the enclave serves.
const httpsPort = 5000

// Eight validators on a processor that QEMU interprets, two of which attest in each slot.
func TestAChainFinalisesThroughTwoEnclaves(t *testing.T) {
	machine := emulatortest.Machine(t, emulatortest.EIFVariable)
	machine.MemoryMiB = 256
	policy := accepting(t, machine.EIF)
	devnet.FinaliseThroughAReplacement(t, 8, devnet.DutiesWithoutSelection, func(journal string) devnet.Signer { return boot(t, machine, policy, journal) })
}

// boot starts an enclave and carries a loopback port to it.
func boot(t *testing.T, machine emulator.Machine, policy attestation.Options, journal string) devnet.Signer {
	t.Helper()
	vm, err := emulator.Start(context.Background(), machine)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("booted in %v", vm.BootTime.Round(time.Millisecond))
	closeJournal := appliance.KeepJournal(t, vm, journal)
	waitUntilServed(t, vm)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	p := &proxy.Proxy{Dial: func(ctx context.Context) (net.Conn, error) { return vm.Dial(ctx, httpsPort) }}
	go func() { done <- p.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("proxy: %v", err)
		}
		if err := vm.Close(); err != nil {
			t.Errorf("ending the machine: %v", err)
		}
		closeJournal()
	})
	t.Cleanup(stop)
	url := "https://" + listener.Addr().String()
	return devnet.Signer{
		URL:    url,
		Ports:  vm,
		Unlock: func(sealed *bundletest.Sealed) ([]string, []byte) { return unlock(t, url, policy, sealed) },
		Stop:   stop,
	}
}

func waitUntilServed(t *testing.T, vm *emulator.Running) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		conn, err := vm.Dial(ctx, httpsPort)
		if err == nil {
			conn.Close()
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("the enclave does not listen: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// accepting is what a key holder demands who publishes the image's measurements, and who knows that the
// emulator's documents are signed by nobody.
func accepting(t *testing.T, path string) attestation.Options {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	image, err := eif.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	m := image.Measure()
	published, err := (*pcrs.File)(nil).WithImage("v9.9.9", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: int64(len(data)), PCR0: m.PCR0, PCR1: m.PCR1, PCR2: m.PCR2,
	})
	if err != nil {
		t.Fatal(err)
	}
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	return attestation.Options{
		Trust:                trust,
		Policy:               judgement.Policy{Measurements: published, MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew},
		UnsafeAcceptEmulated: true,
	}
}

// unlock verifies the enclave and releases a bundle's data key to it, as `verify release` does.
func unlock(t *testing.T, url string, policy attestation.Options, bundle *bundletest.Sealed) (publicKeys []string, certificate []byte) {
	t.Helper()
	c, err := channel.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen, err := live.Fetch(t.Context(), c, live.NewNonce())
	if err != nil {
		t.Fatal(err)
	}
	seen.Configuration = bundle.Envelope.ConfigurationDigest()
	result := seen.Verify(policy)
	if result.Verdict != attestation.UnsafeEmulated {
		t.Fatalf("verdict %v, blocked by %v", result.Verdict, result.Blocking())
	}
	sealed, err := release.Seal(release.DataKey(bundle.DataKey.Reveal()), bundle.Envelope, *result.Judgement)
	if err != nil {
		t.Fatal(err)
	}
	if publicKeys, err = release.Send(t.Context(), c, sealed); err != nil {
		t.Fatal(err)
	}
	return publicKeys, evidence.CertificatePEM(seen.Certificate)
}
