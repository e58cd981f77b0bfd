// Package signing turns a Web3Signer signing request into the one thing a key
// signs, its signing root, and into what the rules of the signer must know of it.
//
// The root is always computed here, from the typed message. A root that the client
// sends is only compared. Which container a message is hashed as follows from its
// slot and the network's fork schedule; neither a version field nor the presence
// of a JSON field decides it.
package signing

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/slashing"
)

// Type is a request's type, in upper case.
type Type string

// The types of ethereum/remote-signing-api. Those of Gloas are read only for a
// network that schedules the fork. Generic is a proposal.
const (
	AggregateAndProof                 Type = "AGGREGATE_AND_PROOF"
	AggregateAndProofV2               Type = "AGGREGATE_AND_PROOF_V2"
	AggregationSlot                   Type = "AGGREGATION_SLOT"
	Attestation                       Type = "ATTESTATION"
	Block                             Type = "BLOCK"
	BlockV2                           Type = "BLOCK_V2"
	Deposit                           Type = "DEPOSIT"
	RandaoReveal                      Type = "RANDAO_REVEAL"
	SyncCommitteeContributionAndProof Type = "SYNC_COMMITTEE_CONTRIBUTION_AND_PROOF"
	SyncCommitteeMessage              Type = "SYNC_COMMITTEE_MESSAGE"
	SyncCommitteeSelectionProof       Type = "SYNC_COMMITTEE_SELECTION_PROOF"
	ValidatorRegistration             Type = "VALIDATOR_REGISTRATION"
	VoluntaryExit                     Type = "VOLUNTARY_EXIT"

	BuilderRequestAuth        Type = "BUILDER_REQUEST_AUTH"
	ExecutionPayloadBid       Type = "EXECUTION_PAYLOAD_BID"
	ExecutionPayloadEnvelope  Type = "EXECUTION_PAYLOAD_ENVELOPE"
	PayloadAttestationMessage Type = "PAYLOAD_ATTESTATION_MESSAGE"
	ProposerPreferences       Type = "PROPOSER_PREFERENCES"

	Generic Type = "GENERIC"
)

// aliases are names that clients have used for types of Gloas while their
// specification moved (sigp/lighthouse issue 9252, ChainSafe/lodestar pull 10071).
var aliases = map[Type]Type{
	"PAYLOAD_ATTESTATION": PayloadAttestationMessage,
	"REQUEST_AUTH":        BuilderRequestAuth,
}

// Message is a request, understood.
type Message struct {
	Type        Type
	SigningRoot Root

	// GenesisValidatorsRoot is the network that fork_info names. Deposits and
	// registrations name none, and ForkInfo is false.
	GenesisValidatorsRoot Root
	ForkInfo              bool

	// Duty is what slashing protection must record first; nil if the type is
	// not slashable.
	Duty slashing.Duty

	// FeeRecipient is where a registration or a proposer's preferences want the
	// fees, for policy; zero for other types.
	FeeRecipient [20]byte

	// Guarded is the type that a generic request amounts to by its domain, where
	// policy limits that type; empty for all else.
	Guarded Type
}

// content is what a type's reader finds in its payload.
type content struct {
	object       Root
	domain       DomainType
	epoch        uint64
	duty         func(signingRoot Root) slashing.Duty
	forkless     *network.Version // domain has this version and no validators root
	exit         bool             // EIP-7044 applies
	feeRecipient [20]byte
	whole        *Root // the whole domain, given by a generic request
	guarded      Type
}

type reader func(*jsontree.Object, *network.Network) content

var readers = map[Type]reader{
	AggregateAndProof:                 readAggregate,
	AggregateAndProofV2:               readAggregate,
	AggregationSlot:                   readAggregationSlot,
	Attestation:                       readAttestation,
	Block:                             readBlock,
	BlockV2:                           readBlockV2,
	Deposit:                           readDeposit,
	RandaoReveal:                      readRandaoReveal,
	SyncCommitteeContributionAndProof: readContribution,
	SyncCommitteeMessage:              readSyncCommitteeMessage,
	SyncCommitteeSelectionProof:       readSyncCommitteeSelection,
	ValidatorRegistration:             readRegistration,
	VoluntaryExit:                     readExit,

	BuilderRequestAuth:        ofGloas(readRequestAuth),
	ExecutionPayloadBid:       ofGloas(readBid),
	ExecutionPayloadEnvelope:  ofGloas(readEnvelope),
	PayloadAttestationMessage: ofGloas(readPayloadAttestation),
	ProposerPreferences:       ofGloas(readPreferences),

	Generic: readGeneric,
}

