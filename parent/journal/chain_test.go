package journal

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast/enclave/slashing/journal/wire"
)

// writer makes records as an enclave does: it sends the same until they are
// acknowledged, and knows which were.
type writer struct {
	t      *testing.T
	random *rand.Rand
	acked  []wire.Append // from the last snapshot that was acknowledged
	flying []wire.Append
}

func (w *writer) head() wire.Position {
	if all := slices.Concat(w.acked, w.flying); len(all) > 0 {
		return position(all[len(all)-1])
	}
	return wire.Position{}
}

// make adds a record to those that fly.
func (w *writer) make(snapshot bool) {
	head := w.head()
	record := wire.Header{Snapshot: snapshot, Sequence: head.Sequence + 1, Previous: head.Digest}.AppendTo(nil)
	for range 16 + w.random.IntN(60) {
		record = append(record, byte(1+w.random.IntN(255)))
	}
	w.flying = append(w.flying, wire.Append{Digest: sha256.Sum256(record), Record: record})
}

// land moves records up to a position to those acknowledged.
func (w *writer) land(at wire.Position) {
	for i, entry := range w.flying {
		if position(entry) != at {
			continue
		}
		for _, landed := range w.flying[:i+1] {
			if header, _ := wire.ParseHeader(landed.Record); header.Snapshot {
				w.acked = nil
			}
			w.acked = append(w.acked, landed)
		}
		w.flying = w.flying[i+1:]
		return
	}
}

// resume compares an opened chain with what was acknowledged.
func (w *writer) resume(c *chain) {
	w.t.Helper()
	w.land(c.head)
	if want := w.lastAcked(); c.head != want {
		w.t.Fatalf("after opening, the head is %v, want %v, which was acknowledged", c.head, want)
	}
	var read []wire.Entry
	if err := c.read(func(e wire.Entry) error { read = append(read, e); return nil }); err != nil {
		w.t.Fatal(err)
	}
	if len(read) != len(w.acked) {
		w.t.Fatalf("read %d records, want %d", len(read), len(w.acked))
	}
	for i, entry := range read {
		if !bytes.Equal(entry.Record, w.acked[i].Record) {
			w.t.Fatalf("record %d is not what was acknowledged", i)
		}
	}
}

func (w *writer) lastAcked() wire.Position {
	if len(w.acked) == 0 {
		return wire.Position{}
	}
	return position(w.acked[len(w.acked)-1])
}

func newChain(d disk) *chain {
	return &chain{disk: d, log: slog.New(slog.DiscardHandler), stats: new(counters)}
}

// live appends records in groups, now and then a snapshot, and opens the chain again
// when it breaks. It returns early if the power is lost.
func (w *writer) live(c *chain, rounds int) {
	w.t.Helper()
	for range rounds {
		for range 1 + w.random.IntN(3) {
			w.make(w.head() == (wire.Position{}) || w.random.IntN(4) == 0)
		}
		for tries := 0; len(w.flying) > 0; tries++ {
			if tries > 3 {
				w.t.Fatal("one fault keeps the chain from working")
			}
			if !c.opened {
				if err := c.open(); errors.Is(err, errCrashed) {
					return
				} else if err != nil {
					continue
				}
				w.resume(c)
			}
			durable, err := c.append(w.flying)
			for _, at := range durable {
				w.land(at)
			}
			if err != nil && strings.Contains(err.Error(), errCrashed.Error()) {
				return
			}
		}
	}
}

func TestNoFaultLosesAnAcknowledgedRecord(t *testing.T) {
	for _, fatal := range []bool{false, true} {
		for seed := range uint64(6) {
			for failAt := 1; ; failAt++ {
				disk := newFaultyDisk(seed)
				disk.failAt, disk.fatal = failAt, fatal
				w := &writer{t: t, random: rand.New(rand.NewPCG(seed, 2))}
				c := newChain(disk)
				w.live(c, 8)
				reached := disk.steps >= failAt
				again := newChain(disk.restart()) // a loss of power, at the fault or at the end
				if err := again.open(); err != nil {
					t.Fatalf("seed %d, fault at step %d, fatal %v: %v", seed, failAt, fatal, err)
				}
				w.resume(again)
				w.live(again, 4)
				if t.Failed() {
					t.Fatalf("seed %d, fault at step %d, fatal %v", seed, failAt, fatal)
				}
				if !reached {
					break
				}
			}
		}
	}
}

