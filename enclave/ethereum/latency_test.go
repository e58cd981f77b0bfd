package ethereum_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// saturation is how long, and by how many connections, capacity is measured.
	saturation            = 2 * time.Second
	saturatingConnections = 8

	// loadTime is how long each load lasts.
	loadTime = 4 * time.Second
)

// BenchmarkHalfLoad asks a signer of one processor for attestations at half of the rate that it can do, and
// reports how long answers take beside the time of a bare signature of the same run.
//
// The load is open: each request has a time at which it is due, whatever became of those before it, and its
// latency counts from then. A client that waited for an answer before it asked again would leave out what
// a slow answer does to those behind it (coordinated omission). Requests are due at even intervals, which
// shows what the signer itself adds, and then at random ones (a Poisson process), which shows its queue as
// well: of any server of one processor with a fixed time of service, half loaded, one request in a hundred
// waits for over twice that time behind others.
//
// Run it with -benchtime 1x: one round takes as long as it needs.
func BenchmarkHalfLoad(b *testing.B) {
	runtime.GOMAXPROCS(2) // the client must be on time; -cpu 1 counts for the signer
	server := startSigner(b)
	clients := connect(b, server)
	for b.Loop() {
		others := measureOthers(b, server)
		bare := bareSignatures(b)
		rate := capacity(b, clients)
		even := open(b, clients, schedule(rate/2, func() float64 { return 1 }))
		random := open(b, clients, schedule(rate/2, rand.ExpFloat64))
		bare = append(bare, bareSignatures(b)...) // before and after, should the machine change its pace
		slices.Sort(bare)
		b.ReportMetric(float64(bare[len(bare)/2]), "bare-ns")
		b.ReportMetric(rate, "capacity/s")
		b.ReportMetric(others(), "others-%")
		for name, took := range map[string][]time.Duration{"even": even, "random": random} {
			for _, percent := range []int{50, 90, 99} {
				b.ReportMetric(float64(took[len(took)*percent/100]), fmt.Sprintf("%s-p%d-ns", name, percent))
			}
			b.ReportMetric(float64(took[len(took)-1]), name+"-most-ns")
		}
	}
}

// measureOthers returns a function that says which share of the machine's processors other programs than
// this and the signer have used since, in percent: what they take shows in latencies.
func measureOthers(b *testing.B, server *signerProcess) func() float64 {
	b.Helper()
	ours := func() float64 { return float64(cpuTime(b))/1e9 + server.cpu(b) }
	began, busy := ours(), busySeconds(b)
	begun := time.Now()
	return func() float64 {
		whole := time.Since(begun).Seconds() * float64(runtime.NumCPU())
		return 100 * max(0, busySeconds(b)-busy-(ours()-began)) / whole
	}
}

// busySeconds reads the first line of proc_stat(5): time in hundredths of seconds, of which the fourth and the
// fifth number are of processors with nothing to do.
func busySeconds(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	var busy float64
	for i, field := range strings.Fields(line)[1:] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		if i != 3 && i != 4 && i < 8 { // time of guests is in that of users already
			busy += ticks / 100
		}
	}
	return busy
}

// bareSignatures are times of a signature alone.
func bareSignatures(b *testing.B) []time.Duration {
	key := testKey(b, 1)
	took := make([]time.Duration, 500)
	for i := range took {
		begun := time.Now()
		if _, err := key.Sign([32]byte{byte(i), byte(i >> 8)}); err != nil {
			b.Fatal(err)
		}
		took[i] = time.Since(begun)
	}
	return took
}

// A dutiful client has a connection and a key of its own: no request of it overtakes another. It writes and
// reads in one goroutine, since an http.Client hands each request through three, whose time would count.
type dutiful struct {
	conn   *tls.Conn
	answer *bufio.Reader
	path   string
	target int
}

// connect makes as many clients of a signer as it has keys, each with its handshake done.
func connect(b *testing.B, server *signerProcess) []*dutiful {
	clients := make([]*dutiful, signerKeys)
	for i := range clients {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(server.url, "https://"), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) // its certificate is httptest's
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		clients[i] = &dutiful{conn: conn, answer: bufio.NewReader(conn), path: "/api/v1/eth2/sign/" + testKey(b, byte(i+1)).PublicKey().String()}
		if err := clients[i].ask(); err != nil {
			b.Fatal(err)
		}
	}
	return clients
}

// ask asks for the next attestation's signature.
func (d *dutiful) ask() error {
	d.target++
	body := attestation(d.target-1, d.target, "a")
	_, err := fmt.Fprintf(d.conn, "POST %s HTTP/1.1\r\nHost: signer\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", d.path, len(body), body)
	if err != nil {
		return err
	}
	answer, err := http.ReadResponse(d.answer, nil)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s %s, %v", answer.Status, body, err)
	}
	return nil
}

// capacity is how many signatures a second the signer makes for clients that ask again at once.
func capacity(b *testing.B, clients []*dutiful) float64 {
	var group errgroup.Group
	var done atomic.Int64
	begun := time.Now()
	for _, client := range clients[:saturatingConnections] {
		group.Go(func() error {
			for time.Since(begun) < saturation {
				if err := client.ask(); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return float64(done.Load()) / time.Since(begun).Seconds()
}

// schedule returns when the requests of a load are due, from its beginning: gaps have the mean 1.
func schedule(rate float64, gap func() float64) []time.Duration {
	var due []time.Duration
	for at := 0.0; at < loadTime.Seconds(); at += gap() / rate {
		due = append(due, time.Duration(at*1e9))
	}
	return due
}

// open makes the requests of a schedule and returns their latencies, the least first.
func open(b *testing.B, clients []*dutiful, schedule []time.Duration) []time.Duration {
	took := make([]time.Duration, len(schedule))
	next := make(chan int, len(schedule)) // never full: nobody holds the schedule up
	begun := time.Now()
	var group errgroup.Group
	for _, client := range clients {
		group.Go(func() error {
			for i := range next {
				if err := client.ask(); err != nil {
					return err
				}
				took[i] = time.Since(begun) - schedule[i]
			}
			return nil
		})
	}
	for i, due := range schedule {
		sleep(due - time.Since(begun))
		next <- i
	}
	close(next)
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	slices.Sort(took)
	return took
}

// sleep asks the kernel itself: the runtime's timers are late by up to a millisecond where nothing else runs.
func sleep(d time.Duration) {
	if d > 0 {
		t := syscall.NsecToTimespec(int64(d))
		_ = syscall.Nanosleep(&t, nil) // a signal may end it early, which does not matter
	}
}
