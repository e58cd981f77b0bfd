package slashing_test

import (
	"testing"
	"time"

	"holdfast/enclave/slashing"
)

// genesis is that of the chains in these tests; their slots take 12 seconds and
// their epochs 4 slots.
var genesis = time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)

func schedule() slashing.Schedule {
	return slashing.Schedule{Genesis: genesis, SlotDuration: 12 * time.Second, SlotsPerEpoch: 4}
}

// at returns the moment within the chain's life of an epoch's slot.
func at(epoch, slot uint64) time.Time { return schedule().SlotStart(epoch*4 + slot) }

func TestTimeIsCountedInSlotsAndEpochs(t *testing.T) {
	s := schedule()
	for _, c := range []struct {
		time        time.Time
		begun       bool
		slot, epoch uint64
	}{
		{time.Time{}, false, 0, 0},
		{genesis.Add(-time.Nanosecond), false, 0, 0},
		{genesis, true, 0, 0},
		{genesis.Add(12*time.Second - 1), true, 0, 0},
		{genesis.Add(12 * time.Second), true, 1, 0},
		{genesis.Add(48*time.Second - 1), true, 3, 0},
		{genesis.Add(48 * time.Second), true, 4, 1},
	} {
		if s.Begun(c.time) != c.begun || s.Slot(c.time) != c.slot || s.Epoch(c.time) != c.epoch {
			t.Errorf("%v: got %v, slot %d, epoch %d", c.time, s.Begun(c.time), s.Slot(c.time), s.Epoch(c.time))
		}
	}
	for n := range uint64(100) {
		if s.Slot(s.SlotStart(n)) != n || s.Slot(s.SlotStart(n).Add(-1)) != max(n, 1)-1 || s.Epoch(s.EpochStart(n)) != n {
			t.Errorf("slot or epoch %d does not begin when it begins", n)
		}
	}
}

func TestAFarSlotDoesNotOverflow(t *testing.T) {
	s := schedule()
	for _, n := range []uint64{1 << 40, 1 << 62, 1<<64 - 1} {
		if s.SlotStart(n).Before(s.SlotStart(1<<20)) || s.EpochStart(n).Before(s.SlotStart(1<<20)) {
			t.Errorf("slot or epoch %d begins at %v, %v", n, s.SlotStart(n), s.EpochStart(n))
		}
	}
}

func TestAnImpossibleScheduleIsRefused(t *testing.T) {
	if err := schedule().Check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*slashing.Schedule){
		"zero":           func(s *slashing.Schedule) { *s = slashing.Schedule{} },
		"no genesis":     func(s *slashing.Schedule) { s.Genesis = time.Time{} },
		"genesis 1970":   func(s *slashing.Schedule) { s.Genesis = time.Unix(0, 0) },
		"no slot":        func(s *slashing.Schedule) { s.SlotDuration = 0 },
		"slot below 0":   func(s *slashing.Schedule) { s.SlotDuration = -1 },
		"slot of a week": func(s *slashing.Schedule) { s.SlotDuration = 7 * 24 * time.Hour },
		"no epoch":       func(s *slashing.Schedule) { s.SlotsPerEpoch = 0 },
		"endless epoch":  func(s *slashing.Schedule) { s.SlotsPerEpoch = 1 << 40 },
	} {
		s := schedule()
		change(&s)
		if s.Check() == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
