package differential

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/OffchainLabs/go-bitfield"
	apiv1 "github.com/attestantio/go-eth2-client/api/v1"
	"github.com/attestantio/go-eth2-client/spec/altair"
	"github.com/attestantio/go-eth2-client/spec/bellatrix"
	"github.com/attestantio/go-eth2-client/spec/capella"
	"github.com/attestantio/go-eth2-client/spec/deneb"
	"github.com/attestantio/go-eth2-client/spec/electra"
	"github.com/attestantio/go-eth2-client/spec/phase0"
	dynssz "github.com/pk910/dynamic-ssz"

	"holdfast/enclave/ethereum/network"
)

// hasher is what every container of go-eth2-client can do.
type hasher interface {
	HashTreeRoot() ([32]byte, error)
}

// duty is a random request with what its signing root is made of.
type duty struct {
	kind    string // the request's type
	payload map[string]any
	object  [32]byte // the root of the message by go-eth2-client
	domain  phase0.DomainType
	epoch   uint64 // that selects the fork version
}

// maker makes a random duty for a network of the given fork.
type maker func(random *rand.Rand, fork network.Fork) (duty, error)

var makers = []maker{
	makeAttestation,
	makeAggregate,
	makeBlock,
	makeAggregationSlot,
	makeRandao,
	makeExit,
	makeSyncMessage,
	makeSyncSelection,
	makeContribution,
	makeRegistration,
	makeDeposit,
}

const slotsPerEpoch = 32

// chain is a network on which fork has been active since genesis.
func chain(fork network.Fork) *network.Network {
	n := &network.Network{
		Name:                  "differential",
		GenesisValidatorsRoot: [32]byte{1},
		SecondsPerSlot:        12,
		SlotsPerEpoch:         slotsPerEpoch,
		SyncCommitteeSize:     512,
		MaxCommitteesPerSlot:  64,
	}
	for f := range n.Forks {
		n.Forks[f] = network.Activation{Version: network.Version{byte(f), 1, 2, 3}, Epoch: network.FarFuture}
		if network.Fork(f) <= fork {
			n.Forks[f].Epoch = 0
		}
	}
	return n
}

func domainType(first, last byte) phase0.DomainType { return phase0.DomainType{first, 0, 0, last} }

func makeAttestation(random *rand.Rand, _ network.Fork) (duty, error) {
	var data phase0.AttestationData
	fill(random, &data)
	root, err := data.HashTreeRoot()
	return duty{
		kind: "ATTESTATION", payload: map[string]any{"attestation": &data},
		object: root, domain: domainType(1, 0), epoch: uint64(data.Target.Epoch),
	}, err
}

// gloasAggregateAndProof and gloasAttestation are described to dynamic-ssz itself,
// since go-eth2-client v0.29.0 ends with Fulu.
type gloasAggregateAndProof struct {
	AggregatorIndex uint64
	Aggregate       *gloasAttestation
	SelectionProof  phase0.BLSSignature `ssz-size:"96"`
}

type gloasAttestation struct {
	AggregationBits bitfield.Bitlist        `ssz-index:"0" ssz-type:"progressive-bitlist"`
	Data            *phase0.AttestationData `ssz-index:"1"`
	Signature       phase0.BLSSignature     `ssz-index:"2" ssz-size:"96"`
	CommitteeBits   bitfield.Bitvector64    `ssz-index:"3" ssz-size:"8"`
}

// gloasRoot is the root that an Electra aggregate has in Gloas.
func gloasRoot(a *electra.AggregateAndProof) ([32]byte, error) {
	return dynssz.NewDynSsz(nil).HashTreeRoot(&gloasAggregateAndProof{
		AggregatorIndex: uint64(a.AggregatorIndex),
		SelectionProof:  a.SelectionProof,
		Aggregate: &gloasAttestation{
			AggregationBits: a.Aggregate.AggregationBits,
			Data:            a.Aggregate.Data,
			Signature:       a.Aggregate.Signature,
			CommitteeBits:   a.Aggregate.CommitteeBits,
		},
	})
}

