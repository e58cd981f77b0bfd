package devnet

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/ethereum/bls"
	chainnetwork "holdfast/enclave/ethereum/network"
)

var exampleGenesis = genesis{time: time.Unix(1_800_000_000, 0), validatorsRoot: [32]byte{1, 2, 3}}

// The signer and the beacon node read one description of the network.
func TestTheSignerTakesTheNetworkThatPrysmReads(t *testing.T) {
	file, err := describe(exampleGenesis, 1, 3, Duties...)
	if err != nil {
		t.Fatal(err)
	}
	draft, err := bundletest.Draft(file)
	if err != nil {
		t.Fatal(err)
	}
	read, err := bundle.ParseConfiguration(draft.Configuration)
	if err != nil {
		t.Fatal(err)
	}
	n := read.Network
	if n.GenesisTime != uint64(exampleGenesis.time.Unix()) || n.GenesisValidatorsRoot != exampleGenesis.validatorsRoot {
		t.Errorf("genesis %d with %x", n.GenesisTime, n.GenesisValidatorsRoot)
	}
	if n.SecondsPerSlot != secondsPerSlot || n.SlotsPerEpoch != slotsPerEpoch || n.SyncCommitteeSize != 512 || n.MaxCommitteesPerSlot != 64 {
		t.Errorf("got %+v", n)
	}
	if n.ForkAt(0) != chainnetwork.Bellatrix || n.ForkAt(1) != chainnetwork.Capella || n.ForkAt(enough) != chainnetwork.Deneb {
		t.Errorf("got forks %+v", n.Forks)
	}
	if len(draft.Secrets.Validators) != 3 {
		t.Errorf("got %d validators", len(draft.Secrets.Validators))
	}
}

// The keys of validators 0 and 1, as eth2.0-pm's interop/mocked_start/keygen_10_validators.yaml lists them.
func TestInteropKeysAreTheOnesThatTheWorldKnows(t *testing.T) {
	for i, want := range []struct{ secret, public string }{
		{"25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866",
			"0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c"},
		{"51d0b65185db6989ab0b560d6deed19c7ead0e24b9b6372cbecb1f26bdfad000",
			"0xb89bebc699769726a318c8e9971bd3171297c61aea4a6578a7a4f94b547dcba5bac16a89108b6b6a1fe3695d1a874a0b"},
	} {
		var scalar [32]byte
		interopKey(uint64(i)).FillBytes(scalar[:])
		if got := hex.EncodeToString(scalar[:]); got != want.secret {
			t.Errorf("key %d: got %s, want %s", i, got, want.secret)
		}
		key, err := bls.NewSecretKey(&scalar)
		if err != nil {
			t.Fatal(err)
		}
		if key.PublicKey().String() != want.public {
			t.Errorf("key %d: got %s, want %s", i, key.PublicKey(), want.public)
		}
	}
}

func TestATailKeepsTheLastOfWhatWasWritten(t *testing.T) {
	var l tail
	for i := range 4 {
		n, err := l.Write(bytes.Repeat([]byte{'a' + byte(i)}, maxTail/2))
		if n != maxTail/2 || err != nil {
			t.Fatalf("got %d, %v", n, err)
		}
	}
	if s := l.String(); len(s) != maxTail || s[0] != 'c' || s[len(s)-1] != 'd' {
		t.Errorf("got %d bytes, %q to %q", len(s), s[:1], s[len(s)-1:])
	}
}
