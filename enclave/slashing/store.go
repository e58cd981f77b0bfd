package slashing

import (
	"context"
	"errors"
)

// Store records duties.
//
// Record applies the rules to what is recorded for key and, if they allow the
// duty, makes the new state durable before it returns Allowed. For one key it is
// atomic: of two conflicting duties at most one is ever allowed. Duties of
// different keys do not wait for each other's rules, though they may share a
// write. A store that cannot read or write, or whose ctx ends, answers Failed; the
// duty may then be recorded or not, and the caller must not sign.
//
// genesisValidatorsRoot is the network the duty belongs to. A store serves one
// network and denies duties of any other.
type Store interface {
	Record(ctx context.Context, genesisValidatorsRoot Root, key PublicKey, duty Duty) Decision
}

// Archive is a Store whose history moves: it comes with a key that another signer
// used before, and goes with one that another will use next. Neither is possible
// while the other signer signs (EIP-3076, "Advice for complete databases").
//
// Import merges history, so that afterwards everything is refused that either the
// store or the history forbids. It is all or nothing, durable when it returns nil,
// and refuses another network's history. Export returns what the store remembers
// of keys, or of every key if keys is nil; keys that it does not know are left out.
type Archive interface {
	Store
	Import(ctx context.Context, history Interchange) error
	Export(ctx context.Context, keys []PublicKey) (Interchange, error)
}

// Prober is a Store that can tell whether it works without being asked to record
// anything. Probe returns what is wrong, or nil; it is called often and ends with
// ctx.
type Prober interface {
	Probe(ctx context.Context) error
}

var errNotOpened = errors.New("slashing store was not opened")
