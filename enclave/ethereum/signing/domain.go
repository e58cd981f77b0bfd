package signing

import (
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/ssz"
)

// Root is a 32-byte hash tree root.
type Root = [32]byte

// DomainType separates the kinds of message that a key signs.
type DomainType [4]byte

// Domain types: consensus-specs phase0/beacon-chain.md, altair/beacon-chain.md,
// gloas/beacon-chain.md, and builder-specs specs/bellatrix/builder.md and
// specs/gloas/builder.md for the last two.
var (
	domainBeaconProposer              = DomainType{0x00}
	domainBeaconAttester              = DomainType{0x01}
	domainRandao                      = DomainType{0x02}
	domainDeposit                     = DomainType{0x03}
	domainVoluntaryExit               = DomainType{0x04}
	domainSelectionProof              = DomainType{0x05}
	domainAggregateAndProof           = DomainType{0x06}
	domainSyncCommittee               = DomainType{0x07}
	domainSyncCommitteeSelectionProof = DomainType{0x08}
	domainContributionAndProof        = DomainType{0x09}
	domainBeaconBuilder               = DomainType{0x0b}
	domainPTCAttester                 = DomainType{0x0c}
	domainProposerPreferences         = DomainType{0x0d}
	domainApplicationBuilder          = DomainType{0x00, 0x00, 0x00, 0x01}
	domainRequestAuth                 = DomainType{0x0b, 0x00, 0x00, 0x01}
)

// computeDomain is compute_domain of phase0/beacon-chain.md: the domain type and
// 28 bytes of the root of ForkData.
func computeDomain(domain DomainType, version network.Version, genesisValidatorsRoot Root) Root {
	forkData := ssz.Container(ssz.Bytes(version[:]), genesisValidatorsRoot)
	var out Root
	copy(out[:4], domain[:])
	copy(out[4:], forkData[:28])
	return out
}

// signingRoot is compute_signing_root of phase0/beacon-chain.md: the root of
// SigningData.
func signingRoot(object, domain Root) Root {
	return ssz.Container(object, domain)
}

// forkInfo is a request's fork_info. Clients fill its epoch differently (Lodestar
// sends the current epoch), so it only selects between the two versions that came
// with it, as get_domain does, and is never held against a schedule.
type forkInfo struct {
	previous              network.Version
	current               network.Version
	epoch                 uint64
	genesisValidatorsRoot Root
}

func readForkInfo(request *jsontree.Object) forkInfo {
	var info forkInfo
	o := request.Object("fork_info")
	fork := o.Object("fork")
	fork.Fixed("previous_version", info.previous[:])
	fork.Fixed("current_version", info.current[:])
	info.epoch = fork.Uint64("epoch")
	info.genesisValidatorsRoot = o.Root("genesis_validators_root")
	return info
}

// version is the fork version for a message of an epoch.
func (f *forkInfo) version(epoch uint64) network.Version {
	if epoch < f.epoch {
		return f.previous
	}
	return f.current
}
