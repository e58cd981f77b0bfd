package model

import (
	"fmt"
	"slices"
	"time"

	"holdfast/enclave/slashing"
)

// Fault is a rule left out.
type Fault int

// The faults of a journal.
const (
	NoFault             Fault = iota
	NoFloor                   // a start goes on with whatever journal it reads
	NoSourceRule              // a floor bounds targets and slots alone
	NoSlotAhead               // a floor forgets that one slot beyond now was permitted
	NoBoundOnTheFuture        // duties beyond now are signed
	FloorNotImposed           // a floor is forgotten with the start it is of
	LiftedUnasked             // a floor is lifted without a statement
	SignedBeforeDurable       // a duty is signed while its record is on the way
)

// Freshness says what a start believes of its journal.
type Freshness int

// The choices, as a bundle's configuration names them.
const (
	Strict           Freshness = iota // nothing: a floor stands in for what it may lack
	JournalFreshness                  // that the host kept the latest
)

// JournalOptions describe a Journal.
type JournalOptions struct {
	Freshness Freshness
	Duties    [keys][]slashing.Duty // that the client may ask for
	Fault     Fault
}

// The chain of the model: moments are slots, two an epoch, and there are four epochs.
const (
	slotsPerEpoch = 2
	epochs        = 4
	moments       = epochs * slotsPerEpoch
)

var chain = slashing.Schedule{Genesis: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), SlotDuration: 12 * time.Second, SlotsPerEpoch: slotsPerEpoch}

// phase is what an enclave is in.
type phase uint8

const (
	stopped  phase = iota // the journal is as the enclave left it
	replaced              // stopped, and the host will show something else
	running
)

// journalState is a state of enclave, journal and host. The contents of a journal are
// the states of its keys and the floor that stands in it; those of the newest journal
// and those in the enclave are the same while it runs.
type journalState struct {
	now     uint8
	phase   phase
	keys    [keys]uint8 // states, as indices into rules
	stands  uint8       // what stood in the journal at the start; index of a floor
	floor   uint8       // of this start; index, 0 if it has none
	lifted  bool        // a statement lifted it
	imposed bool        // this start's floor is in the journal
	vouched bool        // a statement about the head that this start read would be true
	current bool        // a statement about the journal's head as it is would be true
	watched int8        // a signature of key 0, or none
}

// Journal is a model: an enclave on a journal that its host keeps.
//
// In Strict the host is given more than it has: at a start it may show any
// state of any key and any floor standing, as if it could drop, reorder, replay and
// roll back records one by one and forge them too. It stops the enclave at any point.
// An operator's statement is true: nothing was signed after the journal's head. The
// records of a start include all that it signed, so that what it wrote last is such a
// head, until an enclave that read another journal signs.
//
// In JournalFreshness the host is honest: it shows the journal as it is, with
// or without a record that it did not acknowledge. It still stops the enclave.
type Journal struct {
	options JournalOptions
	rules   [keys]*rules
	floors  []slashing.Floor // floors[0] is none
	start   [moments]uint8   // the floor of a start
	now     [keys][moments][]bool
	permits [keys][][]bool // by floor and duty
}

// NewJournal asks the rules for every case that can occur.
func NewJournal(o JournalOptions) *Journal {
	j := &Journal{options: o, floors: []slashing.Floor{{}}}
	for moment := range moments {
		floor := j.floorAt(moment)
		i := slices.Index(j.floors[1:], floor) + 1
		if i == 0 {
			i = len(j.floors)
			j.floors = append(j.floors, floor)
		}
		j.start[moment] = uint8(i)
	}
	for key, duties := range o.Duties {
		j.rules[key] = newRules(duties)
		for moment := range moments {
			j.now[key][moment] = permitted(duties, func(d slashing.Duty) bool {
				return o.Fault == NoBoundOnTheFuture || chain.CheckNow(chain.SlotStart(uint64(moment)), d).Answer == slashing.Allowed
			})
		}
		for i, floor := range j.floors {
			j.permits[key] = append(j.permits[key], permitted(duties, func(d slashing.Duty) bool { return i == 0 || j.permitsAbove(floor, d) }))
		}
	}
	return j
}

func permitted(duties []slashing.Duty, permits func(slashing.Duty) bool) []bool {
	row := make([]bool, len(duties))
	for i, d := range duties {
		row[i] = permits(d)
	}
	return row
}

// floorAt returns the floor of a start, which is early in its slot.
func (j *Journal) floorAt(moment int) slashing.Floor {
	now := chain.SlotStart(uint64(moment))
	if j.options.Fault == NoSlotAhead {
		return slashing.Floor{Epoch: chain.Epoch(now), Slot: chain.Slot(now)}
	}
	return *chain.Floor(now)
}

func (j *Journal) permitsAbove(floor slashing.Floor, d slashing.Duty) bool {
	if vote, ok := d.(slashing.Attestation); ok && j.options.Fault == NoSourceRule {
		return vote.Target > floor.Epoch
	}
	return chain.CheckFloor(floor, d).Answer == slashing.Allowed
}

// Explore visits every state, or stops after limit of them.
func (j *Journal) Explore(limit int) Result {
	return explore(system[journalState]{
		initial:   journalState{current: true, watched: none},
		steps:     j.steps,
		watched:   func(s journalState) int { return int(s.watched) },
		slashable: j.rules[0].slashable,
	}, limit)
}

