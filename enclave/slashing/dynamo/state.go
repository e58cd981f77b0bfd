package dynamo

import (
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/enclave/slashing"
)

// What a state's flags say.
const (
	blockSigned = 1 << iota
	blockRootKnown
	attestationSigned
	attestationRootKnown
)

// stateSize is the size of an encoded state:
//
//	flags 1 byte || block slot 8 || block root 32 || source 8 || target 8 || attestation root 32
//
// Numbers are big-endian; what the flags deny is zero, so that a state has one encoding.
const stateSize = 1 + 8 + 32 + 8 + 8 + 32

func encodeState(s slashing.State) []byte {
	out := make([]byte, 1, stateSize)
	for flag, set := range map[byte]bool{
		blockSigned: s.Block.Signed, blockRootKnown: s.Block.Root.Known,
		attestationSigned: s.Attestation.Signed, attestationRootKnown: s.Attestation.Root.Known,
	} {
		if set {
			out[0] |= flag
		}
	}
	out = binary.BigEndian.AppendUint64(out, s.Block.Slot)
	out = append(out, s.Block.Root.Root[:]...)
	out = binary.BigEndian.AppendUint64(out, s.Attestation.Source)
	out = binary.BigEndian.AppendUint64(out, s.Attestation.Target)
	return append(out, s.Attestation.Root.Root[:]...)
}

var errState = errors.New("its state is malformed")

func decodeState(data []byte) (slashing.State, error) {
	if len(data) != stateSize {
		return slashing.State{}, fmt.Errorf("%w: %d bytes, want %d", errState, len(data), stateSize)
	}
	flags := data[0]
	s := slashing.State{
		Block: slashing.BlockMark{
			Signed: flags&blockSigned != 0,
			Slot:   binary.BigEndian.Uint64(data[1:]),
			Root:   slashing.SignedRoot{Root: slashing.Root(data[9:41]), Known: flags&blockRootKnown != 0},
		},
		Attestation: slashing.AttestationMark{
			Signed: flags&attestationSigned != 0,
			Source: binary.BigEndian.Uint64(data[41:]),
			Target: binary.BigEndian.Uint64(data[49:]),
			Root:   slashing.SignedRoot{Root: slashing.Root(data[57:89]), Known: flags&attestationRootKnown != 0},
		},
	}
	if flags >= attestationRootKnown<<1 || s != canonical(s) {
		return slashing.State{}, errState
	}
	return s, nil
}

// canonical clears what a state's flags deny.
func canonical(s slashing.State) slashing.State {
	if !s.Block.Signed {
		s.Block = slashing.BlockMark{}
	}
	if !s.Attestation.Signed {
		s.Attestation = slashing.AttestationMark{}
	}
	for _, root := range []*slashing.SignedRoot{&s.Block.Root, &s.Attestation.Root} {
		if !root.Known {
			*root = slashing.SignedRoot{}
		}
	}
	return s
}
