package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"holdfast/enclave/ethereum/network"
)

const (
	maxNameSize   = 32
	maxForks      = 32
	maxConfigSize = 64 << 10 // a published config.yaml has some 10 kB
)

// description is a network as a file describes it. A nil field was not given.
type description struct {
	name                  string
	config                []byte // the text of a config.yaml
	genesisTime           *uint64
	genesisForkVersion    *network.Version
	genesisValidatorsRoot *[32]byte
	secondsPerSlot        *uint64
	slotsPerEpoch         *uint64
	syncCommitteeSize     *uint64
	maxCommitteesPerSlot  *uint64
	forks                 []fork
}

// A fork is one after genesis, named in lower case.
type fork struct {
	name string
	network.Activation
}

func (r *reader) network(n *network.Network) error {
	var d description
	err := r.object([]field{
		{name: "name", read: func() error { return r.name(&d.name) }},
		{name: "config", read: func() (err error) { d.config, err = r.document(maxConfigSize); return err }},
		{name: "genesis_time", read: func() error { return r.optionalNumber(&d.genesisTime) }},
		{name: "genesis_fork_version", read: func() error {
			d.genesisForkVersion = new(network.Version)
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
	var f fork
	err := r.object([]field{
		{name: "name", required: true, read: func() error { return r.name(&f.name) }},
		{name: "version", required: true, read: func() error { return r.hex(f.Version[:]) }},
		{name: "epoch", required: true, read: func() (err error) { f.Epoch, err = r.number(); return err }},
	})
	if err == nil && slices.ContainsFunc(d.forks, func(other fork) bool { return other.name == f.name }) {
		err = fmt.Errorf("fork %q comes twice", f.name)
	}
	d.forks = append(d.forks, f)
	return err
}

// resolve makes a valid network of a description. A config.yaml says all but the
// genesis. Of a known network the name suffices, and whatever else is given must
// agree with what is known; a fork may be added that was scheduled after this
// program was written. Of any other network everything must be given, of its
// forks as many as there are.
func (d *description) resolve() (network.Network, error) {
	if d.config != nil {
		return d.resolveConfig()
	}
	if d.name == "" {
		return network.Network{}, errors.New(`field "name" is missing, and there is no "config" either`)
	}
	n, known := network.ByName(d.name)
	if !known {
		n = unscheduled(d.name)
	}
	for _, err := range []error{
		settle("genesis_time", known, d.genesisTime, &n.GenesisTime),
		settle("genesis_fork_version", known, d.genesisForkVersion, &n.Forks[network.Phase0].Version),
		settle("genesis_validators_root", known, d.genesisValidatorsRoot, &n.GenesisValidatorsRoot),
		settle("seconds_per_slot", known, d.secondsPerSlot, &n.SecondsPerSlot),
		settle("slots_per_epoch", known, d.slotsPerEpoch, &n.SlotsPerEpoch),
		settle("sync_committee_size", known, d.syncCommitteeSize, &n.SyncCommitteeSize),
		settle("max_committees_per_slot", known, d.maxCommitteesPerSlot, &n.MaxCommitteesPerSlot),
	} {
		if err != nil {
			return network.Network{}, err
		}
	}
	for _, f := range d.forks {
		if err := schedule(&n, f); err != nil {
			return network.Network{}, err
		}
	}
	return n, n.Validate()
}

// resolveConfig reads a config.yaml, which goes with nothing but the genesis that
// it does not say.
func (d *description) resolveConfig() (network.Network, error) {
	switch {
	case d.name != "" || d.genesisForkVersion != nil || d.secondsPerSlot != nil || d.slotsPerEpoch != nil ||
		d.syncCommitteeSize != nil || d.maxCommitteesPerSlot != nil || d.forks != nil:
		return network.Network{}, errors.New(`"config" says everything but "genesis_time" and "genesis_validators_root", so no other field goes with it`)
	case d.genesisTime == nil || d.genesisValidatorsRoot == nil:
		return network.Network{}, errors.New(`"config" needs "genesis_time" and "genesis_validators_root" beside it (hint: a beacon node says both at /eth/v1/beacon/genesis)`)
	}
	return network.ParseConfig(d.config, network.Genesis{Time: *d.genesisTime, ValidatorsRoot: *d.genesisValidatorsRoot})
}

// unscheduled is a network of which only the name is known.
func unscheduled(name string) network.Network {
	n := network.Network{Name: name}
	for f := range n.Forks {
		if network.Fork(f) != network.Phase0 {
			n.Forks[f].Epoch = network.FarFuture
		}
	}
	return n
}

// schedule adds a fork. One that the signer does not know is an error, for it may
// change what is signed; so is one that is known to come otherwise.
func schedule(n *network.Network, f fork) error {
	i, ok := forkOf(f.name)
	if !ok {
		return fmt.Errorf("this signer does not know fork %q", f.name)
	}
	if planned := n.Forks[i]; planned.Epoch != network.FarFuture && planned != f.Activation {
		return fmt.Errorf("fork %q: got version %v at epoch %d, but %s has %v at %d",
			f.name, f.Version, f.Epoch, n.Name, planned.Version, planned.Epoch)
	}
	n.Forks[i] = f.Activation
	return nil
}

// forkOf finds a fork after genesis by its name in lower case.
func forkOf(name string) (network.Fork, bool) {
	for f := network.Altair; int(f) < len(network.Schedule{}); f++ {
		if strings.ToLower(f.String()) == name {
			return f, true
		}
	}
	return 0, false
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
	switch v := value.(type) {
	case uint64:
		return strconv.FormatUint(v, 10)
	case network.Version:
		return v.String()
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
