package ethereum_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"holdfast/enclave/ethereum/signing"
)

// BenchmarkSignBare is blst alone; BenchmarkSignOverHandler adds parsing, the
// root, slashing protection in memory and the answer; BenchmarkSignOverHTTPS adds
// the connection. Their ratios say what Holdfast costs on top of the signature.
func BenchmarkSignBare(b *testing.B) {
	key := testKey(b, 1)
	defer reportCPU(b)()
	for b.Loop() {
		if _, err := key.Sign([32]byte{1}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignOverHandler(b *testing.B) {
	key := testKey(b, 1)
	service := loaded(b, key)
	handler := service.Handler()
	path := "/api/v1/eth2/sign/" + key.PublicKey().String()
	target := 0
	defer reportCPU(b)()
	for b.Loop() {
		target++
		r := httptest.NewRequest("POST", path, strings.NewReader(attestation(target-1, target, "a")))
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code != 200 {
			b.Fatalf("got %d %s", w.Code, w.Body)
		}
	}
}

func BenchmarkSignOverHTTPS(b *testing.B) {
	key := testKey(b, 1)
	server := httptest.NewTLSServer(loaded(b, key).Handler())
	defer server.Close()
	client := server.Client()
	client.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS13
	url := server.URL + "/api/v1/eth2/sign/" + key.PublicKey().String()
	target := 0
	defer reportCPU(b)() // the client's included
	for b.Loop() {
		target++
		answer, err := client.Post(url, "application/json", strings.NewReader(attestation(target-1, target, "a")))
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if answer.StatusCode != 200 {
			b.Fatalf("got %s", answer.Status)
		}
	}
}

// reportCPU reports the processor time of an operation, which a busy machine
// disturbs less than the clock's.
func reportCPU(b *testing.B) (done func()) {
	before := cpuTime(b)
	return func() { b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op") }
}

// cpuTime is what this process has used so far, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func BenchmarkParse(b *testing.B) {
	n := testNetwork()
	for name, body := range map[string]string{"attestation": attestation(1, 2, "a"), "block": block(1, "a")} {
		b.Run(name, func(b *testing.B) {
			data := []byte(body)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := signing.Parse(data, &n); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// FuzzSign posts any body to a loaded signer: it must answer with a status of the
// contract, a JSON error where it refuses, and never panic.
func FuzzSign(f *testing.F) {
	for _, seed := range []string{attestation(0, 1, "a"), block(1, "a"), "{}", `{"type":"BLOCK"}`, `{"type":"DEPOSIT","deposit":{}}`} {
		f.Add([]byte(seed))
	}
	key := testKey(f, 1)
	f.Fuzz(func(t *testing.T, body []byte) {
		w := post(loaded(t, key), key.PublicKey().String(), string(body))
		switch w.Code {
		case 200:
			if !bytes.HasPrefix(w.Body.Bytes(), []byte("0x")) || w.Body.Len() != 194 {
				t.Fatalf("got 200 with %s", w.Body)
			}
		case 400, 403, 412:
			wantError(t, w, w.Code)
		default:
			t.Fatal(fmt.Errorf("got %d %s for %q", w.Code, w.Body, body))
		}
	})
}
