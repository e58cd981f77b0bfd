package slashing_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/slashing"
)

type vector struct {
	GenesisValidatorsRoot hexBytes `json:"genesis_validators_root"`
	Steps                 []step   `json:"steps"`
}

type step struct {
	ShouldSucceed bool            `json:"should_succeed"`
	Interchange   json.RawMessage `json:"interchange"`
	Blocks        []blockAttempt  `json:"blocks"`
	Attestations  []voteAttempt   `json:"attestations"`
}

type blockAttempt struct {
	PublicKey     hexBytes `json:"pubkey"`
	Slot          uint64   `json:"slot,string"`
	SigningRoot   hexBytes `json:"signing_root"`
	ShouldSucceed bool     `json:"should_succeed"`
}

type voteAttempt struct {
	PublicKey     hexBytes `json:"pubkey"`
	Source        uint64   `json:"source_epoch,string"`
	Target        uint64   `json:"target_epoch,string"`
	SigningRoot   hexBytes `json:"signing_root"`
	ShouldSucceed bool     `json:"should_succeed"`
}

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) error {
	data, err := hex.DecodeString(strings.TrimPrefix(string(text), "0x"))
	*h = data
	return err
}

func TestAllInterchangeVectors(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) != 38 {
		t.Fatalf("got %d vectors, want 38", len(paths))
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var v vector
			if err := json.Unmarshal(data, &v); err != nil {
				t.Fatal(err)
			}
			store := slashing.NewMemory(slashing.Root(v.GenesisValidatorsRoot))
			for i, step := range v.Steps {
				step.run(t, i, slashing.Root(v.GenesisValidatorsRoot), store)
			}
		})
	}
}

func (s *step) run(t *testing.T, number int, network slashing.Root, store *slashing.Memory) {
	history, err := slashing.ReadInterchange(bytes.NewReader(s.Interchange))
	if err == nil {
		err = store.Import(t.Context(), history)
	}
	if (err == nil) != s.ShouldSucceed {
		t.Fatalf("step %d: import: got error %v, want success %v", number, err, s.ShouldSucceed)
	}
	try := func(key []byte, duty slashing.Duty, want bool) {
		d := store.Record(t.Context(), network, slashing.PublicKey(key), duty)
		if d.Answer == slashing.Failed || (d.Answer == slashing.Allowed) != want {
			t.Errorf("step %d: %v: got %v (%v), want allowed %v", number, duty, d.Answer, d.Err, want)
		}
	}
	for _, b := range s.Blocks {
		try(b.PublicKey, slashing.Block{Slot: b.Slot, SigningRoot: slashing.Root(b.SigningRoot)}, b.ShouldSucceed)
	}
	for _, a := range s.Attestations {
		try(a.PublicKey, slashing.Attestation{Source: a.Source, Target: a.Target, SigningRoot: slashing.Root(a.SigningRoot)}, a.ShouldSucceed)
	}
}
