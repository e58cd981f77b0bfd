package journal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal"
	"holdfast/enclave/slashing/journal/journaltest"
	"holdfast/enclave/slashing/journal/wire"
)

const slashingKey = "an example of a slashing key: 32"

var network = slashing.Root{31: 7}

func config(server *journaltest.Server) journal.Config {
	return journal.Config{
		Dial:    server.Dial,
		Key:     secret.New([]byte(slashingKey)),
		Name:    "example",
		Network: network,
		Timeout: time.Second,
	}
}

func open(t testing.TB, c journal.Config) *journal.Store {
	t.Helper()
	store, err := journal.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func key(n int) slashing.PublicKey {
	return slashing.PublicKey{0: 0xa0, 46: byte(n >> 8), 47: byte(n)}
}

func vote(target uint64, root byte) slashing.Attestation {
	return slashing.Attestation{Source: target - 1, Target: target, SigningRoot: slashing.Root{root}}
}

func expect(t testing.TB, store *journal.Store, n int, duty slashing.Duty, want slashing.Answer) slashing.Decision {
	t.Helper()
	d := store.Record(t.Context(), network, key(n), duty)
	if d.Answer != want {
		t.Errorf("%v: got answer %d, %v; want %d", duty, d.Answer, d.Err, want)
	}
	return d
}

// written returns a server with a journal of a few records, and they.
func written(t testing.TB) (*journaltest.Server, []wire.Entry) {
	t.Helper()
	server := journaltest.New()
	store := open(t, config(server))
	for n := range 3 {
		expect(t, store, n, vote(5, 1), slashing.Allowed)
		expect(t, store, n, slashing.Block{Slot: 9}, slashing.Allowed)
	}
	store.Close()
	return server, server.Entries()
}

// eventually waits for what another goroutine brings about.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain:", what)
		}
	}
}

func TestAStoreThatWasNotOpenedFails(t *testing.T) {
	store := new(journal.Store)
	if d := store.Record(t.Context(), slashing.Root{}, key(0), vote(1, 1)); d.Answer != slashing.Failed || d.Err == nil {
		t.Errorf("got %+v, want a failure", d)
	}
	if store.Probe(t.Context()) == nil || store.Advance(t.Context(), "a", 1) == nil || store.Import(t.Context(), slashing.Interchange{}) == nil {
		t.Error("it works")
	}
	if _, err := store.Export(t.Context(), nil); err == nil {
		t.Error("it exports")
	}
	store.Close()
}

