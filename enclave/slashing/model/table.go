package model

import (
	"fmt"

	"holdfast/enclave/slashing"
)

// TableOptions describe a Table.
type TableOptions struct {
	Duties [keys][]slashing.Duty // that clients may ask for

	// Unconditional is the fault: a write replaces whatever the table has.
	Unconditional bool
}

// copies is how many enclaves run at once.
const copies = 2

// tableState is a state of a table and of the enclaves on it. All are indices into
// rules.
type tableState struct {
	table   [keys]uint8         // what the table has
	believe [copies][keys]uint8 // what each enclave read last
	watched int8                // a signature of key 0, or none
}

// Table is a system: copies of an enclave on a table that the host can neither write
// nor roll back, over connections that it can cut.
//
// An enclave checks a duty against what it read last, however old, and writes on the
// condition that the table still has just that. The write is lost, or done without the
// enclave hearing of it, or done and the duty signed. It reads again at any time, which
// is also what a restart comes to. A write that arrives late is one by a copy that has
// not read since, whose answer is lost, and so it is in the model as well.
type Table struct {
	options TableOptions
	rules   [keys]*rules
}

// NewTable asks the rules for every case that can occur.
func NewTable(o TableOptions) *Table {
	t := &Table{options: o}
	for key, duties := range o.Duties {
		t.rules[key] = newRules(duties)
	}
	return t
}

// Explore visits every state, or stops after limit of them.
func (t *Table) Explore(limit int) Result { return explore(t, limit) }

func (t *Table) initial() tableState { return tableState{watched: none} }

func (t *Table) watched(s tableState) int { return int(s.watched) }

func (t *Table) slashable(a, b int) bool { return t.rules[0].slashable(a, b) }

func (t *Table) steps(s tableState, next func(func() string, tableState, int)) {
	for copied := range copies {
		for key := range keys {
			read := s
			read.believe[copied][key] = s.table[key]
			next(func() string { return fmt.Sprintf("enclave %d reads key %d", copied, key) }, read, none)
			for duty := range t.rules[key].duties {
				t.asks(s, copied, key, duty, next)
			}
		}
	}
}

// asks has a client ask an enclave for a duty.
func (t *Table) asks(s tableState, copied, key, duty int, next func(func() string, tableState, int)) {
	believed := s.believe[copied][key]
	after := t.rules[key].next[believed][duty]
	if after == none || believed != s.table[key] && !t.options.Unconditional {
		return
	}
	d := func() string { return fmt.Sprintf("enclave %d: %s", copied, describe(key, t.rules[key].duties[duty])) }
	unheard := s
	unheard.table[key] = uint8(after)
	next(func() string { return d() + ": written, and the answer lost" }, unheard, none)
	signature := none
	if key == 0 {
		signature = duty
	}
	written := unheard
	written.believe[copied][key] = uint8(after)
	next(func() string { return d() + ": written and signed" }, written, signature)
	if signature != none {
		written.watched = int8(signature)
		next(func() string { return d() + ": written and signed, and watched from here" }, written, signature)
	}
}
