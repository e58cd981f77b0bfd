package slashing_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/enclave/slashing"
)

const (
	aRoot    = `"0x0000000000000000000000000000000000000000000000000000000000000001"`
	aKey     = `"0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c"`
	metadata = `"metadata":{"interchange_format_version":"5","genesis_validators_root":` + aRoot + `}`
)

func document(validators string) string { return `{` + metadata + `,"data":[` + validators + `]}` }

func validator(blocks, attestations string) string {
	return `{"pubkey":` + aKey + `,"signed_blocks":[` + blocks + `],"signed_attestations":[` + attestations + `]}`
}

func TestOnlyTheMaximaOfAnInterchangeAreKept(t *testing.T) {
	text := document(validator(
		`{"slot":"7"},{"slot":"9","signing_root":`+aRoot+`},{"slot":"8"}`,
		`{"source_epoch":"5","target_epoch":"6"},{"source_epoch":"2","target_epoch":"9"}`,
	) + "," + validator(`{"slot":"3"}`, ``))
	history, err := slashing.ReadInterchange(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if history.GenesisValidatorsRoot != mark(1) || len(history.States) != 1 {
		t.Fatalf("got %+v", history)
	}
	want := slashing.State{
		Block:       slashing.BlockMark{Signed: true, Slot: 9},
		Attestation: slashing.AttestationMark{Signed: true, Source: 5, Target: 9},
	}
	for _, got := range history.States {
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

func TestAMisshapenInterchangeIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty":                 ``,
		"not an object":         `[]`,
		"open":                  `{` + metadata + `,"data":[`,
		"trailing data":         document("") + "x",
		"second document":       document("") + document(""),
		"no metadata":           `{"data":[]}`,
		"no data":               `{` + metadata + `}`,
		"data twice":            `{` + metadata + `,"data":[],"data":[]}`,
		"unknown field":         `{` + metadata + `,"data":[],"more":1}`,
		"data is null":          `{` + metadata + `,"data":null}`,
		"version 4":             strings.Replace(document(""), `"5"`, `"4"`, 1),
		"version is a number":   strings.Replace(document(""), `"5"`, `5`, 1),
		"no version":            strings.Replace(document(""), `"interchange_format_version":"5",`, ``, 1),
		"no root":               strings.Replace(document(""), `,"genesis_validators_root":`+aRoot, ``, 1),
		"short root":            strings.Replace(document(""), `0x00`, `0x`, 1),
		"root without 0x":       strings.Replace(document(""), `0x00`, `0000`, 1),
		"key is not hex":        document(strings.Replace(validator(``, ``), `0xa9`, `0xg9`, 1)),
		"no key":                document(`{"signed_blocks":[],"signed_attestations":[]}`),
		"no blocks":             document(`{"pubkey":` + aKey + `,"signed_attestations":[]}`),
		"no attestations":       document(`{"pubkey":` + aKey + `,"signed_blocks":[]}`),
		"slot is a number":      document(validator(`{"slot":7}`, ``)),
		"slot has a sign":       document(validator(`{"slot":"+7"}`, ``)),
		"slot is too large":     document(validator(`{"slot":"18446744073709551616"}`, ``)),
		"slot is empty":         document(validator(`{"slot":""}`, ``)),
		"no slot":               document(validator(`{}`, ``)),
		"signing root is short": document(validator(`{"slot":"7","signing_root":"0x12"}`, ``)),
		"signing root is null":  document(validator(`{"slot":"7","signing_root":null}`, ``)),
		"no target":             document(validator(``, `{"source_epoch":"1"}`)),
		"field in other case":   document(validator(`{"Slot":"7"}`, ``)),
		"block is a list":       document(validator(`["7"]`, ``)),
	} {
		if history, err := slashing.ReadInterchange(strings.NewReader(text)); err == nil || history.States != nil {
			t.Errorf("%s was taken: %+v", name, history)
		}
	}
	if _, err := slashing.ReadInterchange(strings.NewReader(document(validator(``, ``)))); err != nil {
		t.Errorf("the document they derive from: %v", err)
	}
}

func TestAnEndlessTokenIsRefused(t *testing.T) {
	endless := io.MultiReader(strings.NewReader(`{"`), repeat('x'))
	if _, err := slashing.ReadInterchange(endless); err == nil || !strings.Contains(err.Error(), "token longer") {
		t.Errorf("got %v, want the token refused", err)
	}
	spaces := io.MultiReader(strings.NewReader(`{`), repeat(' '))
	if _, err := slashing.ReadInterchange(spaces); err == nil {
		t.Error("endless space was taken")
	}
}

// repeat is an endless reader of one byte.
type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

func TestAReadErrorIsPassedOn(t *testing.T) {
	broken := errors.New("line is cut")
	r := io.MultiReader(strings.NewReader(document("")[:60]), errorReader{broken})
	if _, err := slashing.ReadInterchange(r); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestALongHistoryCostsLittleMemory(t *testing.T) {
	block := `{"slot":"7","signing_root":` + aRoot + `},`
	blocks := strings.Repeat(block, 100000)
	history, err := slashing.ReadInterchange(strings.NewReader(document(validator(blocks[:len(blocks)-1], ``))))
	if err != nil || len(history.States) != 1 {
		t.Errorf("got %d states, %v", len(history.States), err)
	}
}

func FuzzReadInterchange(f *testing.F) {
	f.Add([]byte(document(validator(`{"slot":"7"}`, `{"source_epoch":"1","target_epoch":"2","signing_root":`+aRoot+`}`))))
	f.Add([]byte(document("")))
	for _, path := range []string{"single_validator_resign_block.json", "wrong_genesis_validators_root.json"} {
		data, err := os.ReadFile(filepath.Join("slashingtest", "testdata", path))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		history, err := slashing.ReadInterchange(bytes.NewReader(data))
		if err != nil {
			if history.States != nil {
				t.Fatal("history with an error")
			}
			return
		}
		written, err := history.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again, err := slashing.ReadInterchange(bytes.NewReader(written))
		if err != nil || again.GenesisValidatorsRoot != history.GenesisValidatorsRoot || len(again.States) != len(history.States) {
			t.Fatalf("own document: %v\n%s", err, written)
		}
		for key, state := range history.States {
			if again.States[key] != state {
				t.Fatalf("got %+v, want %+v", again.States[key], state)
			}
		}
	})
}
