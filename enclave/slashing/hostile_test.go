package slashing_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal"
	"holdfast/enclave/slashing/journal/journaltest"
	"holdfast/enclave/slashing/journal/wire"
	"holdfast/enclave/slashing/slashingtest"
)

// The seed of a run is logged. Given again, host and client draw the same again; which
// of several duties at once comes first is the scheduler's, so a run may differ where
// it has many.
var hostileSeed = flag.Uint64("hostile-seed", 0, "repeat the hostile host's run with this seed; 0 draws one")

const (
	hostileWorlds = 80
	hostileSteps  = 2700 // a world
	hostileKeys   = 4
)

// world is an enclave on the real journal store, a host that keeps its journal as it
// likes, a client that asks for anything, and an operator who tells the truth. Time is
// that of a synctest bubble, so that waiting costs nothing.
type world struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand
	rules  worldRules
	ahead  time.Duration // of the enclave's clock

	server    *journaltest.Server
	mu        sync.Mutex  // guards what follows, which the server's goroutine uses
	host      *rand.Rand  // drawn anew each step
	sent      wire.Digest // of the last record that this start wrote
	saved     [][]wire.Entry
	vouchable wire.Digest // head of which it is true that nothing was signed after it
	fresh     bool        // nothing was ever signed

	store *journal.Store // nil while the enclave is stopped
	guard *slashing.Guard
	left  [hostileKeys][]slashing.Duty // every signature that left
	tally
}

// tally is what happened in one world or many.
type tally struct {
	found                                                              string // two slashable signatures
	steps, signatures, denials, failures, starts, refusedStarts, lifts int
}

// worldRules are what a test changes.
type worldRules struct {
	honest      bool // the host keeps the journal as it should, but cuts connections
	noFloor     bool // a start goes on with whatever journal it reads
	liftUnasked bool // a floor is lifted without a true statement
}

func newWorld(t *testing.T, seed uint64, rules worldRules) *world {
	w := &world{
		t:      t,
		random: rand.New(rand.NewPCG(seed, 1)),
		seed:   seed,
		rules:  rules,
		server: journaltest.New(),
		fresh:  true,
	}
	w.server.OnAppend(w.answer)
	return w
}

func (w *world) schedule() slashing.Schedule {
	return slashing.Schedule{Genesis: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), SlotDuration: 12 * time.Second, SlotsPerEpoch: 4}
}

// Now is the enclave's clock: up to half the margin ahead of the module's.
func (w *world) Now() (time.Time, error) { return time.Now().Add(w.ahead), nil }

// run lets the world go for some steps, or until two slashable signatures left.
func (w *world) run(steps int) {
	time.Sleep(time.Duration(w.random.Int64N(int64(5 * time.Minute))))
	for ; w.steps < steps && w.found == ""; w.steps++ {
		w.mu.Lock()
		w.host = rand.New(rand.NewPCG(w.seed, uint64(w.steps)+2))
		w.mu.Unlock()
		w.ahead = time.Duration(w.random.Int64N(int64(slashing.ClockMargin / 2)))
		switch n := w.random.IntN(100); {
		case w.store == nil:
			w.start()
		case n < 62:
			w.ask(1)
		case n < 70:
			w.ask(2 + w.random.IntN(6))
		case n < 86:
			time.Sleep(time.Duration(w.random.Int64N(int64(30 * time.Second))))
		case n < 89:
			w.server.Cut()
		case n < 91:
			w.tamper()
		case n < 97:
			w.vouch()
		default:
			w.crash()
		}
	}
	w.crash()
	time.Sleep(time.Minute) // what the host still holds back comes
}

// answer is the host's to a record: it mostly keeps it.
func (w *world) answer(a wire.Append) wire.Message {
	w.mu.Lock()
	w.sent = a.Digest
	n := w.host.IntN(100)
	w.mu.Unlock()
	if w.rules.honest {
		switch {
		case n < 90:
			return w.server.Keep(a)
		case n < 95:
			w.server.Keep(a) // and the acknowledgement is lost
		}
		return nil
	}
	switch {
	case n < 82:
		ack := w.server.Keep(a)
		w.save()
		return ack
	case n < 86:
		w.server.Keep(a)
	case n < 90: // dropped
	case n < 93:
		header, err := wire.ParseHeader(a.Record)
		if err != nil {
			panic(err)
		}
		return wire.Ack{Position: wire.Position{Sequence: header.Sequence, Digest: a.Digest}} // a lie
	case n < 95:
		w.server.Keep(a)
		return w.server.Keep(a)
	case n < 97:
		return wire.Ack{}
	case n < 98:
		time.Sleep(10 * time.Second) // and then, for nobody
		w.server.Keep(a)
	default:
		return wire.Refusal{Code: wire.Malformed, Reason: "no"}
	}
	return nil
}

