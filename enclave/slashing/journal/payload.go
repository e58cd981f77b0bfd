package journal

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"holdfast/enclave/slashing"
)

// Bounds on what a journal remembers, so that a snapshot of all of it fits one
// record.
const (
	maxKeys     = 1 << 17 // as many as an interchange may hold
	maxBundles  = 64      // names whose versions are remembered
	maxName     = 64      // bytes of a bundle's name
	maxKeyEntry = 48 + 1 + 8 + 32 + 8 + 8 + 32
)

// payload is what a record's seal hides: the new state of some keys and the
// versions of some bundles, or of all of them if the record is a snapshot. How a
// state came about, by a duty or an import, is not told: it makes no difference.
type payload struct {
	versions map[string]uint64
	states   map[slashing.PublicKey]slashing.State
}

// encode gives the one encoding of a payload: the count and list of versions by
// name, the count and list of states by key, both ascending.
func (p *payload) encode() []byte {
	b := make([]byte, 0, 8+len(p.versions)*(1+maxName+8)+len(p.states)*maxKeyEntry)
	b = binary.BigEndian.AppendUint16(b, uint16(len(p.versions)))
	for _, name := range slices.Sorted(maps.Keys(p.versions)) {
		b = append(append(b, byte(len(name))), name...)
		b = binary.BigEndian.AppendUint64(b, p.versions[name])
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(p.states)))
	for _, key := range slices.SortedFunc(maps.Keys(p.states), compareKeys) {
		b = appendState(append(b, key[:]...), p.states[key])
	}
	return b
}

func compareKeys(a, b slashing.PublicKey) int { return bytes.Compare(a[:], b[:]) }

// The flags of a state say which of its parts follow.
const (
	blockSigned = 1 << iota
	blockRoot
	attestationSigned
	attestationRoot
	knownFlags = 1<<iota - 1
)

func appendState(b []byte, s slashing.State) []byte {
	at := len(b)
	b = append(b, 0)
	if s.Block.Signed {
		b[at] |= blockSigned
		b = binary.BigEndian.AppendUint64(b, s.Block.Slot)
		if s.Block.Root.Known {
			b[at] |= blockRoot
			b = append(b, s.Block.Root.Root[:]...)
		}
	}
	if s.Attestation.Signed {
		b[at] |= attestationSigned
		b = binary.BigEndian.AppendUint64(b, s.Attestation.Source)
		b = binary.BigEndian.AppendUint64(b, s.Attestation.Target)
		if s.Attestation.Root.Known {
			b[at] |= attestationRoot
			b = append(b, s.Attestation.Root.Root[:]...)
		}
	}
	return b
}

// normal returns a state without what its flags say is not there, so that it
// equals what its encoding decodes to.
func normal(s slashing.State) slashing.State {
	if !s.Block.Root.Known {
		s.Block.Root = slashing.SignedRoot{}
	}
	if !s.Attestation.Root.Known {
		s.Attestation.Root = slashing.SignedRoot{}
	}
	if !s.Block.Signed {
		s.Block = slashing.BlockMark{}
	}
	if !s.Attestation.Signed {
		s.Attestation = slashing.AttestationMark{}
	}
	return s
}

// decodePayload reads what encode wrote, and nothing else: it is strict in order,
// flags, bounds and length.
func decodePayload(data []byte) (*payload, error) {
	r := &reader{data: data}
	p := &payload{versions: r.versions(), states: r.states()}
	if len(r.data) > 0 {
		r.fail("has %d bytes too many", len(r.data))
	}
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// reader takes values from the front of data until an error, and zeros after it.
type reader struct {
	data []byte
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("payload "+format, args...)
	}
	r.data = nil
}

var errShort = errors.New("payload ends early")

func (r *reader) take(n int) []byte {
	if len(r.data) < n {
		r.err, r.data = cmp.Or(r.err, errShort), nil
		return make([]byte, n)
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *reader) uint64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

func (r *reader) versions() map[string]uint64 {
	count := int(binary.BigEndian.Uint16(r.take(2)))
	if count > maxBundles {
		r.fail("has versions of %d bundles, want at most %d", count, maxBundles)
	}
	versions, last := make(map[string]uint64), ""
	for range count {
		name := string(r.take(int(r.take(1)[0])))
		version := r.uint64()
		if r.err != nil {
			return nil
		}
		if err := checkName(name); err != nil || name <= last || version == 0 {
			r.fail("has version %d of bundle %q after %q", version, name, last)
			return nil
		}
		versions[name], last = version, name
	}
	return versions
}

func (r *reader) states() map[slashing.PublicKey]slashing.State {
	count := int(binary.BigEndian.Uint32(r.take(4)))
	if count > maxKeys {
		r.fail("has states of %d keys, want at most %d", count, maxKeys)
		return nil
	}
	states := make(map[slashing.PublicKey]slashing.State, min(count, len(r.data)/49))
	var last slashing.PublicKey
	for n := range count {
		key := slashing.PublicKey(r.take(48))
		state := r.state()
		if r.err == nil && n > 0 && compareKeys(key, last) <= 0 {
			r.fail("has key %x after %x", key, last)
		}
		if r.err != nil {
			return nil
		}
		states[key], last = state, key
	}
	return states
}

func (r *reader) state() slashing.State {
	var s slashing.State
	flags := r.take(1)[0]
	if flags&^knownFlags != 0 || flags&(blockSigned|blockRoot) == blockRoot || flags&(attestationSigned|attestationRoot) == attestationRoot {
		r.fail("has state flags %#x", flags)
	}
	if flags&blockSigned != 0 {
		s.Block = slashing.BlockMark{Signed: true, Slot: r.uint64(), Root: r.root(flags&blockRoot != 0)}
	}
	if flags&attestationSigned != 0 {
		s.Attestation = slashing.AttestationMark{Signed: true, Source: r.uint64(), Target: r.uint64(), Root: r.root(flags&attestationRoot != 0)}
	}
	return s
}

func (r *reader) root(known bool) slashing.SignedRoot {
	if !known {
		return slashing.SignedRoot{}
	}
	return slashing.SignedRoot{Root: slashing.Root(r.take(32)), Known: true}
}