func TestAnIncompleteConfigurationIsRefused(t *testing.T) {
	for want, change := range map[string]func(*journal.Config){
		"no way to connect":       func(c *journal.Config) { c.Dial = nil },
		"has 31 bytes, want 32":   func(c *journal.Config) { c.Key = secret.New(make([]byte, 31)) },
		"has 0 bytes, want 32":    func(c *journal.Config) { c.Key = secret.Bytes{} },
		"want 1 to 64":            func(c *journal.Config) { c.Name = "" },
		"want lower-case letters": func(c *journal.Config) { c.Name = "Example" },
		"is negative":             func(c *journal.Config) { c.Timeout = -1 },
	} {
		c := config(journaltest.New())
		change(&c)
		if _, err := journal.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestAnotherJournalIsRefusedWithWhatIsWrong(t *testing.T) {
	server, _ := written(t)
	for want, change := range map[string]func(*journal.Config){
		`the journal is of bundle "example", want "other"`: func(c *journal.Config) { c.Name = "other" },
		"the journal is of genesis validators root 0x0000": func(c *journal.Config) { c.Network = slashing.Root{1} },
		"sealed under another slashing key":                func(c *journal.Config) { c.Key = secret.New(make([]byte, 32)) },
	} {
		c := config(server)
		change(&c)
		if _, err := journal.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestNoBitOfAJournalCanChange(t *testing.T) {
	server, entries := written(t)
	for at, entry := range entries[:3] {
		for bit := range 8 * len(entry.Record) {
			if bit%8 != bit/8%8 { // one bit of each byte
				continue
			}
			changed := wire.Entry{Digest: entry.Digest, Record: bytes.Clone(entry.Record)}
			changed.Record[bit/8] ^= 1 << (bit % 8)
			for _, digest := range []wire.Digest{entry.Digest, sum(changed.Record)} {
				changed.Digest = digest
				server.SetEntries(append(append(append([]wire.Entry{}, entries[:at]...), changed), entries[at+1:]...))
				store, err := journal.Open(t.Context(), config(server))
				if err == nil {
					store.Close()
					t.Fatalf("bit %d of record %d was changed and nobody noticed", bit, at+1)
				}
			}
		}
	}
}

func TestRecordsCannotBeMovedLeftOutOrPutIn(t *testing.T) {
	server, e := written(t)
	_, foreign := written(t) // the same duties under the same key
	for name, c := range map[string]struct {
		entries []wire.Entry
		want    string
	}{
		"left out":     {[]wire.Entry{e[0], e[1], e[3]}, "after 2: record 4 comes after record 2"},
		"reordered":    {[]wire.Entry{e[0], e[2], e[1]}, "after 1: record 3 comes after record 1"},
		"repeated":     {[]wire.Entry{e[0], e[1], e[1]}, "after 2: record 2 comes after record 2"},
		"beheaded":     {e[1:], "the first record is not a snapshot"},
		"of elsewhere": {[]wire.Entry{e[0], foreign[1]}, "after 1: record 2 follows a record with digest"},
		"begun anew":   {[]wire.Entry{e[0], e[1], foreign[0]}, "after 2: record 1 comes after record 2"},
	} {
		server.SetEntries(c.entries)
		if _, err := journal.Open(t.Context(), config(server)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAnEndThatIsNotTheHeadIsRefused(t *testing.T) {
	server, entries := written(t)
	whole := server.Head()
	server.SetEntries(entries[:2])
	part := server.Head()
	for name, c := range map[string]struct {
		first, last wire.Position
		entries     []wire.Entry
	}{
		"a head that was not read":  {whole, whole, entries[:2]},
		"records beyond the head":   {part, part, entries},
		"a head that moves forward": {part, whole, entries},
		"a head that moves back":    {whole, part, entries[:2]},
		"nothing read":              {whole, whole, nil},
	} {
		config := config(server)
		config.Dial = scripted(wire.Head{Position: c.first}, c.entries, wire.Head{Position: c.last})
		if _, err := journal.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "the journal ends with") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// scripted dials a server that answers to a greeting and to a reading, and ends.
func scripted(first wire.Head, entries []wire.Entry, last wire.Head) func(context.Context) (net.Conn, error) {
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer ours.Close()
			_, _ = wire.Receive(ours)
			_ = wire.Send(ours, first)
			_, _ = wire.Receive(ours)
			for _, entry := range entries {
				_ = wire.Send(ours, entry)
			}
			_ = wire.Send(ours, last)
		}()
		return theirs, nil
	}
}

func sum(record []byte) wire.Digest { return sha256.Sum256(record) }

func TestTheHeadIsThatOfTheLastRecordRead(t *testing.T) {
	server, entries := written(t)
	store := open(t, config(server))
	digest, sequence := store.Head()
	if want := server.Head(); digest != want.Digest || sequence != want.Sequence || sequence != uint64(len(entries)) {
		t.Errorf("got %d %x, want %v", sequence, digest, want)
	}
	expect(t, store, 0, vote(6, 1), slashing.Allowed)
	if _, now := store.Head(); now != sequence {
		t.Errorf("the head read at the start went from %d to %d", sequence, now)
	}
	if digest, sequence := open(t, config(journaltest.New())).Head(); sequence != 0 || digest != (wire.Digest{}) {
		t.Errorf("the head of an empty journal is %d %x, want zero", sequence, digest)
	}
}

func TestAnIncompleteLastRecordIsSaid(t *testing.T) {
	server, _ := written(t)
	server.SetTorn(123)
	var log bytes.Buffer
	c := config(server)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	expect(t, open(t, c), 0, vote(6, 1), slashing.Allowed)
	if !strings.Contains(log.String(), "incomplete record") || !strings.Contains(log.String(), "bytes=123") {
		t.Errorf("got log %q", &log)
	}
}

func TestARecordWhoseAcknowledgementWasLostCounts(t *testing.T) {
	server := journaltest.New()
	store := open(t, config(server))
	lost := false
	server.OnAppend(func(a wire.Append) wire.Message {
		ack := server.Keep(a)
		if !lost {
			lost = true
			return nil
		}
		return ack
	})
	expect(t, store, 0, vote(5, 1), slashing.Allowed)
	if got := len(server.Entries()); got != 1 {
		t.Errorf("the server has %d records, want the one", got)
	}
}

func TestARecordThatWasLostIsSentAgainAsItWas(t *testing.T) {
	server := journaltest.New()
	store := open(t, config(server))
	var seen []wire.Append
	server.OnAppend(func(a wire.Append) wire.Message {
		if seen = append(seen, a); len(seen) < 3 {
			return nil
		}
		return server.Keep(a)
	})
	expect(t, store, 0, vote(5, 1), slashing.Allowed)
	for _, again := range seen {
		if !bytes.Equal(again.Record, seen[0].Record) {
			t.Error("the record was sealed again: two records with one sequence number")
		}
	}
}

func TestOnlyTheRecordsOwnAcknowledgementCounts(t *testing.T) {
	for name, lie := range map[string]func(wire.Ack) wire.Message{
		"another digest":   func(a wire.Ack) wire.Message { a.Digest[0] ^= 1; return a },
		"another sequence": func(a wire.Ack) wire.Message { a.Sequence++; return a },
		"another message":  func(a wire.Ack) wire.Message { return wire.Head{Position: a.Position} },
		"a refusal":        func(wire.Ack) wire.Message { return wire.Refusal{Code: wire.Storage, Reason: "disk full"} },
	} {
		t.Run(name, func(t *testing.T) {
			server := journaltest.New()
			c := config(server)
			c.Timeout = 50 * time.Millisecond
			store := open(t, c)
			server.OnAppend(func(a wire.Append) wire.Message {
				header, _ := wire.ParseHeader(a.Record)
				return lie(wire.Ack{Position: wire.Position{Sequence: header.Sequence, Digest: a.Digest}})
			})
			expect(t, store, 0, vote(5, 1), slashing.Failed)
			for range 20 { // it connects again and again, and yet does not record
				if store.Probe(t.Context()) == nil {
					t.Fatal("the store probes well")
				}
				time.Sleep(time.Millisecond)
			}
			server.OnAppend(nil)
			eventually(t, "the store to go on", func() bool { return store.Probe(t.Context()) == nil })
			eventually(t, "the same vote", func() bool {
				return store.Record(t.Context(), network, key(0), vote(5, 1)).Answer == slashing.Allowed
			})
			expect(t, store, 0, vote(5, 2), slashing.Denied)
		})
	}
}

func TestASilentParentIsWaitedForOnlySoLong(t *testing.T) {
	server := journaltest.New()
	c := config(server)
	c.Timeout = 50 * time.Millisecond
	store := open(t, c)
	release := make(chan struct{})
	defer close(release)
	server.OnAppend(func(wire.Append) wire.Message { <-release; return nil })
	begun := time.Now()
	expect(t, store, 0, vote(5, 1), slashing.Failed)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v, want some 50 ms", took)
	}
	expect(t, store, 0, vote(5, 2), slashing.Denied) // the failed vote may be durable
}

func TestAParentThatComesBackIsUsedAgain(t *testing.T) {
	server := journaltest.New()
	c := config(server)
	c.Timeout = 50 * time.Millisecond
	store := open(t, c)
	expect(t, store, 0, vote(5, 1), slashing.Allowed)
	server.SetDown(true)
	expect(t, store, 0, vote(5, 1), slashing.Allowed) // is durable: nothing needs recording
	eventually(t, "the probe to tell", func() bool { return store.Probe(t.Context()) != nil })
	d := expect(t, store, 0, vote(6, 1), slashing.Failed)
	if d.Err == nil || !strings.Contains(d.Err.Error(), "the server is down") {
		t.Errorf("got %v, want why", d.Err)
	}
	server.SetDown(false)
	eventually(t, "the connection", func() bool { return store.Probe(t.Context()) == nil })
	expect(t, store, 0, vote(6, 1), slashing.Allowed)
	expect(t, store, 0, vote(6, 2), slashing.Denied)
}

func TestAJournalRolledBackUnderAStoreStopsItForGood(t *testing.T) {
	for name, change := range map[string]func([]wire.Entry) []wire.Entry{
		"rolled back": func(e []wire.Entry) []wire.Entry { return e[:len(e)-1] },
		"emptied":     func([]wire.Entry) []wire.Entry { return nil },
		"replaced": func(e []wire.Entry) []wire.Entry {
			_, other := written(t)
			return other[:len(e)]
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := journaltest.New()
			store := open(t, config(server))
			for target := uint64(1); target < 4; target++ {
				expect(t, store, 0, vote(target, 1), slashing.Allowed)
			}
			entries := server.Entries()
			server.SetEntries(change(entries))
			server.Cut()
			eventually(t, "the probe to tell", func() bool {
				err := store.Probe(t.Context())
				return err != nil && strings.Contains(err.Error(), "replaced or rolled back")
			})
			server.SetEntries(entries)
			server.Cut()
			d := expect(t, store, 1, vote(9, 1), slashing.Failed)
			if d.Err == nil || !strings.Contains(d.Err.Error(), "restart the enclave") {
				t.Errorf("got %v", d.Err)
			}
			if err := store.Advance(t.Context(), "example", 3); err == nil {
				t.Error("a version was recorded")
			}
			if all, err := store.Export(t.Context(), nil); err != nil || len(all.States) != 1 {
				t.Errorf("got %v, %v, want the history still", all, err)
			}
			expect(t, open(t, config(server)), 1, vote(9, 1), slashing.Allowed)
		})
	}
}

func TestADutyIsCheckedAgainstWhatIsOnItsWay(t *testing.T) {
	server := journaltest.New()
	store := open(t, config(server))
	arrived, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(arrived); <-release })
	server.OnAppend(func(a wire.Append) wire.Message { once(); return server.Keep(a) })
	var group sync.WaitGroup
	group.Go(func() { expect(t, store, 0, vote(5, 1), slashing.Allowed) })
	<-arrived
	expect(t, store, 0, vote(5, 2), slashing.Denied)
	expect(t, store, 0, vote(4, 1), slashing.Denied)
	var early sync.Map
	for i, duty := range []slashing.Duty{vote(5, 1), vote(6, 1), slashing.Block{Slot: 1}} {
		group.Go(func() {
			expect(t, store, 0, duty, slashing.Allowed)
			select {
			case <-release:
			default:
				early.Store(i, duty)
			}
		})
		time.Sleep(10 * time.Millisecond)
	}
	close(release)
	group.Wait()
	early.Range(func(_, duty any) bool { t.Errorf("%v was allowed before it was durable", duty); return true })
	if got := len(server.Entries()); got > 2 {
		t.Errorf("%d records, want what gathered in one", got)
	}
}

func TestNoNonceComesTwiceUnderAnyHistory(t *testing.T) {
	server := journaltest.New()
	seen := make(map[string]bool)
	server.OnAppend(func(a wire.Append) wire.Message {
		at := wire.HeaderSize + 1 + len("example") + 32
		saltAndCounter := string(a.Record[at : at+40])
		if seen[saltAndCounter] {
			t.Errorf("salt and counter %x come twice", saltAndCounter)
		}
		seen[saltAndCounter] = true
		return server.Keep(a)
	})
	for start := range 10 {
		server.SetEntries(server.Entries()[:min(start, 1)]) // rolled back to the first record
		store := open(t, config(server))
		for target := uint64(2); target < 12; target++ {
			expect(t, store, start, vote(target, byte(start)), slashing.Allowed)
		}
		store.Close()
	}
	if len(seen) != 100 {
		t.Errorf("%d records, want 100", len(seen))
	}
}

func TestSnapshotsHoldEverything(t *testing.T) {
	server := journaltest.New()
	c := config(server)
	c.CompactAfter = 2000
	store := open(t, c)
	if err := store.Advance(t.Context(), "example", 3); err != nil {
		t.Fatal(err)
	}
	for target := uint64(1); target <= 100; target++ {
		expect(t, store, int(target%7), vote(target, 1), slashing.Allowed)
	}
	want, _ := store.Export(t.Context(), nil)
	store.Close()
	entries, snapshots := server.Entries(), 0
	last := 0
	for i, entry := range entries {
		if header, _ := wire.ParseHeader(entry.Record); header.Snapshot {
			snapshots, last = snapshots+1, i
		}
	}
	if snapshots < 3 || snapshots > 20 {
		t.Errorf("%d of %d records are snapshots", snapshots, len(entries))
	}
	server.SetEntries(entries[last:])
	again := open(t, c)
	got, _ := again.Export(t.Context(), nil)
	if len(got.States) != len(want.States) {
		t.Errorf("got %d keys, want %d", len(got.States), len(want.States))
	}
	for key, state := range want.States {
		if got.States[key] != state {
			t.Errorf("got %+v, want %+v", got.States[key], state)
		}
	}
	if _, older := errors.AsType[*slashing.OlderError](again.Advance(t.Context(), "example", 2)); !older {
		t.Error("the snapshot forgot the bundle's version")
	}
}

func TestAnImportIsOneRecord(t *testing.T) {
	server := journaltest.New()
	store := open(t, config(server))
	history := slashing.Interchange{GenesisValidatorsRoot: network, States: make(map[slashing.PublicKey]slashing.State)}
	for n := range 10_000 {
		history.States[key(n)] = slashing.State{Block: slashing.BlockMark{Signed: true, Slot: uint64(n)}}
	}
	if err := store.Import(t.Context(), history); err != nil {
		t.Fatal(err)
	}
	if err := store.Import(t.Context(), history); err != nil {
		t.Fatal(err)
	}
	if got := len(server.Entries()); got != 1 {
		t.Errorf("got %d records, want 1", got)
	}
	if all, _ := open(t, config(server)).Export(t.Context(), nil); len(all.States) != 10_000 {
		t.Errorf("got %d keys", len(all.States))
	}
}

func TestAnImportOfTooManyKeysChangesNothing(t *testing.T) {
	server := journaltest.New()
	store := open(t, config(server))
	expect(t, store, 0, vote(5, 1), slashing.Allowed)
	history := slashing.Interchange{GenesisValidatorsRoot: network, States: make(map[slashing.PublicKey]slashing.State)}
	for n := range 1 << 17 {
		history.States[slashing.PublicKey{1: byte(n), 2: byte(n >> 8), 3: byte(n >> 16)}] = slashing.State{}
	}
	if err := store.Import(t.Context(), history); err == nil || !strings.Contains(err.Error(), "131072 keys") {
		t.Errorf("got %v", err)
	}
	if all, _ := store.Export(t.Context(), nil); len(all.States) != 1 {
		t.Errorf("%d keys are known, want 1", len(all.States))
	}
}

func TestTheLargestHistoryFitsOneRecord(t *testing.T) {
	if testing.Short() {
		t.Skip("seals 18 MB")
	}
	server := journaltest.New()
	c := config(server)
	c.Name, c.Timeout = strings.Repeat("x", 64), time.Minute // the race detector is slow
	store := open(t, c)
	for n := range 64 {
		if err := store.Advance(t.Context(), fmt.Sprintf("%064d", n), 1); err != nil {
			t.Fatal(err)
		}
	}
	history := slashing.Interchange{GenesisValidatorsRoot: network, States: make(map[slashing.PublicKey]slashing.State)}
	full := slashing.State{
		Block:       slashing.BlockMark{Signed: true, Slot: 1, Root: slashing.SignedRoot{Known: true}},
		Attestation: slashing.AttestationMark{Signed: true, Source: 1, Target: 2, Root: slashing.SignedRoot{Known: true}},
	}
	for n := range 1 << 17 {
		history.States[slashing.PublicKey{1: byte(n), 2: byte(n >> 8), 3: byte(n >> 16)}] = full
	}
	if err := store.Import(t.Context(), history); err != nil {
		t.Fatal(err)
	}
	if all, _ := open(t, c).Export(t.Context(), nil); len(all.States) != 1<<17 {
		t.Errorf("got %d keys", len(all.States))
	}
}

func TestWhatWaitsFailsWhenTheStoreIsClosed(t *testing.T) {
	server := journaltest.New()
	store := open(t, config(server))
	arrived := make(chan struct{})
	release := make(chan struct{})
	defer close(release)
	server.OnAppend(func(wire.Append) wire.Message { close(arrived); <-release; return nil })
	go func() { <-arrived; store.Close() }()
	d := expect(t, store, 0, vote(5, 1), slashing.Failed)
	if d.Err == nil || !strings.Contains(d.Err.Error(), "closed") {
		t.Errorf("got %v", d.Err)
	}
	expect(t, store, 0, vote(5, 1), slashing.Failed)
}

func TestOpenEndsWithItsContext(t *testing.T) {
	for name, dial := range map[string]func(context.Context) (net.Conn, error){
		"no connection": func(ctx context.Context) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		"no answer":     func(context.Context) (net.Conn, error) { ours, _ := net.Pipe(); return ours, nil },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			c := config(journaltest.New())
			c.Dial, c.Timeout = dial, time.Minute
			if _, err := journal.Open(ctx, c); err == nil {
				t.Error("it opened")
			}
		})
	}
}

func TestNoSecretIsPrinted(t *testing.T) {
	var log bytes.Buffer
	server := journaltest.New()
	c := config(server)
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	store := open(t, c)
	expect(t, store, 0, vote(5, 1), slashing.Allowed)
	server.SetEntries(nil)
	server.Cut()
	eventually(t, "an error", func() bool { return store.Probe(t.Context()) != nil })
	store.Close()
	if text := fmt.Sprintf("%+v %v", c, log.String()); strings.Contains(text, slashingKey) || strings.Contains(text, fmt.Sprintf("%x", slashingKey)) {
		t.Errorf("the key shows: %s", text)
	}
	for _, entry := range server.Entries() {
		if bytes.Contains(entry.Record, []byte(slashingKey)) {
			t.Error("the key is in a record")
		}
	}
}
