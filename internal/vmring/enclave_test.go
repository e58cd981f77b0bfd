package vmring_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/control/message"
	"holdfast/image/eif"
	"holdfast/internal/appliance"
	"holdfast/internal/testenv"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/channel"
	"holdfast/verify/live"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// One boot serves the tests that follow one enclave through its life, in order.
func TestTheEnclave(t *testing.T) {
	vm, out := boot(t, "HOLDFAST_EIF")
	url := serve(t, vm)
	appliance.KeepJournal(t, vm, t.TempDir())
	t.Logf("booted in %v", vm.BootTime)

	t.Run("is measured by QEMU as by us", func(t *testing.T) { measuredAlike(t, url) })
	t.Run("is never called good on the emulator", func(t *testing.T) { neverGood(t, url) })
	t.Run("passes every other check", func(t *testing.T) { passesTheRest(t, url) })
	t.Run("is refused with another release's measurements", func(t *testing.T) { refusedWithOthers(t, url) })
	key := newKey(t)
	t.Run("wants a bundle before its data key", func(t *testing.T) { wantsABundleFirst(t, url, key) })
	t.Run("takes a bundle and its data key", func(t *testing.T) { takesAKey(t, vm, url, key, 1) })
	t.Run("takes a data key once", func(t *testing.T) { takesOneRelease(t, url, key) })
	t.Run("signs as a validator client asks, and refuses the slashable twin", func(t *testing.T) { signs(t, url, key) })
	t.Run("takes a newer bundle in the old one's place", func(t *testing.T) { takesAKey(t, vm, url, newKey(t), 2) })
	t.Run("prints no secret", func(t *testing.T) {
		if s := out.String(); strings.Contains(s, key.secret) || strings.Contains(s, strings.ToUpper(key.secret)) {
			t.Error("the console has the secret key")
		}
	})
	t.Run("says on the console what it did", func(t *testing.T) {
		for _, want := range []string{"nsm-hwrng", "heartbeat", "application"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("the console does not say %q", want)
			}
		}
	})
}

// measuredAlike compares what QEMU measured with what we compute from the file: a document passes
// only with measurements that are all equal to the published ones, and what is published here is ours.
func measuredAlike(t *testing.T, url string) {
	image, err := eif.Parse(readFile(t, testenv.Need(t, "HOLDFAST_EIF")))
	if err != nil {
		t.Fatal(err)
	}
	ours := image.Measure()
	if ours.PCR0.IsZero() || ours.PCR1 == ours.PCR0 || ours.PCR2 == ours.PCR0 || ours.PCR1 == ours.PCR2 {
		t.Fatal("the measurements are not three different ones")
	}
	published := pcrs.Image{Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: ours.PCR0, PCR1: ours.PCR1, PCR2: ours.PCR2}
	if verdict, blocking := judge(t, url, published); verdict != attestation.UnsafeEmulated {
		t.Fatalf("verdict %v, blocked by %v", verdict, blocking)
	}
	for i, register := range []*pcrs.PCR{&published.PCR0, &published.PCR1, &published.PCR2} {
		kept := *register
		register[47] ^= 1
		if verdict, _ := judge(t, url, published); verdict != attestation.Refused {
			t.Errorf("with one bit of PCR%d changed the verdict is %v", i, verdict)
		}
		*register = kept
	}
}

// judge asks the enclave for a document and judges it by measurements of the caller's.
func judge(t *testing.T, url string, published pcrs.Image) (attestation.Verdict, []report.Check) {
	t.Helper()
	ch, err := channel.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer ch.Close()
	seen, err := live.Fetch(t.Context(), ch, live.NewNonce())
	if err != nil {
		t.Fatal(err)
	}
	file, err := (*pcrs.File)(nil).WithImage("v9.9.9", published)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	result := seen.Verify(attestation.Options{
		Trust:                trust,
		Policy:               judgement.Policy{Measurements: file, MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew},
		UnsafeAcceptEmulated: true,
	})
	return result.Verdict, result.Blocking()
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func neverGood(t *testing.T, url string) {
	stdout, _, code := program(t, "verify", "live", url)
	if code != 4 || !strings.Contains(stdout, "EMULATED") || strings.Contains(stdout, "PASS:") {
		t.Fatalf("exit code %d, want 4\n%s", code, stdout)
	}
}

func passesTheRest(t *testing.T, url string) {
	stdout, stderr, code := program(t, "verify", "live", "--unsafe-accept-emulated", url)
	if code != 0 || !strings.Contains(stdout, "UNSAFE: EMULATED") || strings.Contains(stdout, "PASS:") {
		t.Fatalf("exit code %d, want 0 and UNSAFE: EMULATED\n%s%s", code, stdout, stderr)
	}
}

func refusedWithOthers(t *testing.T, url string) {
	other, err := (*pcrs.File)(nil).WithImage("v9.9.9", pcrs.Image{
		Architecture: pcrs.X8664, EIF: pcrs.Digest{1}, Size: 1, PCR0: pcrs.PCR{1}, PCR1: pcrs.PCR{2}, PCR2: pcrs.PCR{3},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "PCRS.md")
	if err := os.WriteFile(file, other.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout, _, code := program(t, "verify", "live", "--unsafe-accept-emulated", "--pcrs", file, url)
	if code != 6 {
		t.Fatalf("exit code %d, want 6\n%s", code, stdout)
	}
}

func release(t *testing.T, url, file, identity string) (stdout, stderr string, code int) {
	t.Helper()
	return program(t, "verify", "release", "--unsafe-accept-emulated", "--json", "--identity", identity, url, file)
}

func wantsABundleFirst(t *testing.T, url string, key testKey) {
	_, file, identity := key.bundle(t, 1, believing)
	stdout, stderr, code := release(t, url, file, identity)
	if code != 7 || !strings.Contains(stdout, "has not been given a bundle") {
		t.Fatalf("exit code %d, want 7\n%s%s", code, stdout, stderr)
	}
}

func takesAKey(t *testing.T, vm appliance.Ports, url string, key testKey, version int) {
	sealed, file, identity := key.bundle(t, version, believing)
	control := appliance.Control(t, vm)
	if _, err := control.PutBundle(t.Context(), sealed.Bytes()); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, code := release(t, url, file, identity)
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
	}
	var result struct {
		PublicKeys []string `json:"public_keys"`
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil {
		t.Fatal(err)
	}
	if len(result.PublicKeys) != 1 || result.PublicKeys[0] != key.public.String() {
		t.Fatalf("released %v, want %s", result.PublicKeys, key.public)
	}
	if status := appliance.Wait(t, control, message.Serving); status.Bundle.Version != uint64(version) || status.Slashing.Problem != "" {
		t.Errorf("got status %+v", status)
	}
}

func takesOneRelease(t *testing.T, url string, key testKey) {
	_, file, identity := key.bundle(t, 1, believing)
	_, stderr, code := release(t, url, file, identity)
	if code != 1 || !strings.Contains(stderr, "restart the enclave") {
		t.Fatalf("exit code %d, want 1 with a hint\n%s", code, stderr)
	}
}
