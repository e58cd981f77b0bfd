package network_test

import (
	"strings"
	"testing"

	"holdfast/enclave/ethereum/network"
)

func sound() network.Network {
	n := network.Network{
		Name:                  "test",
		GenesisValidatorsRoot: [32]byte{1},
		SecondsPerSlot:        12,
		SlotsPerEpoch:         32,
		SyncCommitteeSize:     512,
		MaxCommitteesPerSlot:  64,
	}
	for f := range n.Forks {
		n.Forks[f] = network.Activation{Version: network.Version{byte(f)}, Epoch: uint64(f) * 10}
	}
	n.Forks[network.Gloas].Epoch = network.FarFuture
	return n
}

func TestASoundNetworkIsValid(t *testing.T) {
	n := sound()
	if err := n.Validate(); err != nil {
		t.Error(err)
	}
}

func TestTheZeroNetworkIsInvalid(t *testing.T) {
	if err := new(network.Network).Validate(); err == nil {
		t.Error("the zero network is valid")
	}
}

func TestEveryUnsoundFieldIsNamed(t *testing.T) {
	for want, spoil := range map[string]func(*network.Network){
		"no name":                 func(n *network.Network) { n.Name = "" },
		"genesis validators root": func(n *network.Network) { n.GenesisValidatorsRoot = [32]byte{} },
		"slots per epoch":         func(n *network.Network) { n.SlotsPerEpoch = 0 },
		"slots per epoch is 1048": func(n *network.Network) { n.SlotsPerEpoch = 1 << 20 },
		"seconds per slot":        func(n *network.Network) { n.SecondsPerSlot = 0 },
		"sync committee size":     func(n *network.Network) { n.SyncCommitteeSize = 40 },
		"committees per slot":     func(n *network.Network) { n.MaxCommitteesPerSlot = 0 },
		"PHASE0 begins":           func(n *network.Network) { n.Forks[network.Phase0].Epoch = 1 },
		"DENEB begins":            func(n *network.Network) { n.Forks[network.Deneb].Epoch = 5 },
		"same version": func(n *network.Network) {
			n.Forks[network.Fulu].Version = n.Forks[network.Electra].Version
		},
	} {
		n := sound()
		spoil(&n)
		if err := n.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

func TestForksBeginAtTheirEpoch(t *testing.T) {
	n := sound()
	for epoch, want := range map[uint64]network.Fork{
		0: network.Phase0, 9: network.Phase0, 10: network.Altair, 39: network.Capella,
		40: network.Deneb, 60: network.Fulu, 1 << 40: network.Fulu, network.FarFuture: network.Fulu,
	} {
		if got := n.ForkAt(epoch); got != want {
			t.Errorf("epoch %d: got %v, want %v", epoch, got, want)
		}
	}
	if got := n.Epoch(32*7 + 31); got != 7 {
		t.Errorf("epoch of the last slot of 7: got %d", got)
	}
}

func TestSeveralForksMayBeginTogether(t *testing.T) {
	n := sound()
	for f := range network.Gloas {
		n.Forks[f].Epoch = 0
	}
	if err := n.Validate(); err != nil || n.ForkAt(0) != network.Fulu {
		t.Errorf("got %v, %v; want the newest fork from genesis", n.ForkAt(0), err)
	}
}