// newAggregate returns a random aggregate, its slot and its root.
func newAggregate(random *rand.Rand, fork network.Fork) (object any, slot uint64, root [32]byte, err error) {
	if fork < network.Electra {
		aggregate := new(phase0.AggregateAndProof)
		fill(random, aggregate)
		root, err = aggregate.HashTreeRoot()
		return aggregate, uint64(aggregate.Aggregate.Data.Slot), root, err
	}
	aggregate := new(electra.AggregateAndProof)
	fill(random, aggregate)
	if fork < network.Gloas {
		root, err = aggregate.HashTreeRoot()
	} else {
		root, err = gloasRoot(aggregate)
	}
	return aggregate, uint64(aggregate.Aggregate.Data.Slot), root, err
}

func makeAggregate(random *rand.Rand, fork network.Fork) (duty, error) {
	object, slot, root, err := newAggregate(random, fork)
	d := duty{
		kind: "AGGREGATE_AND_PROOF", payload: map[string]any{"aggregate_and_proof": object},
		object: root, domain: domainType(6, 0), epoch: slot / slotsPerEpoch,
	}
	if random.IntN(2) == 0 {
		d.kind = "AGGREGATE_AND_PROOF_V2"
		d.payload["aggregate_and_proof"] = map[string]any{"version": fork.String(), "data": object}
	}
	return d, err
}

// makeBlock sends Phase0 and Altair blocks whole and later ones as headers, but
// compares all of them with the root of the whole block.
func makeBlock(random *rand.Rand, fork network.Fork) (duty, error) {
	block := newBlock(fork)
	fill(random, block)
	root, err := block.HashTreeRoot()
	if err != nil {
		return duty{}, err
	}
	header, err := headerOf(block)
	beaconBlock := map[string]any{"version": fork.String(), "block_header": header}
	if fork <= network.Altair {
		beaconBlock = map[string]any{"version": fork.String(), "block": block}
	}
	d := duty{
		kind: "BLOCK_V2", payload: map[string]any{"beacon_block": beaconBlock},
		object: root, domain: domainType(0, 0), epoch: uint64(header.Slot) / slotsPerEpoch,
	}
	if fork == network.Phase0 && random.IntN(2) == 0 {
		d.kind, d.payload = "BLOCK", map[string]any{"block": block}
	}
	return d, err
}

func newBlock(fork network.Fork) hasher {
	switch fork {
	case network.Phase0:
		return new(phase0.BeaconBlock)
	case network.Altair:
		return new(altair.BeaconBlock)
	case network.Bellatrix:
		return new(bellatrix.BeaconBlock)
	case network.Capella:
		return new(capella.BeaconBlock)
	case network.Deneb:
		return new(deneb.BeaconBlock)
	}
	return new(electra.BeaconBlock) // Fulu's is the same, and of Gloas's only the header counts
}

// headerOf takes the fields that the blocks of every fork have in common.
func headerOf(block hasher) (*phase0.BeaconBlockHeader, error) {
	v := reflect.ValueOf(block).Elem()
	body, err := v.FieldByName("Body").Interface().(hasher).HashTreeRoot()
	return &phase0.BeaconBlockHeader{
		Slot:          v.FieldByName("Slot").Interface().(phase0.Slot),
		ProposerIndex: v.FieldByName("ProposerIndex").Interface().(phase0.ValidatorIndex),
		ParentRoot:    v.FieldByName("ParentRoot").Interface().(phase0.Root),
		StateRoot:     v.FieldByName("StateRoot").Interface().(phase0.Root),
		BodyRoot:      body,
	}, err
}

// uint64Root is the root of a number: its little-endian bytes, padded.
func uint64Root(n uint64) (root [32]byte) {
	for i := range 8 {
		root[i] = byte(n >> (8 * i))
	}
	return root
}

func makeAggregationSlot(random *rand.Rand, _ network.Fork) (duty, error) {
	slot := randomUint64(random)
	return duty{
		kind: "AGGREGATION_SLOT", payload: map[string]any{"aggregation_slot": map[string]any{"slot": fmt.Sprint(slot)}},
		object: uint64Root(slot), domain: domainType(5, 0), epoch: slot / slotsPerEpoch,
	}, nil
}

