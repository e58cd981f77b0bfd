package ethereum_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"

	blst "github.com/supranational/blst/bindings/go"

	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing/slashingtest"
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

// BenchmarkSignOverHTTPS counts the server's processor time alone: the server is a
// process of its own, this test's binary started again, with one processor.
func BenchmarkSignOverHTTPS(b *testing.B) {
	server := startSigner(b)
	url := server.url + "/api/v1/eth2/sign/" + testKey(b, 1).PublicKey().String()
	target := 0
	sign := func() {
		target++
		server.sign(b, url, attestation(target-1, target, "a"))
	}
	sign() // the handshake is not a signature's cost
	before, signed := server.cpu(b), 0
	for b.Loop() {
		sign()
		signed++
	}
	b.ReportMetric((server.cpu(b)-before)*1e9/float64(signed), "cpu-ns/op")
}

// signerProcess is a signer of keys 1 to 32 in a process of its own.
type signerProcess struct {
	url    string
	client *http.Client
}

// signerVariable tells the test's binary to be the signer.
const signerVariable = "HOLDFAST_BENCH_SIGNER"

func TestMain(m *testing.M) {
	if os.Getenv(signerVariable) != "" {
		runSigner()
		return
	}
	os.Exit(m.Run())
}

// signerKeys is how many keys the signer has: more than are ever in use at once.
const signerKeys = 32

// runSigner prints its address and serves until its standard input ends.
func runSigner() {
	keys := make([]*bls.SecretKey, signerKeys)
	for i := range keys {
		key, err := bls.NewSecretKey(&[32]byte{31: byte(i + 1)})
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	service := ethereum.New(nil)
	err := service.Load(ethereum.Config{Network: testNetwork(), Keys: keys, Slashing: slashingtest.NewMemory(root(validatorsRoot))})
	if err != nil {
		panic(err)
	}
	server := httptest.NewTLSServer(service.Handler())
	fmt.Println(server.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func startSigner(b *testing.B) *signerProcess {
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), signerVariable+"=1", "GOMAXPROCS=1")
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = stdin.Close()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}} // its certificate is httptest's
	b.Cleanup(transport.CloseIdleConnections)
	return &signerProcess{strings.TrimSpace(line), &http.Client{Transport: transport}}
}

func (s *signerProcess) sign(b *testing.B, url, body string) {
	answer, err := s.client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != 200 {
		b.Fatalf("got %s", answer.Status)
	}
}

// cpu asks the signer's own metrics for the processor time that it has used.
func (s *signerProcess) cpu(b *testing.B) float64 {
	answer, err := s.client.Get(s.url + "/metrics")
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), "process_cpu_seconds_total "); ok {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			return seconds
		}
	}
	b.Fatal("no processor time in the metrics")
	return 0
}

// tenThousand is as many keys as the largest operators give one signer.
const tenThousand = 10_000

// scalars are distinct secret keys.
func scalars(n int) [][32]byte {
	made := make([][32]byte, n)
	for i := range made {
		made[i] = sha256.Sum256(fmt.Append(nil, "key ", i))
		made[i][0] &= 0x3f // below the group order
	}
	return made
}

// BenchmarkDerive10000 is blst alone: what 10,000 keys cost at least.
func BenchmarkDerive10000(b *testing.B) {
	made := scalars(tenThousand)
	defer reportCPU(b)()
	for b.Loop() {
		for i := range made {
			secret := new(blst.SecretKey).Deserialize(made[i][:])
			new(blst.P1Affine).From(secret).Compress()
		}
	}
}

// BenchmarkLoad10000 makes a service ready to sign with 10,000 keys.
func BenchmarkLoad10000(b *testing.B) {
	made := scalars(tenThousand)
	defer reportCPU(b)()
	for b.Loop() {
		if got := len(manyKeys(b, made).PublicKeys()); got != tenThousand {
			b.Fatalf("got %d keys", got)
		}
	}
}

func manyKeys(b *testing.B, made [][32]byte) *ethereum.Service {
	keys := make([]*bls.SecretKey, len(made))
	for i := range made {
		key, err := bls.NewSecretKey(&made[i])
		if err != nil {
			b.Fatal(err)
		}
		keys[i] = key
	}
	return loaded(b, keys...)
}

// BenchmarkMemory10000 reports the process's resident memory with 10,000 keys
// that have all signed, and what of the heap they hold.
func BenchmarkMemory10000(b *testing.B) {
	var heap, resident float64
	for b.Loop() {
		before := heapInUse()
		service := manyKeys(b, scalars(tenThousand))
		for _, public := range service.PublicKeys()[:100] {
			if w := post(service, public.String(), block(1, "a")); w.Code != 200 {
				b.Fatalf("got %d %s", w.Code, w.Body)
			}
		}
		debug.FreeOSMemory()
		heap, resident = heapInUse()-before, residentMemory(b)
		runtime.KeepAlive(service)
	}
	b.ReportMetric(heap/(1<<20), "heap-MB")
	b.ReportMetric(resident/(1<<20), "resident-MB")
}

func heapInUse() float64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

func residentMemory(b *testing.B) float64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.ParseFloat(strings.Fields(string(data))[1], 64)
	if err != nil {
		b.Fatal(err)
	}
	return pages * float64(os.Getpagesize())
}

// BenchmarkBatch signs one attestation with 1,000 keys in one request. Its
// processor time a key stands beside BenchmarkSignBare's.
func BenchmarkBatch(b *testing.B) {
	const keys = 1000
	var names []string
	service := configured(b, func(c *ethereum.Config) {
		c.Batch = true
		for _, scalar := range scalars(keys) {
			key, err := bls.NewSecretKey(&scalar)
			if err != nil {
				b.Fatal(err)
			}
			c.Keys, names = append(c.Keys, key), append(names, key.PublicKey().String())
		}
	})
	target, before := 0, cpuTime(b)
	for b.Loop() {
		target++
		w := postBatch(service, batch(attestation(target-1, target, "a"), names...))
		if w.Code != 200 || strings.Contains(w.Body.String(), "error") {
			b.Fatalf("got %d %.300s", w.Code, w.Body)
		}
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(target*keys), "cpu-ns/key")
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
