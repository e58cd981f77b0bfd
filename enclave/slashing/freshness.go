package slashing

import (
	"fmt"
	"time"
)

// Clock tells the time that the host cannot set, or why it cannot. Its readings
// never go back, are never more than ClockMargin/2 ahead of the module's time, and
// the first is not older than the enclave's start.
type Clock interface {
	Now() (time.Time, error)
}

// ClockMargin is what a floor adds for clocks that disagree. One half is for a Clock
// that runs ahead of the module's time. The other is for what the module rounds off,
// and for its time going back between a signature and the next start of the enclave,
// as when its host's clock is set, or the enclave moves to another host. Hosts of Nitro
// enclaves keep the time to milliseconds, and QEMU's module rounds to a second.
const ClockMargin = 5 * time.Second

// Floor is what everything signed before is known not to exceed, whatever became of
// the journal: no target epoch above Epoch, and no block slot above Slot.
//
// What it then permits can not be slashed together with anything signed before.
// Write F for Epoch, and let old and new be two attestations of one key, old signed
// before the floor was set and new permitted by it.
//
//  1. Whoever signed old obeyed these rules, on a Clock that read C when it checked.
//     So old.target <= epoch(C + one slot), and old.source < old.target or both are 0.
//  2. That enclave had ended before this one started, and this one's Clock read C'
//     after its start. By the definition of Clock, C <= module's time then +
//     ClockMargin/2. Since then the module's time went back, or was rounded off, by at
//     most ClockMargin/2, which is what is assumed of it: C <= C' + ClockMargin.
//  3. F = epoch(C' + ClockMargin + one slot), and epoch is monotonic: old.target <= F.
//     Hence old.source <= F-1, or old is the vote of genesis (0, 0).
//  4. The floor demands new.target > F and new.source >= F-1 (or F is 0).
//  5. No double vote: old.target <= F < new.target.
//     Old does not surround new: that takes new.target < old.target.
//     New does not surround old: that takes new.source < old.source, but
//     old.source <= F-1 <= new.source; for old = (0, 0) or F = 0, old.source is 0.
//  6. A block likewise: its old slot <= slot(C + one slot) <= Slot < its new slot.
//
// Step 2 holds for every enclave that ever ran before, so restarts add up to nothing
// new. It does not hold for two enclaves that run at once: that takes a store that
// the host cannot fork.
type Floor struct {
	Epoch uint64
	Slot  uint64
}

// Floor returns the floor for an enclave whose clock reads now, at its start. It is
// nil before the chain begins, when nothing can have been signed.
func (s Schedule) Floor(now time.Time) *Floor {
	latest := now.Add(ClockMargin + s.SlotDuration)
	if !s.Begun(latest) {
		return nil
	}
	return &Floor{Epoch: s.Epoch(latest), Slot: s.Slot(latest)}
}

// The reasons for a denial by time.
const (
	BeyondNow        Reason = "beyond_now"
	TargetAtFloor    Reason = "target_at_restart_floor"
	SourceBelowFloor Reason = "source_below_restart_floor"
	BlockAtFloor     Reason = "block_at_restart_floor"
)

// CheckNow denies what lies more than one slot ahead of now: a block by its slot, an
// attestation by its target's epoch. Before the chain begins it denies everything.
func (s Schedule) CheckNow(now time.Time, duty Duty) Decision {
	latest := now.Add(s.SlotDuration)
	clock := now.UTC().Format(time.RFC3339)
	if !s.Begun(latest) {
		return deny(BeyondNow, "the chain begins at %s and it is %s: nothing is signed before", s.Genesis.UTC().Format(time.RFC3339), clock)
	}
	switch d := duty.(type) {
	case Block:
		if slot := s.Slot(latest); d.Slot > slot {
			return deny(BeyondNow, "block slot %d lies beyond %d, one slot after now (%s)", d.Slot, slot, clock)
		}
	case Attestation:
		if epoch := s.Epoch(latest); d.Target > epoch {
			return deny(BeyondNow, "attestation target %d lies beyond %d, the epoch one slot after now (%s)", d.Target, epoch, clock)
		}
	default:
		return Fail(fmt.Errorf("no duty that a schedule knows: %T", duty))
	}
	return allow()
}

// CheckFloor denies what a floor forbids, and says when signing goes on.
func (s Schedule) CheckFloor(floor Floor, duty Duty) Decision {
	switch d := duty.(type) {
	case Block:
		if d.Slot <= floor.Slot {
			return deny(BlockAtFloor, "block slot %d is not above %d, and what was signed up to there before a start is not known; blocks go on at slot %d, at %s",
				d.Slot, floor.Slot, floor.Slot+1, s.SlotStart(floor.Slot+1).UTC().Format(time.RFC3339))
		}
	case Attestation:
		if d.Target <= floor.Epoch {
			return deny(TargetAtFloor, "attestation target %d is not above %d, and what was signed up to there before a start is not known; attestations go on with epoch %d, at %s",
				d.Target, floor.Epoch, floor.Epoch+1, s.EpochStart(floor.Epoch+1).UTC().Format(time.RFC3339))
		}
		if d.Source < floor.source() {
			return deny(SourceBelowFloor, "attestation source %d is below %d, and what was signed up to there before a start is not known: it may lie between this source and target; attestations go on when the chain has justified epoch %d, which never comes if it waits for these very validators",
				d.Source, floor.source(), floor.source())
		}
	default:
		return Fail(fmt.Errorf("no duty that a floor knows: %T", duty))
	}
	return allow()
}

// source returns the lowest source that the floor permits.
func (f Floor) source() uint64 { return max(f.Epoch, 1) - 1 }
