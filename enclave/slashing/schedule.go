package slashing

import (
	"errors"
	"fmt"
	"time"
)

// Schedule ties slots and epochs to time.
type Schedule struct {
	Genesis       time.Time     // when slot 0 begins
	SlotDuration  time.Duration // above zero
	SlotsPerEpoch uint64        // above zero
}

// Bounds on a Schedule, so that no arithmetic with it overflows: slots of at most a
// day, epochs of at most 2^16 slots. Networks have 1 to 15 seconds and 4 to 32 slots.
const (
	maxSlotDuration  = 24 * time.Hour
	maxSlotsPerEpoch = 1 << 16
)

// Check returns what is wrong with the schedule, or nil. The zero value is wrong.
func (s Schedule) Check() error {
	switch {
	case s.Genesis.Unix() <= 0:
		return errors.New("schedule has no genesis time")
	case s.SlotDuration <= 0 || s.SlotDuration > maxSlotDuration:
		return fmt.Errorf("slot duration is %v, want above zero and at most %v", s.SlotDuration, maxSlotDuration)
	case s.SlotsPerEpoch == 0 || s.SlotsPerEpoch > maxSlotsPerEpoch:
		return fmt.Errorf("an epoch has %d slots, want 1 to %d", s.SlotsPerEpoch, maxSlotsPerEpoch)
	}
	return nil
}

// Begun tells whether slot 0 has begun at t.
func (s Schedule) Begun(t time.Time) bool { return !t.Before(s.Genesis) }

// Slot returns the slot under way at t, and 0 before genesis.
func (s Schedule) Slot(t time.Time) uint64 {
	if !s.Begun(t) {
		return 0
	}
	return uint64(t.Sub(s.Genesis) / s.SlotDuration)
}

// Epoch returns the epoch under way at t, and 0 before genesis.
func (s Schedule) Epoch(t time.Time) uint64 { return s.Slot(t) / s.SlotsPerEpoch }

// SlotStart returns when a slot begins. One that lies beyond what a time.Duration
// holds, some 292 years, begins then.
func (s Schedule) SlotStart(slot uint64) time.Time {
	const longest = 1<<63 - 1
	return s.Genesis.Add(time.Duration(min(slot, longest/uint64(s.SlotDuration))) * s.SlotDuration)
}

// EpochStart returns when an epoch begins, within the same bound.
func (s Schedule) EpochStart(epoch uint64) time.Time {
	const highest = 1<<64 - 1
	return s.SlotStart(min(epoch, highest/s.SlotsPerEpoch) * s.SlotsPerEpoch)
}