// Types lists every type, in order.
func Types() []Type { return slices.Sorted(maps.Keys(readers)) }

// ParseType reads a type's name in any case.
func ParseType(name string) (Type, error) {
	t := Type(strings.ToUpper(name))
	if alias, ok := aliases[t]; ok {
		return alias, nil
	}
	if _, ok := readers[t]; !ok {
		return "", fmt.Errorf("unknown type %.60q", name)
	}
	return t, nil
}

// Parse reads a request for a validator of network n and computes its signing
// root. Every error is a fault of the request. n must be valid.
func Parse(body []byte, n *network.Network) (Message, error) {
	request, err := jsontree.Parse(body)
	if err != nil {
		return Message{}, err
	}
	return Read(&request, n)
}

// Read is Parse for a request that is an object already. With an error the Message
// says no more than the type, as far as it is known.
func Read(request *jsontree.Object, n *network.Network) (Message, error) {
	name := request.Text("type")
	if request.Err() != nil {
		return Message{}, request.Err()
	}
	t, err := ParseType(name)
	if err != nil {
		return Message{}, err
	}
	message := read(t, request, n)
	err = request.Err()
	if err == nil {
		err = compareRoot(request, message.SigningRoot)
	}
	if err != nil {
		return Message{Type: t}, err
	}
	return message, nil
}

func read(t Type, request *jsontree.Object, n *network.Network) Message {
	c := readers[t](request, n)
	message := Message{Type: t, FeeRecipient: c.feeRecipient, Guarded: c.guarded}
	var domain Root
	switch {
	case c.whole != nil:
		domain = *c.whole
	case c.forkless != nil:
		domain = computeDomain(c.domain, *c.forkless, Root{})
	default:
		info := readForkInfo(request)
		message.ForkInfo = true
		message.GenesisValidatorsRoot = info.genesisValidatorsRoot
		domain = computeDomain(c.domain, domainVersion(&c, &info, n), info.genesisValidatorsRoot)
	}
	message.SigningRoot = signingRoot(c.object, domain)
	if c.duty != nil {
		message.Duty = c.duty(message.SigningRoot)
	}
	return message
}

// domainVersion is the fork version that a message is signed under.
//
// Exits are signed under Capella's for ever once Deneb is active (EIP-7044). The
// signer does not know the head of the chain, so Deneb counts as active if either
// the exit's epoch or the epoch of the client's fork lies in it: Prysm sends the
// current fork, Lighthouse and Lodestar the Capella one with a later epoch.
func domainVersion(c *content, info *forkInfo, n *network.Network) network.Version {
	if c.exit && (n.Active(network.Deneb, c.epoch) || n.Active(network.Deneb, info.epoch)) {
		return n.Forks[network.Capella].Version
	}
	return info.version(c.epoch)
}

// compareRoot holds the optional root of the client against the computed one.
func compareRoot(request *jsontree.Object, computed Root) error {
	if !request.Has("signing_root") {
		return nil
	}
	claimed := request.Root("signing_root")
	if request.Err() != nil {
		return request.Err()
	}
	if claimed != computed {
		return fmt.Errorf("signing_root: got %#x, but the message's is %#x; is the signer's network the client's?", claimed, computed)
	}
	return nil
}

func readAttestation(request *jsontree.Object, _ *network.Network) content {
	o := request.Object("attestation")
	source, target := o.Object("source").Uint64("epoch"), o.Object("target").Uint64("epoch")
	return content{
		object: attestationData(o),
		domain: domainBeaconAttester,
		epoch:  target,
		duty: func(root Root) slashing.Duty {
			return slashing.Attestation{Source: source, Target: target, SigningRoot: root}
		},
	}
}

func readBlock(request *jsontree.Object, n *network.Network) content {
	return fullBlock(request.Object("block"), n, network.Phase0)
}

// fullBlock reads a block that comes with its body. Only Phase0 and Altair blocks
// do, and the body must be of the fork that the slot lies in.
func fullBlock(o *jsontree.Object, n *network.Network, claimed network.Fork) content {
	slot := o.Uint64("slot")
	if fork := n.ForkAt(n.Epoch(slot)); fork != claimed {
		o.Fail("slot", "%d lies in %v on this network, but the block is %v", slot, fork, claimed)
	}
	return proposal(slot, beaconBlock(o, n, claimed), n)
}

