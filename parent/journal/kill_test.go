package journal_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/slashing"
	store "holdfast/enclave/slashing/journal"
	"holdfast/parent/journal"
)

// serverVariable makes the test's binary a server of the directory it names, on the
// socket in that directory.
const serverVariable = "HOLDFAST_TEST_JOURNAL"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverVariable); dir != "" {
		if err := runServer(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if socket := os.Getenv(enclaveVariable); socket != "" {
		if err := runEnclave(socket); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runServer serves until its standard input ends. It prints a line when it listens.
func runServer(dir string) error {
	socket := filepath.Join(dir, "socket")
	_ = os.Remove(socket) // of a server that was killed
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	fmt.Println("listening")
	ctx, cancel := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); cancel() }()
	return (&journal.Server{Dir: dir}).Serve(ctx, listener)
}

type process struct {
	command *exec.Cmd
	stdin   io.Closer
}

func startServer(t *testing.T, dir string) *process {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), serverVariable+"="+dir)
	command.Stderr = os.Stderr
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{command, stdin}
	t.Cleanup(p.kill)
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal("the server does not start:", err)
	}
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.command.Process.Kill()
	_ = p.command.Wait()
	_ = p.stdin.Close()
}

// load is validators that ask for one attestation after another, and remember the
// last that was allowed.
type load struct {
	mu      sync.Mutex
	allowed map[slashing.PublicKey]uint64
	total   int
}

func (l *load) run(ctx context.Context, s *store.Store, n int) {
	for target := uint64(1); ctx.Err() == nil; {
		if s.Record(ctx, chain, keyOf(n), vote(target)).Answer != slashing.Allowed {
			continue // asks for the same again
		}
		l.mu.Lock()
		l.allowed[keyOf(n)] = target
		l.total++
		l.mu.Unlock()
		target++
	}
}

func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

func TestNothingWasAllowedThatAKilledServerForgot(t *testing.T) {
	dir := t.TempDir()
	server := startServer(t, dir)
	c := config(filepath.Join(dir, "socket"))
	c.CompactAfter = 20_000 // a snapshot every few milliseconds
	c.Timeout = time.Second
	s := open(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{allowed: make(map[slashing.PublicKey]uint64)}
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() { l.run(ctx, s, n) })
	}
	for range 12 {
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
		server.kill()
		server = startServer(t, dir)
		goesOn(t, l)
	}
	cancel()
	group.Wait()
	server.kill()
	s.Close()
	startServer(t, dir)
	after := open(t, c)
	history, err := after.Export(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, target := range l.allowed {
		if got := history.States[key].Attestation.Target; got < target {
			t.Errorf("target %d was allowed, the journal knows %d", target, got)
		}
	}
	if err := after.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	t.Log(l.total, "attestations,", "12 kills")
}

// goesOn waits until the service has returned by itself.
func goesOn(t *testing.T, l *load) {
	t.Helper()
	before := l.count()
	for end := time.Now().Add(20 * time.Second); l.count() < before+16; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the service does not return")
		}
	}
}