func (j *Journal) steps(s journalState, next func(func() string, journalState, int)) {
	if s.now+1 < moments {
		later := s
		later.now++
		next(func() string { return fmt.Sprintf("slot %d begins", later.now) }, later, none)
	}
	switch s.phase {
	case stopped:
		j.starts(s, next)
	case replaced:
		j.startsReplaced(s, next)
	case running:
		next(func() string { return "the enclave is stopped" }, j.stop(s), none)
		j.lifts(s, next)
		for key := range keys {
			for duty := range j.rules[key].duties {
				j.asks(s, key, duty, next)
			}
		}
	}
}

// stop leaves the journal, with what stands in it.
func (j *Journal) stop(s journalState) journalState {
	s.stands = j.standing(s)
	s.phase, s.floor, s.imposed, s.lifted, s.vouched = stopped, 0, false, false, false
	return s
}

// standing returns the floor that stands in the newest journal, by slashing.Floors.
func (j *Journal) standing(s journalState) uint8 {
	if !s.imposed {
		return s.stands
	}
	var floors slashing.Floors
	if s.stands != 0 {
		floors = floors.Impose(j.floors[s.stands])
	}
	before := floors.Standing()
	floors = floors.Impose(j.floors[s.floor])
	if s.lifted {
		floors = floors.Lift(before)
	}
	return j.index(floors.Standing())
}

func (j *Journal) index(floor *slashing.Floor) uint8 {
	if floor == nil {
		return 0
	}
	return uint8(slices.Index(j.floors[1:], *floor) + 1)
}

// starts has the enclave start on the newest journal, or the host take that away.
func (j *Journal) starts(s journalState, next func(func() string, journalState, int)) {
	if j.options.Freshness == JournalFreshness {
		s.phase = running
		next(func() string { return "the enclave starts on the journal as it is" }, s, none)
		return
	}
	started := j.started(s)
	started.vouched = s.current
	next(func() string { return "the enclave starts on the newest journal; " + j.describe(started) }, started, none)
	taken := journalState{now: s.now, phase: replaced, watched: s.watched}
	next(func() string { return "the host takes the journal away" }, taken, none)
}

// startsReplaced has the enclave start on anything at all.
func (j *Journal) startsReplaced(s journalState, next func(func() string, journalState, int)) {
	for first := range j.rules[0].states {
		for second := range j.rules[1].states {
			for stands := range j.floors {
				shown := j.started(s)
				shown.keys, shown.stands = [keys]uint8{uint8(first), uint8(second)}, uint8(stands)
				next(func() string { return "the enclave starts on what the host shows; " + j.describe(shown) }, shown, none)
			}
		}
	}
}

func (j *Journal) started(s journalState) journalState {
	s.phase = running
	if j.options.Fault != NoFloor {
		s.floor = j.start[s.now]
	}
	return s
}

func (j *Journal) describe(s journalState) string {
	text := ""
	for key, state := range s.keys {
		if state == 0 {
			text += fmt.Sprintf("of key %d nothing, ", key)
			continue
		}
		known := j.rules[key].states[state]
		if known.Attestation.Signed {
			text += fmt.Sprintf("of key %d source %d and target %d, ", key, known.Attestation.Source, known.Attestation.Target)
		}
		if known.Block.Signed {
			text += fmt.Sprintf("of key %d slot %d, ", key, known.Block.Slot)
		}
	}
	if s.stands != 0 {
		text += fmt.Sprintf("epoch %d and slot %d stand, ", j.floors[s.stands].Epoch, j.floors[s.stands].Slot)
	}
	if s.floor == 0 {
		return text + "no floor"
	}
	return text + fmt.Sprintf("floor: epoch %d, slot %d", j.floors[s.floor].Epoch, j.floors[s.floor].Slot)
}

// lifts has the operator vouch for the head that this start read.
func (j *Journal) lifts(s journalState, next func(func() string, journalState, int)) {
	if s.floor == 0 || s.lifted || !s.vouched && j.options.Fault != LiftedUnasked {
		return
	}
	s.lifted = true
	next(func() string { return "the floor is lifted" }, s, none)
}

// asks has the client ask for a duty. The guard and the rules decide; then the record
// is lost, or written and the duty not signed, or written and signed.
func (j *Journal) asks(s journalState, key, duty int, next func(func() string, journalState, int)) {
	after := j.rules[key].next[s.keys[key]][duty]
	if after == none || !j.now[key][s.now][duty] || !j.permits[key][s.stands][duty] || !s.lifted && !j.permits[key][s.floor][duty] {
		return
	}
	d := func() string { return describe(key, j.rules[key].duties[duty]) }
	signature := none
	if key == 0 {
		signature = duty
	}
	if j.options.Fault == SignedBeforeDurable {
		lost := j.stop(s).signed(signature)
		lost.current = false
		next(func() string { return d() + ": signed, and the enclave is stopped before the record is written" }, lost, signature)
	}
	written := s
	written.keys[key] = uint8(after)
	written.current = true
	if written.floor != 0 && !written.lifted && j.options.Fault != FloorNotImposed {
		written.imposed = true
	}
	next(func() string { return d() + ": recorded, not signed" }, written, none)
	next(func() string { return d() + ": recorded and signed" }, written, signature)
	next(func() string { return d() + ": recorded and signed, and watched from here" }, written.signed(signature), signature)
}

// signed remembers a signature.
func (s journalState) signed(signature int) journalState {
	if signature != none {
		s.watched = int8(signature)
	}
	return s
}
