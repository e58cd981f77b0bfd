package bundle

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
)

// A Network is the chain that the enclave serves, described in full.
type Network struct {
	Name                  string // 1 to 32 of a-z, 0-9 and -
	GenesisTime           uint64 // seconds since 1970
	GenesisForkVersion    [4]byte
	GenesisValidatorsRoot [32]byte
	SecondsPerSlot        uint64
	SlotsPerEpoch         uint64
	SyncCommitteeSize     uint64
	MaxCommitteesPerSlot  uint64
	Forks                 []Fork // those after genesis
}

// A Fork is a scheduled change of the consensus rules.
type Fork struct {
	Name    string // in lower case, as "altair"
	Version [4]byte
	Epoch   uint64
}

const (
	maxNameSize = 32
	maxForks    = 32
)

// description is a network as a file describes it. A nil field was not given.
type description struct {
	name                  string
	genesisTime           *uint64
	genesisForkVersion    *[4]byte
	genesisValidatorsRoot *[32]byte
	secondsPerSlot        *uint64
	slotsPerEpoch         *uint64
	syncCommitteeSize     *uint64
	maxCommitteesPerSlot  *uint64
	forks                 []Fork
}

func (r *reader) network(n *Network) error {
	var d description
	err := r.object([]field{
		{name: "name", required: true, read: func() error { return r.name(&d.name) }},
		{name: "genesis_time", read: func() error { return r.optionalNumber(&d.genesisTime) }},
		{name: "genesis_fork_version", read: func() error {
			d.genesisForkVersion = new([4]byte)
			return r.hex(d.genesisForkVersion[:])
		}},
		{name: "genesis_validators_root", read: func() error {
			d.genesisValidatorsRoot = new([32]byte)
			return r.hex(d.genesisValidatorsRoot[:])
		}},
		{name: "seconds_per_slot", read: func() error { return r.optionalNumber(&d.secondsPerSlot) }},
		{name: "slots_per_epoch", read: func() error { return r.optionalNumber(&d.slotsPerEpoch) }},
		{name: "sync_committee_size", read: func() error { return r.optionalNumber(&d.syncCommitteeSize) }},
		{name: "max_committees_per_slot", read: func() error { return r.optionalNumber(&d.maxCommitteesPerSlot) }},
		{name: "forks", read: func() error { return r.array(maxForks, func() error { return r.fork(&d) }) }},
	})
	if err == nil {
		*n, err = d.resolve()
	}
	return err
}

func (r *reader) fork(d *description) error {
	var f Fork
	err := r.object([]field{
		{name: "name", required: true, read: func() error { return r.name(&f.Name) }},
		{name: "version", required: true, read: func() error { return r.hex(f.Version[:]) }},
		{name: "epoch", required: true, read: func() (err error) { f.Epoch, err = r.number(); return err }},
	})
	if err == nil && indexOfFork(d.forks, f.Name) >= 0 {
		err = fmt.Errorf("fork %q comes twice", f.Name)
	}
	d.forks = append(d.forks, f)
	return err
}

func indexOfFork(forks []Fork, name string) int {
	return slices.IndexFunc(forks, func(f Fork) bool { return f.Name == name })
}

// resolve completes a description. Of a known network the name suffices, and
// whatever else is given must agree with what is known; a fork may be added
// that was scheduled after this program was written. Of any other network
// everything must be given, of its forks as many as there are.
func (d *description) resolve() (Network, error) {
	n, known := knownNetwork(d.name)
	n.Name = d.name
	for _, err := range []error{
		settle("genesis_time", known, d.genesisTime, &n.GenesisTime),
		settle("genesis_fork_version", known, d.genesisForkVersion, &n.GenesisForkVersion),
		settle("genesis_validators_root", known, d.genesisValidatorsRoot, &n.GenesisValidatorsRoot),
		settle("seconds_per_slot", known, d.secondsPerSlot, &n.SecondsPerSlot),
		settle("slots_per_epoch", known, d.slotsPerEpoch, &n.SlotsPerEpoch),
		settle("sync_committee_size", known, d.syncCommitteeSize, &n.SyncCommitteeSize),
		settle("max_committees_per_slot", known, d.maxCommitteesPerSlot, &n.MaxCommitteesPerSlot),
	} {
		if err != nil {
			return Network{}, err
		}
	}
	for _, f := range d.forks {
		switch i := indexOfFork(n.Forks, f.Name); {
		case i < 0:
			n.Forks = append(n.Forks, f)
		case n.Forks[i] != f:
			return Network{}, fmt.Errorf("fork %q: got version %#x at epoch %d, but %s has %#x at %d",
				f.Name, f.Version, f.Epoch, n.Name, n.Forks[i].Version, n.Forks[i].Epoch)
		}
	}
	return n, nil
}

// settle takes over a value that was given. It must be given where the network
// is not known, and agree where it is.
func settle[T comparable](name string, known bool, given, value *T) error {
	switch {
	case given == nil && !known:
		return fmt.Errorf("field %q is missing, and the network is not one that is known by its name", name)
	case given != nil && known && *given != *value:
		return fmt.Errorf("%s: got %s, but the network of this name has %s", name, show(*given), show(*value))
	case given != nil:
		*value = *given
	}
	return nil
}

// show writes a number in decimal and bytes in hexadecimal digits.
func show(value any) string {
	if n, ok := value.(uint64); ok {
		return strconv.FormatUint(n, 10)
	}
	return fmt.Sprintf("%#x", value)
}

func (r *reader) optionalNumber(out **uint64) error {
	n, err := r.number()
	*out = &n
	return err
}

// name reads a string that is fit for a message.
func (r *reader) name(out *string) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	if len(text) == 0 || len(text) > maxNameSize || bytes.ContainsFunc(text, notInName) {
		return fmt.Errorf("want 1 to %d characters of a-z, 0-9 and -", maxNameSize)
	}
	*out = string(text)
	return nil
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-'
}
