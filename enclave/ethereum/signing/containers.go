package signing

import (
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/ssz"
)

// The containers below are hashed straight from the request: each function lists
// its container's fields in the order of the specification it names. Limits are
// the specification's, which the mainnet, gnosis and minimal presets share, except
// for the sizes that a Network carries.
const (
	maxValidatorsPerCommittee = 2048
	maxProposerSlashings      = 16
	maxAttesterSlashings      = 2
	maxAttestations           = 128
	maxDeposits               = 16
	maxVoluntaryExits         = 16
	depositProofLength        = 33
	syncCommitteeSubnetCount  = 4
)

func uint64Root(o *jsontree.Object, name string) Root { return ssz.Uint64(o.Uint64(name)) }

func bytesRoot(o *jsontree.Object, name string, size int) Root {
	var buffer [96]byte
	o.Fixed(name, buffer[:size])
	return ssz.Bytes(buffer[:size])
}

func signatureRoot(o *jsontree.Object, name string) Root { return bytesRoot(o, name, 96) }

func publicKeyRoot(o *jsontree.Object, name string) Root { return bytesRoot(o, name, 48) }

// bitlistRoot and its siblings turn a shape error of ssz into the field's failure.
func bitlistRoot(o *jsontree.Object, name string, limit uint64) Root {
	bits := o.Hex(name, int(limit/8)+1)
	if o.Err() != nil {
		return Root{}
	}
	return checked(o, name)(ssz.Bitlist(bits, limit))
}

func progressiveBitlistRoot(o *jsontree.Object, name string, limit uint64) Root {
	bits := o.Hex(name, int(limit/8)+1)
	if o.Err() != nil {
		return Root{}
	}
	return checked(o, name)(ssz.ProgressiveBitlist(bits, limit))
}

func bitvectorRoot(o *jsontree.Object, name string, size uint64) Root {
	bits := o.Hex(name, int(size+7)/8)
	if o.Err() != nil {
		return Root{}
	}
	return checked(o, name)(ssz.Bitvector(bits, size))
}

func listRoot(o *jsontree.Object, name string, limit int, element func(*jsontree.Object) Root) Root {
	var roots []Root
	o.Each(name, limit, func(item *jsontree.Object) { roots = append(roots, element(item)) })
	return checked(o, name)(ssz.List(roots, uint64(limit)))
}

func uint64ListRoot(o *jsontree.Object, name string, limit int) Root {
	return checked(o, name)(ssz.Uint64List(o.Uint64s(name, limit), uint64(limit)))
}

func checked(o *jsontree.Object, name string) func(Root, error) Root {
	return func(root Root, err error) Root {
		if err != nil {
			o.Fail(name, "%v", err)
		}
		return root
	}
}

// phase0: Checkpoint.
func checkpoint(o *jsontree.Object) Root {
	return ssz.Container(uint64Root(o, "epoch"), o.Root("root"))
}

// phase0: AttestationData. The index is hashed as it comes: from Electra it is
// always 0 and from Gloas it carries the payload status, which is the client's to
// know.
func attestationData(o *jsontree.Object) Root {
	return ssz.Container(
		uint64Root(o, "slot"),
		uint64Root(o, "index"),
		o.Root("beacon_block_root"),
		checkpoint(o.Object("source")),
		checkpoint(o.Object("target")),
	)
}

// phase0: Attestation.
func phase0Attestation(o *jsontree.Object) Root {
	return ssz.Container(
		bitlistRoot(o, "aggregation_bits", maxValidatorsPerCommittee),
		attestationData(o.Object("data")),
		signatureRoot(o, "signature"),
	)
}

// electra: Attestation.
func electraAttestation(o *jsontree.Object, n *network.Network) Root {
	return ssz.Container(
		bitlistRoot(o, "aggregation_bits", maxValidatorsPerCommittee*n.MaxCommitteesPerSlot),
		attestationData(o.Object("data")),
		signatureRoot(o, "signature"),
		bitvectorRoot(o, "committee_bits", n.MaxCommitteesPerSlot),
	)
}

// gloas: Attestation, which EIP-7688 makes a progressive container. The JSON is
// Electra's; only the root differs.
func gloasAttestation(o *jsontree.Object, n *network.Network) Root {
	return ssz.ProgressiveContainer(
		progressiveBitlistRoot(o, "aggregation_bits", maxValidatorsPerCommittee*n.MaxCommitteesPerSlot),
		attestationData(o.Object("data")),
		signatureRoot(o, "signature"),
		bitvectorRoot(o, "committee_bits", n.MaxCommitteesPerSlot),
	)
}

// phase0: AggregateAndProof, with the fork's Attestation.
func aggregateAndProof(o *jsontree.Object, n *network.Network, fork network.Fork) Root {
	var aggregate Root
	switch {
	case fork >= network.Gloas:
		aggregate = gloasAttestation(o.Object("aggregate"), n)
	case fork >= network.Electra:
		aggregate = electraAttestation(o.Object("aggregate"), n)
	default:
		aggregate = phase0Attestation(o.Object("aggregate"))
	}
	return ssz.Container(uint64Root(o, "aggregator_index"), aggregate, signatureRoot(o, "selection_proof"))
}