func makeRandao(random *rand.Rand, _ network.Fork) (duty, error) {
	epoch := randomUint64(random)
	return duty{
		kind: "RANDAO_REVEAL", payload: map[string]any{"randao_reveal": map[string]any{"epoch": fmt.Sprint(epoch)}},
		object: uint64Root(epoch), domain: domainType(2, 0), epoch: epoch,
	}, nil
}

func makeExit(random *rand.Rand, _ network.Fork) (duty, error) {
	var exit phase0.VoluntaryExit
	fill(random, &exit)
	root, err := exit.HashTreeRoot()
	return duty{
		kind: "VOLUNTARY_EXIT", payload: map[string]any{"voluntary_exit": &exit},
		object: root, domain: domainType(4, 0), epoch: uint64(exit.Epoch),
	}, err
}

func makeSyncMessage(random *rand.Rand, _ network.Fork) (duty, error) {
	var message struct {
		Root [32]byte
		Slot uint64
	}
	fill(random, &message)
	return duty{
		kind: "SYNC_COMMITTEE_MESSAGE",
		payload: map[string]any{"sync_committee_message": map[string]any{
			"beacon_block_root": fmt.Sprintf("%#x", message.Root), "slot": fmt.Sprint(message.Slot)}},
		object: message.Root, domain: domainType(7, 0), epoch: message.Slot / slotsPerEpoch,
	}, nil
}

func makeSyncSelection(random *rand.Rand, _ network.Fork) (duty, error) {
	var data altair.SyncAggregatorSelectionData
	fill(random, &data)
	root, err := data.HashTreeRoot()
	return duty{
		kind: "SYNC_COMMITTEE_SELECTION_PROOF",
		payload: map[string]any{"sync_aggregator_selection_data": map[string]any{
			"slot": fmt.Sprint(uint64(data.Slot)), "subcommittee_index": fmt.Sprint(data.SubcommitteeIndex)}},
		object: root, domain: domainType(8, 0), epoch: uint64(data.Slot) / slotsPerEpoch,
	}, err
}

func makeContribution(random *rand.Rand, _ network.Fork) (duty, error) {
	var contribution altair.ContributionAndProof
	fill(random, &contribution)
	root, err := contribution.HashTreeRoot()
	return duty{
		kind: "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF", payload: map[string]any{"contribution_and_proof": &contribution},
		object: root, domain: domainType(9, 0), epoch: uint64(contribution.Contribution.Slot) / slotsPerEpoch,
	}, err
}

func makeRegistration(random *rand.Rand, _ network.Fork) (duty, error) {
	var registration apiv1.ValidatorRegistration
	var fields struct {
		FeeRecipient [20]byte
		GasLimit     uint64
		Timestamp    uint32
		PublicKey    [48]byte
	}
	fill(random, &fields)
	registration.FeeRecipient = fields.FeeRecipient
	registration.GasLimit = fields.GasLimit
	registration.Timestamp = time.Unix(int64(fields.Timestamp), 0)
	registration.Pubkey = fields.PublicKey
	root, err := registration.HashTreeRoot()
	return duty{
		kind: "VALIDATOR_REGISTRATION",
		payload: map[string]any{"validator_registration": map[string]any{
			"fee_recipient": fmt.Sprintf("%#x", registration.FeeRecipient[:]),
			"gas_limit":     fmt.Sprint(registration.GasLimit),
			"timestamp":     fmt.Sprint(fields.Timestamp),
			"pubkey":        fmt.Sprintf("%#x", registration.Pubkey[:])}},
		object: root, domain: domainType(0, 1),
	}, err
}

func makeDeposit(random *rand.Rand, _ network.Fork) (duty, error) {
	var message phase0.DepositMessage
	fill(random, &message)
	root, err := message.HashTreeRoot()
	return duty{
		kind: "DEPOSIT",
		payload: map[string]any{"deposit": map[string]any{
			"pubkey":                 fmt.Sprintf("%#x", message.PublicKey[:]),
			"withdrawal_credentials": fmt.Sprintf("%#x", message.WithdrawalCredentials),
			"amount":                 fmt.Sprint(uint64(message.Amount)),
			"genesis_fork_version":   "0x00010203"}},
		object: root, domain: domainType(3, 0),
	}, err
}
