// Package model explores small models of slashing protection to the end: every state
// that an enclave, its store, a hostile host and an arbitrary client can reach, within
// four epochs, for two keys.
//
// The models are of the journal, with crashes, rollbacks, restarts and an operator's
// statements ([Journal]), and of the table with conditional writes that several copies
// of an enclave share ([Table]). They take their rules from the code they are about:
// slashing.Check, Schedule.CheckNow, Schedule.Floor, Schedule.CheckFloor and
// slashing.Floors, asked once for each case that occurs. A [Fault] leaves one of them
// out; a test demands that each then leads to two slashable signatures, so that a model
// which finds none is known to be able to.
//
// Only tests link this package.
package model

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

// A system is what explore explores: states S, which are small values.
type system[S comparable] interface {
	// initial returns where it begins.
	initial() S

	// steps calls next for every step that is possible in a state: what happens, the
	// state after it, and the duty of key 0 that was signed, or none. What describes
	// the step is asked for only when a trace is printed.
	steps(s S, next func(what func() string, after S, signed int))

	// watched returns the earlier signature that s remembers, or none.
	watched(s S) int

	// slashable tells whether two signatures are.
	slashable(a, b int) bool
}

// none is no duty.
const none = -1

// Result is what an exploration found.
type Result struct {
	States  int      // distinct states reached
	Steps   int      // transitions taken
	Signed  int      // transitions that signed
	Trace   []string // how two slashable signatures come about; nil if they cannot
	Stopped bool     // there were more states than the bound
}

// String prints the trace, a step a line.
func (r Result) String() string {
	text := fmt.Sprintf("%d states, %d steps, %d signatures", r.States, r.Steps, r.Signed)
	for i, step := range r.Trace {
		text += fmt.Sprintf("\n%3d. %s", i+1, step)
	}
	return text
}

// origin is how a state was first reached.
type origin struct {
	from int32 // index of the state before
	step int32 // number of the step there
}

// explore visits every state, breadth first, so that a trace is a shortest one. It
// stops at the first slashable pair or after limit states.
//
// A state remembers one earlier signature, and a signature may be remembered or not:
// of any two that a run makes, some path remembers the first when the second is made.
func explore[S comparable](sys system[S], limit int) Result {
	var r Result
	start := sys.initial()
	states, origins := []S{start}, []origin{{-1, 0}}
	index := map[S]int32{start: 0}
	for at := int32(0); int(at) < len(states); at++ {
		step, found := int32(0), false
		sys.steps(states[at], func(what func() string, after S, signed int) {
			r.Steps++
			defer func() { step++ }()
			if found {
				return
			}
			if signed != none {
				r.Signed++
				if before := sys.watched(states[at]); before != none && sys.slashable(before, signed) {
					r.Trace, found = append(trace(sys, states, origins, at), what()), true
					return
				}
			}
			if _, known := index[after]; !known {
				index[after] = int32(len(states))
				states, origins = append(states, after), append(origins, origin{at, step})
			}
		})
		r.States = len(states)
		if found || len(states) > limit {
			r.Stopped = !found
			return r
		}
	}
	return r
}

// trace returns how a state was reached.
func trace[S comparable](sys system[S], states []S, origins []origin, at int32) []string {
	var steps []string
	for ; origins[at].from >= 0; at = origins[at].from {
		number := int32(0)
		sys.steps(states[origins[at].from], func(what func() string, _ S, _ int) {
			if number == origins[at].step {
				steps = append(steps, what())
			}
			number++
		})
	}
	slices.Reverse(steps)
	return steps
}

// keys is how many keys a model has. Slashing is looked for at key 0; which of them
// that is makes no difference.
const keys = 2

// rules are slashing.Check as a table: all states that a key can come to by the
// duties that a client may ask for.
type rules struct {
	duties []slashing.Duty
	states []slashing.State // states[0] is that of a key that signed nothing
	next   [][]int          // by state and duty: the state after, or none if denied
}

// newRules asks slashing.Check for every state and duty.
func newRules(duties []slashing.Duty) *rules {
	r := &rules{duties: duties, states: []slashing.State{{}}}
	for at := 0; at < len(r.states); at++ {
		row := make([]int, len(duties))
		for i, duty := range duties {
			after, decision := slashing.Check(r.states[at], duty)
			row[i] = none
			if decision.Answer != slashing.Allowed {
				continue
			}
			row[i] = slices.Index(r.states, after)
			if row[i] < 0 {
				row[i] = len(r.states)
				r.states = append(r.states, after)
			}
		}
		r.next = append(r.next, row)
	}
	return r
}

func (r *rules) slashable(a, b int) bool { return slashingtest.Slashable(r.duties[a], r.duties[b]) }

// describe names a duty of a key, with its root, for a trace.
func describe(key int, duty slashing.Duty) string {
	var root slashing.Root
	switch d := duty.(type) {
	case slashing.Block:
		root = d.SigningRoot
	case slashing.Attestation:
		root = d.SigningRoot
	}
	return fmt.Sprintf("key %d, %v, root %s", key, duty, strings.Repeat("I", int(root[31])))
}
