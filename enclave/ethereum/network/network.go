// Package network describes the beacon chain a signer serves: its forks, its
// clock and the sizes that decide how slots map to epochs and which container a
// message is hashed as.
//
// These values decide signing roots, so they come from the image or from the
// sealed configuration and never from a request.
package network

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
)

// Fork numbers the consensus-layer forks in the order of their activation.
type Fork int

// The forks, Phase0 being genesis.
const (
	Phase0 Fork = iota
	Altair
	Bellatrix
	Capella
	Deneb
	Electra
	Fulu
	Gloas
	forkCount
)

var forkNames = [forkCount]string{"PHASE0", "ALTAIR", "BELLATRIX", "CAPELLA", "DENEB", "ELECTRA", "FULU", "GLOAS"}

// String returns the fork's name in upper case, as requests spell it.
func (f Fork) String() string {
	if f < 0 || f >= forkCount {
		return fmt.Sprintf("fork %d", int(f))
	}
	return forkNames[f]
}

// FarFuture is the epoch of a fork that is not scheduled (FAR_FUTURE_EPOCH).
const FarFuture uint64 = math.MaxUint64

// Version is a fork version, the first input of every signing domain.
type Version [4]byte

// String returns the version as 0x and 8 hex digits.
func (v Version) String() string { return "0x" + hex.EncodeToString(v[:]) }

// Activation says when a fork begins and which version it has.
type Activation struct {
	Version Version
	Epoch   uint64
}

// Schedule holds one activation for every fork.
type Schedule [forkCount]Activation

// Network is one beacon chain. The zero value is invalid.
type Network struct {
	Name                  string
	GenesisTime           uint64 // seconds since 1970
	GenesisValidatorsRoot [32]byte
	SecondsPerSlot        uint64
	SlotsPerEpoch         uint64
	SyncCommitteeSize     uint64 // SYNC_COMMITTEE_SIZE, a multiple of 32
	MaxCommitteesPerSlot  uint64 // MAX_COMMITTEES_PER_SLOT
	Forks                 Schedule
}

// GenesisForkVersion is the version that deposits and builder registrations use.
func (n *Network) GenesisForkVersion() Version { return n.Forks[Phase0].Version }

// Epoch returns the epoch that a slot lies in.
func (n *Network) Epoch(slot uint64) uint64 { return slot / n.SlotsPerEpoch }

// ForkAt returns the newest fork that is active in an epoch.
func (n *Network) ForkAt(epoch uint64) Fork {
	fork := Phase0
	for f := Altair; f < forkCount; f++ {
		if n.Active(f, epoch) {
			fork = f
		}
	}
	return fork
}

// Active reports whether a fork has begun by an epoch. An unscheduled fork never
// has, not even at FarFuture itself.
func (n *Network) Active(fork Fork, epoch uint64) bool {
	return n.Forks[fork].Epoch != FarFuture && epoch >= n.Forks[fork].Epoch
}

// Bounds keep arithmetic on slots and sizes far from overflow and trees small.
const (
	maxSlotsPerEpoch  = 1 << 16
	maxSecondsPerSlot = 1 << 16
	maxCommittees     = 1 << 10
	maxSyncCommittee  = 1 << 16
)

// Validate reports the first field that cannot be right.
func (n *Network) Validate() error {
	switch {
	case n.Name == "":
		return errors.New("network has no name")
	case n.GenesisValidatorsRoot == [32]byte{}:
		return errors.New("network has no genesis validators root")
	case n.SlotsPerEpoch == 0 || n.SlotsPerEpoch > maxSlotsPerEpoch:
		return fmt.Errorf("slots per epoch is %d, want 1 to %d", n.SlotsPerEpoch, maxSlotsPerEpoch)
	case n.SecondsPerSlot == 0 || n.SecondsPerSlot > maxSecondsPerSlot:
		return fmt.Errorf("seconds per slot is %d, want 1 to %d", n.SecondsPerSlot, maxSecondsPerSlot)
	case n.SyncCommitteeSize == 0 || n.SyncCommitteeSize%32 != 0 || n.SyncCommitteeSize > maxSyncCommittee:
		return fmt.Errorf("sync committee size is %d, want a multiple of 32 up to %d", n.SyncCommitteeSize, maxSyncCommittee)
	case n.MaxCommitteesPerSlot == 0 || n.MaxCommitteesPerSlot > maxCommittees:
		return fmt.Errorf("committees per slot is %d, want 1 to %d", n.MaxCommitteesPerSlot, maxCommittees)
	}
	return n.Forks.validate()
}

// validate holds the schedule to what every real one has: genesis at epoch 0,
// epochs that never fall, and a version of its own for each scheduled fork.
func (s *Schedule) validate() error {
	if s[Phase0].Epoch != 0 {
		return fmt.Errorf("PHASE0 begins at epoch %d, want 0", s[Phase0].Epoch)
	}
	seen := make(map[Version]Fork, forkCount)
	for f, activation := range s {
		fork := Fork(f)
		if fork > Phase0 && activation.Epoch < s[fork-1].Epoch {
			return fmt.Errorf("%v begins at epoch %d, before %v at %d", fork, activation.Epoch, fork-1, s[fork-1].Epoch)
		}
		if activation.Epoch == FarFuture {
			continue
		}
		if other, ok := seen[activation.Version]; ok {
			return fmt.Errorf("%v and %v have the same version %v", other, fork, activation.Version)
		}
		seen[activation.Version] = fork
	}
	return nil
}
