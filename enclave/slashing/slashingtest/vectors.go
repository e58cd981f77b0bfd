package slashingtest

import (
	"bytes"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"holdfast/enclave/slashing"
)

// vectorFiles are the interchange tests. Their README says where they are from.
//
//go:embed testdata/*.json
var vectorFiles embed.FS

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

// vectors returns the interchange tests by name. They are part of the program, so
// that one which does not parse is a fault of the program.
func vectors() map[string]vector {
	paths, err := fs.Glob(vectorFiles, "testdata/*.json")
	if err != nil {
		panic(err)
	}
	all := make(map[string]vector, len(paths))
	for _, name := range paths {
		data, err := vectorFiles.ReadFile(name)
		var v vector
		if err == nil {
			err = json.Unmarshal(data, &v)
		}
		if err != nil {
			panic(name + ": " + err.Error())
		}
		all[strings.TrimSuffix(path.Base(name), ".json")] = v
	}
	return all
}

// vectorKeys returns the keys of the interchange tests, each once.
func vectorKeys() []slashing.PublicKey {
	var keys []slashing.PublicKey
	for _, v := range vectors() {
		for _, step := range v.Steps {
			if history, err := slashing.ReadInterchange(bytes.NewReader(step.Interchange)); err == nil {
				for key := range history.States {
					keys = append(keys, key)
				}
			}
			for _, b := range step.Blocks {
				keys = append(keys, slashing.PublicKey(b.PublicKey))
			}
			for _, a := range step.Attestations {
				keys = append(keys, slashing.PublicKey(a.PublicKey))
			}
		}
	}
	slices.SortFunc(keys, func(a, b slashing.PublicKey) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(keys)
}

func runVectors(t *testing.T, open func(*testing.T, slashing.Root) slashing.Archive) {
	all := vectors()
	if len(all) != 38 {
		t.Fatalf("got %d interchange tests, want 38", len(all))
	}
	for name, v := range all {
		t.Run(name, func(t *testing.T) {
			store := open(t, slashing.Root(v.GenesisValidatorsRoot))
			for i, step := range v.Steps {
				step.run(t, i, slashing.Root(v.GenesisValidatorsRoot), store)
			}
		})
	}
}

func (s *step) run(t *testing.T, number int, network slashing.Root, store slashing.Archive) {
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
			t.Errorf("step %d: %v: got answer %d, %v; want allowed %v", number, duty, d.Answer, d.Err, want)
		}
	}
	for _, b := range s.Blocks {
		try(b.PublicKey, slashing.Block{Slot: b.Slot, SigningRoot: slashing.Root(b.SigningRoot)}, b.ShouldSucceed)
	}
	for _, a := range s.Attestations {
		try(a.PublicKey, slashing.Attestation{Source: a.Source, Target: a.Target, SigningRoot: slashing.Root(a.SigningRoot)}, a.ShouldSucceed)
	}
}