// save keeps a copy of the journal, as any backup of the host's disk would.
func (w *world) save() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.host.IntN(8) > 0 {
		return
	}
	entries := w.server.Entries()
	if len(w.saved) < 16 {
		w.saved = append(w.saved, entries)
		return
	}
	w.saved[w.host.IntN(len(w.saved))] = entries
}

// older returns some journal there was.
func (w *world) older() []wire.Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.saved) == 0 {
		return nil
	}
	return w.saved[w.random.IntN(len(w.saved))]
}

// tamper changes the journal under the enclave, or for its next start.
func (w *world) tamper() {
	if w.rules.honest {
		return
	}
	entries := w.server.Entries()
	n := len(entries)
	switch w.random.IntN(8) {
	case 0, 1, 2:
		entries = slices.Clone(w.older())
	case 3:
		entries = nil
	case 4:
		entries = entries[:n-min(n, 1+w.random.IntN(3))]
	case 5:
		entries = entries[min(n, w.random.IntN(n+1)):]
	case 6:
		w.random.Shuffle(n, func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	case 7:
		if other := w.older(); n > 0 && len(other) > 0 {
			entries = slices.Insert(entries, w.random.IntN(n), other[w.random.IntN(len(other))])
		}
	}
	w.server.SetEntries(entries)
}

// start has the enclave start on a journal of the host's choice. One that does not
// check out is refused, and the host shows another the next time.
func (w *world) start() {
	newest := w.server.Entries()
	if w.random.IntN(2) == 0 {
		w.tamper()
	}
	store, err := w.open()
	if err != nil {
		w.refusedStarts++
		if w.rules.honest {
			w.t.Fatalf("the journal of an honest host is refused: %v", err)
		}
		w.server.SetEntries([][]wire.Entry{newest, w.older(), nil}[w.random.IntN(3)])
		return
	}
	// The module's time was up to half the margin more at an earlier start.
	behind := time.Duration(w.random.Int64N(int64(slashing.ClockMargin / 2)))
	floor := w.schedule().Floor(time.Now().Add(-behind))
	if w.rules.honest || w.rules.noFloor {
		floor = nil
	}
	guard, err := slashing.NewGuard(slashing.GuardOptions{Store: store, Schedule: w.schedule(), Clock: w, Floor: floor})
	if err != nil {
		w.t.Fatal(err)
	}
	w.starts++
	w.store, w.guard = store, guard
	w.mu.Lock()
	w.sent = wire.Digest{}
	w.mu.Unlock()
}

func (w *world) open() (*journal.Store, error) {
	return journal.Open(w.t.Context(), journal.Config{
		Dial: w.server.Dial, Key: secret.New(make([]byte, 32)), Name: "bundle", Network: chain,
		Log: slog.New(slog.DiscardHandler), CompactAfter: 4 << 10,
	})
}

// crash ends the enclave. What a start wrote last is a head after which nothing was
// signed, until another start signs.
func (w *world) crash() {
	if w.store == nil {
		return
	}
	w.store.Close()
	w.server.Cut()
	synctest.Wait()
	w.store, w.guard = nil, nil
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sent != (wire.Digest{}) {
		w.vouchable = w.sent
	}
}

// vouch has the operator state what is true, if it is.
func (w *world) vouch() {
	head, _ := w.store.Head()
	if w.fresh || head == w.vouchable && head != (wire.Digest{}) || w.rules.liftUnasked {
		w.guard.Lift()
		w.lifts++
	}
}

// ask asks for some duties at once.
func (w *world) ask(n int) {
	type asked struct {
		key      int
		duty     slashing.Duty
		decision slashing.Decision
	}
	all := make([]asked, n)
	key := w.random.IntN(hostileKeys)
	var group sync.WaitGroup
	for i := range all {
		if w.random.IntN(3) == 0 {
			key = w.random.IntN(hostileKeys)
		}
		all[i].key, all[i].duty = key, w.duty(key)
		group.Go(func() {
			ctx, cancel := context.WithTimeout(w.t.Context(), 4*time.Second)
			defer cancel()
			all[i].decision = w.guard.Record(ctx, chain, slashing.PublicKey{byte(all[i].key + 1)}, all[i].duty)
		})
	}
	if w.random.IntN(20) == 0 {
		group.Go(w.server.Cut)
	}
	group.Wait()
	for _, a := range all {
		switch a.decision.Answer {
		case slashing.Allowed:
			w.leaves(a.key, a.duty)
		case slashing.Denied:
			w.denials++
		default:
			w.failures++
		}
	}
}

// leaves holds a signature against all before it.
func (w *world) leaves(key int, duty slashing.Duty) {
	w.fresh = false
	w.signatures++
	for _, before := range w.left[key] {
		if slashingtest.Slashable(before, duty) {
			w.found = fmt.Sprintf("step %d, key %d: %v and %v", w.steps, key, before, duty)
		}
	}
	w.left[key] = append(w.left[key], duty)
}

// duty draws what a client asks for: near now, or aimed at an earlier signature.
func (w *world) duty(key int) slashing.Duty {
	root := byte(1 + w.random.IntN(3))
	slot := w.schedule().Slot(time.Now())
	if before := w.left[key]; len(before) > 0 && w.random.IntN(3) == 0 {
		return w.aimed(before[max(0, len(before)-1-w.random.IntN(6))], root)
	}
	if w.random.IntN(3) == 0 {
		return slashingtest.Proposal(slot+2-min(slot+2, w.random.Uint64N(6)), root)
	}
	epoch := slot / 4
	target := epoch + 1 - min(epoch+1, w.random.Uint64N(3))
	return slashingtest.Vote(target-min(target, 1+w.random.Uint64N(3)), target, root)
}

// aimed draws a duty that is slashable together with another, or the same again.
func (w *world) aimed(at slashing.Duty, root byte) slashing.Duty {
	vote, ok := at.(slashing.Attestation)
	if !ok {
		return slashingtest.Proposal(at.(slashing.Block).Slot, root)
	}
	switch w.random.IntN(3) {
	case 0:
		return slashingtest.Vote(vote.Source-min(vote.Source, 1), vote.Target+1+w.random.Uint64N(3), root)
	case 1:
		return slashingtest.Vote(vote.Source+1, vote.Target-min(vote.Target, 1), root)
	}
	return slashingtest.Vote(vote.Source, vote.Target, root)
}

func (c tally) String() string {
	return fmt.Sprintf("%d steps, %d signatures, %d denied, %d failed, %d starts, %d refused, %d lifts",
		c.steps, c.signatures, c.denials, c.failures, c.starts, c.refusedStarts, c.lifts)
}

func (c *tally) add(other tally) {
	c.steps += other.steps
	c.signatures += other.signatures
	c.denials += other.denials
	c.failures += other.failures
	c.starts += other.starts
	c.refusedStarts += other.refusedStarts
	c.lifts += other.lifts
}

// hostile runs worlds one after the other and returns what they found.
func hostile(t *testing.T, worlds int, rules worldRules) (total tally) {
	seed := *hostileSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	for n := range uint64(worlds) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed+n, rules)
			w.run(hostileSteps)
			if w.found != "" {
				total.found = fmt.Sprintf("world %d, %s", n, w.found)
			}
			total.add(w.tally)
		})
		if total.found != "" {
			break
		}
	}
	t.Log(total)
	return total
}

func TestAHostileHostGetsNoSlashableSignatures(t *testing.T) {
	total := hostile(t, hostileWorlds, worldRules{})
	if total.found != "" {
		t.Fatal(total.found)
	}
	if total.steps < 100_000 || total.signatures < total.steps/20 || total.lifts == 0 || total.refusedStarts == 0 {
		t.Errorf("the host and the client did too little: %s", total)
	}
}

func TestAnHonestHostThatCrashesLosesNothing(t *testing.T) {
	total := hostile(t, 4, worldRules{honest: true})
	if total.found != "" {
		t.Fatal(total.found)
	}
	if total.signatures < total.steps/10 {
		t.Errorf("too little was signed: %s", total)
	}
}

// What the test is worth: a host that gets away with something is found out.
func TestAHostileHostWinsWhereAFloorIsMissing(t *testing.T) {
	for name, rules := range map[string]worldRules{"no floor": {noFloor: true}, "lifted unasked": {liftUnasked: true}} {
		t.Run(name, func(t *testing.T) {
			total := hostile(t, hostileWorlds, rules)
			if !strings.Contains(total.found, " and ") {
				t.Error("no slashable signatures left")
			}
			t.Log(total.found)
		})
	}
}
