package slashing

// Floors is what a store remembers of the floors of earlier starts, so that an
// operator's statement lifts no more than it says.
//
// A start with a floor goes on with a journal that may lack what was signed before.
// The next operator to vouch for that journal says that nothing was signed after its
// head, which is true, and yet the journal lacks what the rollback took. So a floor is
// imposed on the journal before the first duty that is recorded under it, and stands
// for good, unless a statement about the very head that this start read lifts it.
//
// Why what stands is enough: let a statement about head h be true, and let some
// signature s be missing from h's journal. Then s was made before h was written, by an
// enclave that ended before the one that wrote h began. Take the first enclave after
// that of s which wrote to h's journal. It read a journal without s, so its floor, at
// or above s, was imposed before anything it wrote. Nobody could lift it: that takes a
// statement that nothing was signed after the head which it read; if that head is
// older than s the statement is false, and if it is younger, an earlier enclave after
// s wrote to the journal.
//
// The zero value has no floors. It is kept in a store as the states of two keys that
// no validator has.
type Floors struct {
	Imposed uint64 // how many starts imposed a floor
	Last    Floor  // the highest that was imposed; of no meaning if Imposed is 0
	Lifted  uint64 // which of them was lifted last, counting from 1; 0 if none was
	Kept    *Floor // what stood when it was lifted; nil if nothing did
}

// Standing returns the floor that is in force whoever vouches, or nil.
func (f Floors) Standing() *Floor {
	switch {
	case f.Imposed == 0:
		return nil
	case f.Imposed > f.Lifted:
		last := f.Last
		return &last
	}
	return f.Kept
}

// Impose adds the floor of one more start.
func (f Floors) Impose(floor Floor) Floors {
	f.Imposed++
	f.Last = Floor{Epoch: max(f.Last.Epoch, floor.Epoch), Slot: max(f.Last.Slot, floor.Slot)}
	return f
}

// Lift takes back the last floor imposed. Standing is what stood before it.
func (f Floors) Lift(standing *Floor) Floors {
	f.Lifted, f.Kept = f.Imposed, standing
	return f
}

// The keys under which a store keeps Floors. A validator's compressed public key has
// the highest bit of its first byte set, so neither is one.
var (
	imposedKey = PublicKey{47: 1}
	liftedKey  = PublicKey{47: 2}
)

// floorKeys are both.
func floorKeys() []PublicKey { return []PublicKey{imposedKey, liftedKey} }

// states returns how Floors are kept: counts as slots, floors as marks with the epoch
// for a source and the slot for a target. What is merged in a store only grows, and so
// do all four.
func (f Floors) states() map[PublicKey]State {
	states := make(map[PublicKey]State, 2)
	if f.Imposed > 0 {
		states[imposedKey] = floorState(f.Imposed, &f.Last)
	}
	if f.Lifted > 0 {
		states[liftedKey] = floorState(f.Lifted, f.Kept)
	}
	return states
}

func floorState(count uint64, floor *Floor) State {
	state := State{Block: BlockMark{Signed: true, Slot: count}}
	if floor != nil {
		state.Attestation = AttestationMark{Signed: true, Source: floor.Epoch, Target: floor.Slot}
	}
	return state
}

// floorsOf is the reverse of states.
func floorsOf(states map[PublicKey]State) Floors {
	imposed, lifted := states[imposedKey], states[liftedKey]
	f := Floors{Imposed: imposed.Block.Slot, Lifted: lifted.Block.Slot}
	f.Last = Floor{Epoch: imposed.Attestation.Source, Slot: imposed.Attestation.Target}
	if kept := lifted.Attestation; kept.Signed {
		f.Kept = &Floor{Epoch: kept.Source, Slot: kept.Target}
	}
	return f
}
