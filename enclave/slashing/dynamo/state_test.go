package dynamo

import (
	"bytes"
	"testing"

	"holdfast/enclave/slashing"
)

func states() []slashing.State {
	root := slashing.SignedRoot{Root: slashing.Root{1, 31: 2}, Known: true}
	return []slashing.State{
		{},
		{Block: slashing.BlockMark{Signed: true, Slot: 1<<64 - 1}},
		{Block: slashing.BlockMark{Signed: true, Root: root}},
		{Attestation: slashing.AttestationMark{Signed: true, Source: 3, Target: 1<<64 - 1, Root: root}},
		{Block: slashing.BlockMark{Signed: true, Slot: 7, Root: root}, Attestation: slashing.AttestationMark{Signed: true, Target: 1}},
	}
}

func TestStatesSurviveTheirEncoding(t *testing.T) {
	for _, want := range states() {
		if got, err := decodeState(encodeState(want)); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

// FuzzDecodeState holds that a state has one encoding.
func FuzzDecodeState(f *testing.F) {
	for _, s := range states() {
		f.Add(encodeState(s))
	}
	f.Add([]byte{})
	f.Add(make([]byte, stateSize+1))
	f.Add(append([]byte{0xff}, make([]byte, stateSize-1)...))
	f.Add(append(make([]byte, stateSize-1), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := decodeState(data)
		if err != nil {
			if s != (slashing.State{}) {
				t.Errorf("an error and %+v", s)
			}
			return
		}
		if !bytes.Equal(encodeState(s), data) {
			t.Errorf("%x decodes to %+v, which encodes to %x", data, s, encodeState(s))
		}
	})
}

// FuzzParsePart holds that the parts of an import are read as they are written.
func FuzzParsePart(f *testing.F) {
	f.Add([]byte{})
	f.Add(append(make([]byte, 48), encodeState(states()[4])...))
	f.Add(make([]byte, importKeySize-1))
	f.Fuzz(func(t *testing.T, data []byte) {
		found := make(map[slashing.PublicKey]slashing.State)
		if err := parsePart(data, found); err != nil {
			return
		}
		for key, state := range found {
			if !bytes.Contains(data, append(key[:], encodeState(state)...)) {
				t.Errorf("%x: %+v is not in the data", key, state)
			}
		}
	})
}
