package rehearsal

import (
	"testing"
	"time"

	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/signing"
)

// The demonstrations' own roots and the signer's are two implementations of one specification.
func TestTheDemonstrationsRootsAreTheSigners(t *testing.T) {
	mainnet, ok := network.ByName("mainnet")
	if !ok {
		t.Fatal("mainnet is unknown")
	}
	for _, d := range []Duty{
		Attestation{Source: 421_874, Target: 421_875, Head: 1},
		Attestation{Source: 0, Target: 411_392},
		Attestation{Source: 1, Target: 1 << 58, Head: 0xff},
		Block{Slot: 13_500_000, Body: 1},
		Block{Slot: 411_392 * 32, Body: 0xff},
	} {
		m, err := signing.Parse([]byte(d.request(Mainnet())), &mainnet)
		if err != nil {
			t.Fatalf("%v: %v", d, err)
		}
		if m.SigningRoot != d.signingRoot(Mainnet()) {
			t.Errorf("%v: the signer's root is %x, the demonstration's %x", d, m.SigningRoot, d.signingRoot(Mainnet()))
		}
	}
}

func TestMainnetIsTheSigners(t *testing.T) {
	theirs, _ := network.ByName("mainnet")
	ours := Mainnet()
	if ours.Genesis.Unix() != int64(theirs.GenesisTime) || ours.ValidatorsRoot != theirs.GenesisValidatorsRoot ||
		ours.SlotDuration != time.Duration(theirs.SecondsPerSlot)*time.Second || ours.SlotsPerEpoch != theirs.SlotsPerEpoch {
		t.Errorf("got %+v, want what the signer has: %+v", ours, theirs)
	}
}

func TestAClockCountsSlotsAndEpochsFromGenesis(t *testing.T) {
	n := &Network{Genesis: time.Unix(1000, 0), SlotDuration: time.Second, SlotsPerEpoch: 4}
	for _, c := range []struct {
		after       time.Duration
		slot, epoch uint64
	}{{0, 0, 0}, {999 * time.Millisecond, 0, 0}, {3999 * time.Millisecond, 3, 0}, {4 * time.Second, 4, 1}} {
		at := n.Genesis.Add(c.after)
		if n.Slot(at) != c.slot || n.Epoch(at) != c.epoch {
			t.Errorf("after %v: got slot %d and epoch %d, want %d and %d", c.after, n.Slot(at), n.Epoch(at), c.slot, c.epoch)
		}
	}
	if !n.EpochStart(2).Equal(n.Genesis.Add(8 * time.Second)) {
		t.Errorf("epoch 2 begins at %v", n.EpochStart(2))
	}
}
