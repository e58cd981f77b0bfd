package journal_test

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	store "holdfast/enclave/slashing/journal"
	"holdfast/enclave/slashing/slashingtest"
	"holdfast/parent/journal"
)

var chain = slashing.Root{31: 7}

// served runs a server on a directory until the test ends or stop is called.
type served struct {
	*journal.Server
	socket string
	stop   func()
}

func serve(t testing.TB, dir string) *served {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &served{Server: &journal.Server{Dir: dir}, socket: socket}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(s.stop)
	return s
}

// config is that of a store on a socket.
func config(socket string) store.Config {
	return store.Config{
		Dial: func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		Key:     secret.New([]byte("an example of a slashing key: 32")),
		Name:    "example",
		Network: chain,
		Log:     slog.New(slog.DiscardHandler),
	}
}

func open(t testing.TB, c store.Config) *store.Store {
	t.Helper()
	opened, err := store.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	return opened
}

func TestTheStoreKeepsItsContract(t *testing.T) {
	slashingtest.RunStore(t, func(t *testing.T, network slashing.Root) slashing.Archive {
		c := config(serve(t, t.TempDir()).socket)
		c.Network = network
		return open(t, c)
	})
}

func TestWhatIsDurableIsRememberedAfterARestart(t *testing.T) {
	for name, compactAfter := range map[string]int{"records": 0, "snapshots": 1} {
		t.Run(name, func(t *testing.T) {
			slashingtest.RunReopen(t, func(t *testing.T, network slashing.Root) func(*testing.T) slashing.Archive {
				dir := t.TempDir()
				var before *served
				return func(t *testing.T) slashing.Archive {
					if before != nil {
						before.stop()
					}
					before = serve(t, dir)
					c := config(before.socket)
					c.Network, c.CompactAfter = network, compactAfter
					return open(t, c)
				}
			})
		})
	}
}

func vote(target uint64) slashing.Attestation {
	return slashing.Attestation{Source: target - 1, Target: target, SigningRoot: slashing.Root{1}}
}

func keyOf(n int) slashing.PublicKey {
	return slashing.PublicKey{0: 0xa0, 46: byte(n >> 8), 47: byte(n)}
}

func TestSixtyFourConcurrentDutiesCostAtMostFourSyncs(t *testing.T) {
	server := serve(t, t.TempDir())
	s := open(t, config(server.socket))
	round(t, s, nil, 1, 1)
	most := uint64(0)
	for target := uint64(2); target < 22; target++ {
		before := server.Stats()
		round(t, s, nil, 64, target)
		most = max(most, syncs(before, server.Stats()))
	}
	if most > 4 {
		t.Errorf("64 duties cost up to %d syncs, want at most 4", most)
	}
	t.Log("at most", most, "syncs")
}

// syncs counts those of files and of the folder between two moments.
func syncs(before, after journal.Stats) uint64 {
	return after.Syncs + after.FolderSyncs - before.Syncs - before.FolderSyncs
}

func TestOfTwoEnclavesOnOneJournalOneGoesOn(t *testing.T) {
	for range 10 {
		server := serve(t, t.TempDir())
		c := config(server.socket)
		c.Timeout = 500 * time.Millisecond
		enclaves := []*store.Store{open(t, c), openAmongOthers(t, c)}
		var mu sync.Mutex
		allowed := make(map[uint64]int) // by target
		var group sync.WaitGroup
		for which, enclave := range enclaves {
			group.Go(func() {
				for target := uint64(2); target < 30; target++ {
					duty := slashing.Attestation{Source: target - 1, Target: target, SigningRoot: slashing.Root{byte(which)}}
					d := enclave.Record(t.Context(), chain, keyOf(0), duty)
					if enclave.Probe(t.Context()) != nil && d.Answer != slashing.Allowed {
						return // it has stopped
					}
					mu.Lock()
					if d.Answer == slashing.Allowed {
						allowed[target]++
					}
					mu.Unlock()
				}
			})
		}
		group.Wait()
		for target, n := range allowed {
			if n > 1 {
				t.Errorf("target %d was allowed %d times", target, n)
			}
		}
		if len(allowed) == 0 {
			t.Error("neither went on")
		}
	}
}

// openAmongOthers opens a journal on which another enclave is at work: until the
// other has seen that it is not alone, each cuts the other off.
func openAmongOthers(t *testing.T, c store.Config) *store.Store {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		s, err := store.Open(t.Context(), c)
		if err == nil {
			t.Cleanup(s.Close)
			return s
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}
