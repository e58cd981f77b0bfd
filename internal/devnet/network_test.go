package devnet

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/bls"
	chainnetwork "holdfast/enclave/ethereum/network"
)

var exampleGenesis = genesis{time: time.Unix(1_800_000_000, 0), validatorsRoot: [32]byte{1, 2, 3}}

// The signer and the beacon node are told of one network in two forms, which must say the same.
func TestTheKeyFileDescribesTheNetworkThatPrysmReads(t *testing.T) {
	file, err := newKeyFile(exampleGenesis, 3)
	if err != nil {
		t.Fatal(err)
	}
	released, err := bundle.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := chainnetwork.ParseConfig([]byte(chainConfig), chainnetwork.Genesis{
		Time: uint64(exampleGenesis.time.Unix()), ValidatorsRoot: exampleGenesis.validatorsRoot,
	})
	if err != nil {
		t.Fatal(err)
	}
	n := released.Network
	if n.GenesisTime != config.GenesisTime || n.GenesisValidatorsRoot != config.GenesisValidatorsRoot ||
		n.GenesisForkVersion != config.GenesisForkVersion() || n.SecondsPerSlot != config.SecondsPerSlot ||
		n.SlotsPerEpoch != config.SlotsPerEpoch || n.SyncCommitteeSize != config.SyncCommitteeSize ||
		n.MaxCommitteesPerSlot != config.MaxCommitteesPerSlot {
		t.Errorf("the key file says %+v, config.yml %+v", n, config)
	}
	if config.SecondsPerSlot != secondsPerSlot || config.SlotsPerEpoch != slotsPerEpoch {
		t.Errorf("config.yml has %d seconds a slot and %d slots an epoch", config.SecondsPerSlot, config.SlotsPerEpoch)
	}
	for i, f := range n.Forks {
		if a := config.Forks[i+1]; a.Version != f.Version || a.Epoch != f.Epoch {
			t.Errorf("%s: the key file says %#x at %d, config.yml %+v", f.Name, f.Version, f.Epoch, a)
		}
	}
	if newest := config.ForkAt(enough); int(newest) != len(n.Forks) {
		t.Errorf("config.yml comes to %v, the key file has %d forks", newest, len(n.Forks))
	}
	if len(released.Validators) != 3 {
		t.Errorf("got %d validators", len(released.Validators))
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
