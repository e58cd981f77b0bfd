package journal

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/journal/wire"
)

var example = identity{"example", slashing.Root{31: 7}}

// randomPayload draws states of every form.
func randomPayload(r *rand.Rand) *payload {
	root := func() slashing.SignedRoot {
		if r.IntN(2) == 0 {
			return slashing.SignedRoot{}
		}
		return slashing.SignedRoot{Root: slashing.Root{byte(r.Uint32())}, Known: true}
	}
	p := &payload{make(map[string]uint64), make(map[slashing.PublicKey]slashing.State)}
	for range r.IntN(20) {
		var s slashing.State
		if r.IntN(2) == 0 {
			s.Block = slashing.BlockMark{Signed: true, Slot: r.Uint64(), Root: root()}
		}
		if r.IntN(2) == 0 {
			s.Attestation = slashing.AttestationMark{Signed: true, Source: r.Uint64(), Target: r.Uint64(), Root: root()}
		}
		p.states[slashing.PublicKey{byte(r.Uint32()), byte(r.Uint32())}] = s
	}
	for range r.IntN(4) {
		p.versions[strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(maxName))] = 1 + r.Uint64N(1<<63)
	}
	return p
}

func TestAPayloadDecodesToWhatItWas(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := randomPayload(r)
		got, err := decodePayload(want.encode())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestAStateIsRecordedWithoutWhatItDoesNotSay(t *testing.T) {
	odd := slashing.State{
		Block:       slashing.BlockMark{Slot: 7, Root: slashing.SignedRoot{Root: slashing.Root{1}, Known: true}},
		Attestation: slashing.AttestationMark{Signed: true, Target: 2, Root: slashing.SignedRoot{Root: slashing.Root{1}}},
	}
	want := slashing.State{Attestation: slashing.AttestationMark{Signed: true, Target: 2}}
	if got := normal(odd); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestOnlyOneEncodingIsRead(t *testing.T) {
	key := func(n string) string { return strings.Repeat("00", 47) + n }
	for name, c := range map[string]struct{ hex, want string }{
		"nothing":           {"", "ends early"},
		"no count of keys":  {"0000", "ends early"},
		"a byte too many":   {"0000" + "00000000" + "00", "1 bytes too many"},
		"keys out of order": {"0000" + "00000002" + key("02") + "00" + key("01") + "00", "after"},
		"a key twice":       {"0000" + "00000002" + key("01") + "00" + key("01") + "00", "after"},
		"unknown flags":     {"0000" + "00000001" + key("01") + "10", "flags 0x10"},
		"a root of nothing": {"0000" + "00000001" + key("01") + "02" + strings.Repeat("00", 32), "flags 0x2"},
		"a vote cut short":  {"0000" + "00000001" + key("01") + "04" + strings.Repeat("00", 15), "ends early"},
		"too many keys":     {"0000" + "00020001", "131073 keys"},
		"too many bundles":  {"0041", "65 bundles"},
		"bundles unsorted":  {"0002" + "0162" + "0000000000000001" + "0161" + "0000000000000001" + "00000000", `"a" after "b"`},
		"a version of zero": {"0001" + "0162" + "0000000000000000" + "00000000", "version 0"},
		"a bundle unnamed":  {"0001" + "00" + "0000000000000001" + "00000000", `bundle ""`},
		"a bundle misnamed": {"0001" + "0141" + "0000000000000001" + "00000000", `bundle "A"`},
	} {
		data, err := hex.DecodeString(c.hex)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodePayload(data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestACompactionIsDueWhenRecordsOutgrowTheSnapshot(t *testing.T) {
	var c compaction
	if !c.due(1000) {
		t.Error("an empty journal does not begin with a snapshot")
	}
	c.add(true, 500)
	for _, step := range []struct {
		size int
		due  bool
	}{{900, false}, {1000, false}, {99, false}, {1, true}} {
		if c.add(false, step.size); c.due(1000) != step.due {
			t.Errorf("after %d bytes: due %v, want %v", c.since, c.due(1000), step.due)
		}
	}
	if c.due(3000) {
		t.Error("due before the least")
	}
}

func FuzzPayload(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5 {
		f.Add(randomPayload(r).encode())
	}
	f.Add([]byte{0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodePayload(data)
		if err != nil {
			if p != nil {
				t.Fatal("a payload and an error")
			}
			return
		}
		if !bytes.Equal(p.encode(), data) {
			t.Fatalf("%x decodes, but encodes to %x", data, p.encode())
		}
	})
}

// FuzzRecord changes records that were sealed well: only the very same may open.
func FuzzRecord(f *testing.F) {
	secret := make([]byte, keySize)
	s, err := newSealer(example, secret)
	if err != nil {
		f.Fatal(err)
	}
	good := make(map[string]bool)
	r := rand.New(rand.NewPCG(5, 6))
	for n := range 4 {
		head := wire.Position{Sequence: uint64(n)}
		if n > 0 {
			head.Digest = wire.Digest{1}
		}
		record := s.seal(head, n == 0, randomPayload(r))
		good[string(record)] = true
		f.Add(record)
		f.Add(record[:len(record)/2])
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		o := &opener{identity: example, secret: secret}
		if _, _, err := o.open(record); (err == nil) != good[string(record)] {
			t.Fatalf("%x: got %v", record, err)
		}
	})
}