// phase0: BeaconBlockHeader, whose root is also the root of the block.
func beaconBlockHeader(o *jsontree.Object) Root {
	return blockRoot(o, o.Root("body_root"))
}

func blockRoot(o *jsontree.Object, body Root) Root {
	return ssz.Container(
		uint64Root(o, "slot"),
		uint64Root(o, "proposer_index"),
		o.Root("parent_root"),
		o.Root("state_root"),
		body,
	)
}

// phase0, altair: BeaconBlock. Later blocks come as headers.
func beaconBlock(o *jsontree.Object, n *network.Network, fork network.Fork) Root {
	return blockRoot(o, beaconBlockBody(o.Object("body"), n, fork))
}

// phase0, altair: BeaconBlockBody.
func beaconBlockBody(o *jsontree.Object, n *network.Network, fork network.Fork) Root {
	fields := []Root{
		signatureRoot(o, "randao_reveal"),
		eth1Data(o.Object("eth1_data")),
		o.Root("graffiti"),
		listRoot(o, "proposer_slashings", maxProposerSlashings, proposerSlashing),
		listRoot(o, "attester_slashings", maxAttesterSlashings, attesterSlashing),
		listRoot(o, "attestations", maxAttestations, phase0Attestation),
		listRoot(o, "deposits", maxDeposits, deposit),
		listRoot(o, "voluntary_exits", maxVoluntaryExits, signedVoluntaryExit),
	}
	if fork >= network.Altair {
		fields = append(fields, syncAggregate(o.Object("sync_aggregate"), n))
	}
	return ssz.Container(fields...)
}

// phase0: Eth1Data.
func eth1Data(o *jsontree.Object) Root {
	return ssz.Container(o.Root("deposit_root"), uint64Root(o, "deposit_count"), o.Root("block_hash"))
}

// phase0: ProposerSlashing.
func proposerSlashing(o *jsontree.Object) Root {
	return ssz.Container(signedHeader(o.Object("signed_header_1")), signedHeader(o.Object("signed_header_2")))
}

// phase0: SignedBeaconBlockHeader.
func signedHeader(o *jsontree.Object) Root {
	return ssz.Container(beaconBlockHeader(o.Object("message")), signatureRoot(o, "signature"))
}

// phase0: AttesterSlashing.
func attesterSlashing(o *jsontree.Object) Root {
	return ssz.Container(indexedAttestation(o.Object("attestation_1")), indexedAttestation(o.Object("attestation_2")))
}

// phase0: IndexedAttestation.
func indexedAttestation(o *jsontree.Object) Root {
	return ssz.Container(
		uint64ListRoot(o, "attesting_indices", maxValidatorsPerCommittee),
		attestationData(o.Object("data")),
		signatureRoot(o, "signature"),
	)
}

// phase0: Deposit.
func deposit(o *jsontree.Object) Root {
	data := o.Object("data")
	return ssz.Container(
		ssz.Vector(o.Roots("proof", depositProofLength)),
		ssz.Container(
			publicKeyRoot(data, "pubkey"),
			data.Root("withdrawal_credentials"),
			uint64Root(data, "amount"),
			signatureRoot(data, "signature"),
		),
	)
}

// phase0: DepositMessage.
func depositMessage(o *jsontree.Object) Root {
	return ssz.Container(publicKeyRoot(o, "pubkey"), o.Root("withdrawal_credentials"), uint64Root(o, "amount"))
}

// phase0: VoluntaryExit.
func voluntaryExit(o *jsontree.Object) Root {
	return ssz.Container(uint64Root(o, "epoch"), uint64Root(o, "validator_index"))
}

// phase0: SignedVoluntaryExit.
func signedVoluntaryExit(o *jsontree.Object) Root {
	return ssz.Container(voluntaryExit(o.Object("message")), signatureRoot(o, "signature"))
}

// altair: SyncAggregate.
func syncAggregate(o *jsontree.Object, n *network.Network) Root {
	return ssz.Container(
		bitvectorRoot(o, "sync_committee_bits", n.SyncCommitteeSize),
		signatureRoot(o, "sync_committee_signature"),
	)
}

// altair: SyncAggregatorSelectionData.
func syncAggregatorSelectionData(o *jsontree.Object) Root {
	return ssz.Container(uint64Root(o, "slot"), uint64Root(o, "subcommittee_index"))
}

// altair: ContributionAndProof.
func contributionAndProof(o *jsontree.Object, n *network.Network) Root {
	c := o.Object("contribution")
	contribution := ssz.Container(
		uint64Root(c, "slot"),
		c.Root("beacon_block_root"),
		uint64Root(c, "subcommittee_index"),
		bitvectorRoot(c, "aggregation_bits", n.SyncCommitteeSize/syncCommitteeSubnetCount),
		signatureRoot(c, "signature"),
	)
	return ssz.Container(uint64Root(o, "aggregator_index"), contribution, signatureRoot(o, "selection_proof"))
}

// builder: ValidatorRegistrationV1.
func validatorRegistration(o *jsontree.Object) Root {
	return ssz.Container(
		bytesRoot(o, "fee_recipient", 20),
		uint64Root(o, "gas_limit"),
		uint64Root(o, "timestamp"),
		publicKeyRoot(o, "pubkey"),
	)
}