func TestAFaultWhileOpeningLosesNothing(t *testing.T) {
	for _, fatal := range []bool{false, true} {
		for seed := range uint64(10) {
			for failAt := 1; failAt < 30; failAt++ {
				w := &writer{t: t, random: rand.New(rand.NewPCG(seed, 3))}
				disk := newFaultyDisk(seed)
				disk.failAt, disk.fatal = int(20+seed), true
				w.live(newChain(disk), 20)
				disk = disk.restart()
				disk.failAt, disk.fatal = failAt, fatal
				if err := newChain(disk).open(); err == nil && disk.steps >= failAt {
					t.Fatalf("seed %d: step %d failed and nobody noticed", seed, failAt)
				}
				again := newChain(disk.restart())
				if err := again.open(); err != nil {
					t.Fatalf("seed %d, fault at step %d, fatal %v: %v", seed, failAt, fatal, err)
				}
				w.resume(again)
			}
		}
	}
}

func TestAFullDiskIsAnErrorUntilThereIsRoom(t *testing.T) {
	disk := newFaultyDisk(1)
	w := &writer{t: t, random: rand.New(rand.NewPCG(1, 4))}
	c := newChain(disk)
	w.live(c, 5)
	for _, snapshot := range []bool{false, true} {
		disk.full = true
		w.make(snapshot)
		for range 3 {
			if !c.opened && c.open() == nil {
				t.Error("a full disk took a copy")
			}
			if !c.opened {
				continue
			}
			_, err := c.append(w.flying)
			if refusal, ok := errors.AsType[wire.Refusal](err); !ok || refusal.Code != wire.Storage {
				t.Errorf("got %v, want a refusal for the storage", err)
			}
		}
		if !snapshot && !c.opened {
			t.Error("a record that had no room broke the chain, want the file cut back")
		}
		disk.full = false
		if !c.opened {
			if err := c.open(); err != nil {
				t.Fatal(err)
			}
		}
		w.resume(c)
		w.live(c, 1)
	}
}

func TestNothingStaysOfAWriteThatFailed(t *testing.T) {
	disk := newFaultyDisk(2)
	w := &writer{t: t, random: rand.New(rand.NewPCG(2, 4))}
	c := newChain(disk)
	w.live(c, 5)
	for range 20 {
		disk.full = true
		for range 5 {
			w.make(false)
		}
		if _, err := c.append(w.flying); err == nil {
			t.Fatal("a full disk took records")
		}
		disk.full, w.flying = false, nil // and the enclave starts again
		w.make(false)
		if _, err := c.append(w.flying); err != nil {
			t.Fatal(err)
		}
		w.land(w.head())
		c = newChain(disk)
		if err := c.open(); err != nil {
			t.Fatal(err)
		}
		w.resume(c)
	}
}

func TestAFileIsNotWrittenAfterAFailedSync(t *testing.T) {
	disk := newFaultyDisk(1)
	w := &writer{t: t, random: rand.New(rand.NewPCG(1, 5))}
	c := newChain(disk)
	w.live(c, 5)
	before := disk.names[c.name]
	w.make(false)
	disk.failAt = disk.steps + 2 // the write, then the sync
	if _, err := c.append(w.flying); err == nil || c.opened {
		t.Fatalf("got %v, want a chain that is broken", err)
	}
	size := len(before.seen)
	w.live(c, 5)
	if len(before.seen) != size {
		t.Errorf("the file was written to: %d bytes, was %d", len(before.seen), size)
	}
}

// stored returns a disk with a journal of a snapshot and a few records, its file's
// name and where each entry begins.
func stored(t *testing.T) (*faultyDisk, *writer, string, []int) {
	disk := newFaultyDisk(1)
	w := &writer{t: t, random: rand.New(rand.NewPCG(1, 6))}
	c := newChain(disk)
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	var starts []int
	for n := range 4 {
		starts = append(starts, int(c.size))
		w.make(n == 0)
		if _, err := c.append(w.flying); err != nil {
			t.Fatal(err)
		}
		w.land(w.head())
	}
	return disk, w, c.name, append(starts, int(c.size))
}

func TestAnIncompleteEndIsSetAside(t *testing.T) {
	_, _, _, starts := stored(t)
	for cut := starts[3] + 1; cut < starts[4]; cut++ {
		for _, zeros := range []bool{false, true} {
			disk, w, name, _ := stored(t)
			file := disk.names[name]
			torn := slices.Clone(file.seen[starts[3]:cut])
			file.seen = file.seen[:cut]
			if zeros {
				torn = append(torn, make([]byte, starts[4]-cut)...)
				file.seen = append(file.seen, make([]byte, starts[4]-cut)...)
			}
			if zeros && starts[4]-cut < blankTail && cut > starts[3]+entryHeader {
				continue // so few zeros may be damage
			}
			file.dirty = make([]bool, len(file.seen))
			c := newChain(disk)
			if err := c.open(); err != nil {
				t.Fatalf("cut at %d, zeros %v: %v", cut, zeros, err)
			}
			if want := position(w.acked[2]); c.head != want || int(c.torn) != len(torn) {
				t.Errorf("cut at %d: head %v and %d bytes torn, want %v and %d", cut, c.head, c.torn, want, len(torn))
			}
			if kept := disk.names[name+tornInfix+"0"]; kept == nil || !bytes.Equal(kept.seen, torn) {
				t.Errorf("cut at %d: what was cut off is not kept", cut)
			}
		}
	}
}