func proposal(slot uint64, object Root, n *network.Network) content {
	return content{
		object: object,
		domain: domainBeaconProposer,
		epoch:  n.Epoch(slot),
		duty: func(root Root) slashing.Duty {
			return slashing.Block{Slot: slot, SigningRoot: root}
		},
	}
}

// headerOnly is a version of blocks later than the forks that Network knows. Like
// all since Bellatrix they come as headers, whose form does not change.
const headerOnly = "HEZE"

func readBlockV2(request *jsontree.Object, n *network.Network) content {
	o := request.Object("beacon_block")
	version := o.Text("version")
	for fork := network.Phase0; fork <= network.Altair; fork++ {
		if strings.EqualFold(version, fork.String()) {
			return fullBlock(o.Object("block"), n, fork)
		}
	}
	if !hasHeader(version) {
		o.Fail("version", "unknown block version %.60q", version)
	}
	header := o.Object("block_header")
	return proposal(header.Uint64("slot"), beaconBlockHeader(header), n)
}

func hasHeader(version string) bool {
	for fork := network.Bellatrix; fork <= network.Gloas; fork++ {
		if strings.EqualFold(version, fork.String()) {
			return true
		}
	}
	return strings.EqualFold(version, headerOnly)
}

// readAggregate takes the bare object and the {version, data} form under both
// types: Lighthouse sends all forks bare. The version is not used.
func readAggregate(request *jsontree.Object, n *network.Network) content {
	o := request.Object("aggregate_and_proof")
	if o.Has("data") {
		o = o.Object("data")
	}
	slot := o.Object("aggregate").Object("data").Uint64("slot")
	epoch := n.Epoch(slot)
	return content{
		object: aggregateAndProof(o, n, n.ForkAt(epoch)),
		domain: domainAggregateAndProof,
		epoch:  epoch,
	}
}

func readAggregationSlot(request *jsontree.Object, n *network.Network) content {
	o := request.Object("aggregation_slot")
	return content{
		object: uint64Root(o, "slot"),
		domain: domainSelectionProof,
		epoch:  n.Epoch(o.Uint64("slot")),
	}
}

func readRandaoReveal(request *jsontree.Object, _ *network.Network) content {
	o := request.Object("randao_reveal")
	return content{
		object: uint64Root(o, "epoch"),
		domain: domainRandao,
		epoch:  o.Uint64("epoch"),
	}
}

func readExit(request *jsontree.Object, _ *network.Network) content {
	o := request.Object("voluntary_exit")
	return content{
		object: voluntaryExit(o),
		domain: domainVoluntaryExit,
		epoch:  o.Uint64("epoch"),
		exit:   true,
	}
}

func readDeposit(request *jsontree.Object, _ *network.Network) content {
	o := request.Object("deposit")
	var version network.Version
	o.Fixed("genesis_fork_version", version[:])
	return content{
		object:   depositMessage(o),
		domain:   domainDeposit,
		forkless: &version,
	}
}

func readRegistration(request *jsontree.Object, n *network.Network) content {
	o := request.Object("validator_registration")
	version := n.GenesisForkVersion()
	c := content{
		object:   validatorRegistration(o),
		domain:   domainApplicationBuilder,
		forkless: &version,
	}
	o.Fixed("fee_recipient", c.feeRecipient[:])
	return c
}

func readSyncCommitteeMessage(request *jsontree.Object, n *network.Network) content {
	o := request.Object("sync_committee_message")
	return content{
		object: o.Root("beacon_block_root"),
		domain: domainSyncCommittee,
		epoch:  n.Epoch(o.Uint64("slot")),
	}
}

func readSyncCommitteeSelection(request *jsontree.Object, n *network.Network) content {
	o := request.Object("sync_aggregator_selection_data")
	return content{
		object: syncAggregatorSelectionData(o),
		domain: domainSyncCommitteeSelectionProof,
		epoch:  n.Epoch(o.Uint64("slot")),
	}
}

func readContribution(request *jsontree.Object, n *network.Network) content {
	o := request.Object("contribution_and_proof")
	return content{
		object: contributionAndProof(o, n),
		domain: domainContributionAndProof,
		epoch:  n.Epoch(o.Object("contribution").Uint64("slot")),
	}
}