func TestDamageIsToldWithItsPlace(t *testing.T) {
	_, _, name, starts := stored(t)
	for at := range starts[4] {
		disk, _, _, _ := stored(t)
		disk.names[name].seen[at] ^= 0x40
		err := newChain(disk).open()
		damage, ok := errors.AsType[*DamageError](err)
		if !ok {
			t.Fatalf("byte %d changed: got %v, want a DamageError", at, err)
		}
		n, _ := slices.BinarySearch(starts, at+1)
		if damage.File != name || damage.Offset != int64(starts[n-1]) || damage.After != uint64(n-1) {
			t.Errorf("byte %d changed: got %v, want entry %d at byte %d", at, damage, n, starts[n-1])
		}
	}
}

func TestDamageWhileServingIsTold(t *testing.T) {
	disk, _, name, _ := stored(t)
	c := newChain(disk)
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	disk.names[name].seen[100] ^= 1
	if _, damaged := errors.AsType[*DamageError](c.read(func(wire.Entry) error { return nil })); !damaged {
		t.Error("nobody noticed")
	}
}

func TestAFileWithTheWrongNameIsDamage(t *testing.T) {
	disk, _, name, _ := stored(t)
	disk.names[fileName(9)] = disk.names[name]
	if err := newChain(disk).open(); err == nil || !strings.Contains(err.Error(), "begins with record 1") {
		t.Errorf("got %v", err)
	}
	disk, _, name, _ = stored(t)
	disk.names[name] = new(inode)
	if err := newChain(disk).open(); err == nil || !strings.Contains(err.Error(), "none that is complete") {
		t.Errorf("got %v", err)
	}
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	disk, _, _, _ := stored(t)
	for _, name := range []string{"lock", "notes.txt", "x.journal", fileName(1) + ".bak"} {
		disk.names[name] = &inode{seen: []byte("mine")}
	}
	if err := newChain(disk).open(); err != nil {
		t.Fatal(err)
	}
	if len(disk.names) != 5 {
		t.Errorf("%d files, want 5", len(disk.names))
	}
}

func TestOnlyWhatFollowsTheHeadIsAppended(t *testing.T) {
	disk, w, _, _ := stored(t)
	c := newChain(disk)
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	w.make(false)
	next := w.flying[0]
	flip := func(at int) wire.Append {
		record := bytes.Clone(next.Record)
		record[at] ^= 1
		return wire.Append{Digest: sha256.Sum256(record), Record: record}
	}
	for name, bad := range map[string]struct {
		entry wire.Append
		code  wire.Code
	}{
		"the last again":    {w.acked[3], wire.Conflict},
		"the first again":   {w.acked[0], wire.Conflict},
		"a gap":             {flip(8), wire.Conflict},
		"another history":   {flip(20), wire.Conflict},
		"an unknown format": {flip(0), wire.Malformed},
		"another digest":    {wire.Append{Record: next.Record}, wire.Malformed},
	} {
		durable, err := c.append([]wire.Append{bad.entry})
		if refusal, ok := errors.AsType[wire.Refusal](err); !ok || refusal.Code != bad.code || len(durable) > 0 {
			t.Errorf("%s: got %v, %v; want %v", name, durable, err, bad.code)
		}
	}
	durable, err := c.append([]wire.Append{next, next})
	if len(durable) != 1 || err == nil {
		t.Errorf("got %v, %v; want the first and a refusal of the second", durable, err)
	}
}

func TestAJournalBeginsWithASnapshot(t *testing.T) {
	c := newChain(newFaultyDisk(1))
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	w := &writer{t: t, random: rand.New(rand.NewPCG(1, 7))}
	w.make(false)
	if _, err := c.append(w.flying); err == nil || !strings.Contains(err.Error(), "not a snapshot") {
		t.Errorf("got %v", err)
	}
}

func TestRecordsThatComeTogetherShareASync(t *testing.T) {
	disk, w, _, _ := stored(t)
	c := newChain(disk)
	if err := c.open(); err != nil {
		t.Fatal(err)
	}
	before := c.stats.syncs.Load()
	for range 20 {
		w.make(false)
	}
	if durable, err := c.append(w.flying); err != nil || len(durable) != 20 {
		t.Fatalf("got %d, %v", len(durable), err)
	}
	if got := c.stats.syncs.Load() - before; got != 1 {
		t.Errorf("20 records took %d syncs, want 1", got)
	}
}
