package differential

import (
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"

	"github.com/attestantio/go-eth2-client/spec/phase0"
	dynssz "github.com/pk910/dynamic-ssz"

	"holdfast/enclave/ethereum/network"
)

// The messages of Gloas, described to dynamic-ssz as consensus-specs has them,
// since go-eth2-client v0.29.0 ends with Fulu. The json tag is the field's name.

type bid struct {
	ParentBlockHash       [32]byte   `json:"parent_block_hash" ssz-index:"0"`
	ParentBlockRoot       [32]byte   `json:"parent_block_root" ssz-index:"1"`
	BlockHash             [32]byte   `json:"block_hash" ssz-index:"2"`
	PrevRandao            [32]byte   `json:"prev_randao" ssz-index:"3"`
	FeeRecipient          [20]byte   `json:"fee_recipient" ssz-index:"4"`
	GasLimit              uint64     `json:"gas_limit" ssz-index:"5"`
	BuilderIndex          uint64     `json:"builder_index" ssz-index:"6"`
	Slot                  uint64     `json:"slot" ssz-index:"7"`
	Value                 uint64     `json:"value" ssz-index:"8"`
	ExecutionPayment      uint64     `json:"execution_payment" ssz-index:"9"`
	BlobKZGCommitments    [][48]byte `json:"blob_kzg_commitments" ssz-index:"10" ssz-type:"progressive-list" ssz-max:"4096"`
	ExecutionRequestsRoot [32]byte   `json:"execution_requests_root" ssz-index:"11"`
}

type envelope struct {
	Payload               *payload  `json:"payload" ssz-index:"0"`
	ExecutionRequests     *requests `json:"execution_requests" ssz-index:"1"`
	BuilderIndex          uint64    `json:"builder_index" ssz-index:"2"`
	BeaconBlockRoot       [32]byte  `json:"beacon_block_root" ssz-index:"3"`
	ParentBeaconBlockRoot [32]byte  `json:"parent_beacon_block_root" ssz-index:"4"`
}

type payload struct {
	ParentHash      [32]byte     `json:"parent_hash" ssz-index:"0"`
	FeeRecipient    [20]byte     `json:"fee_recipient" ssz-index:"1"`
	StateRoot       [32]byte     `json:"state_root" ssz-index:"2"`
	ReceiptsRoot    [32]byte     `json:"receipts_root" ssz-index:"3"`
	LogsBloom       [256]byte    `json:"logs_bloom" ssz-index:"4"`
	PrevRandao      [32]byte     `json:"prev_randao" ssz-index:"5"`
	BlockNumber     uint64       `json:"block_number" ssz-index:"6"`
	GasLimit        uint64       `json:"gas_limit" ssz-index:"7"`
	GasUsed         uint64       `json:"gas_used" ssz-index:"8"`
	Timestamp       uint64       `json:"timestamp" ssz-index:"9"`
	ExtraData       []byte       `json:"extra_data" ssz-index:"10" ssz-max:"32"`
	BaseFeePerGas   [32]byte     `json:"base_fee_per_gas" ssz-index:"11" number:"little-endian"`
	BlockHash       [32]byte     `json:"block_hash" ssz-index:"12"`
	Transactions    [][]byte     `json:"transactions" ssz-index:"13" ssz-type:"progressive-list,progressive-list" ssz-max:"65536,1048576"`
	Withdrawals     []withdrawal `json:"withdrawals" ssz-index:"14" ssz-type:"progressive-list" ssz-max:"16"`
	BlobGasUsed     uint64       `json:"blob_gas_used" ssz-index:"15"`
	ExcessBlobGas   uint64       `json:"excess_blob_gas" ssz-index:"16"`
	BlockAccessList []byte       `json:"block_access_list" ssz-index:"17" ssz-type:"progressive-list" ssz-max:"1048576"`
	SlotNumber      uint64       `json:"slot_number" ssz-index:"18"`
}

type withdrawal struct {
	Index          uint64   `json:"index"`
	ValidatorIndex uint64   `json:"validator_index"`
	Address        [20]byte `json:"address"`
	Amount         uint64   `json:"amount"`
}

type requests struct {
	Deposits        []depositRequest        `json:"deposits" ssz-index:"0" ssz-type:"progressive-list" ssz-max:"8192"`
	Withdrawals     []withdrawalRequest     `json:"withdrawals" ssz-index:"1" ssz-type:"progressive-list" ssz-max:"16"`
	Consolidations  []consolidationRequest  `json:"consolidations" ssz-index:"2" ssz-type:"progressive-list" ssz-max:"2"`
	BuilderDeposits []builderDepositRequest `json:"builder_deposits" ssz-index:"3" ssz-type:"progressive-list" ssz-max:"8192"`
	BuilderExits    []builderExitRequest    `json:"builder_exits" ssz-index:"4" ssz-type:"progressive-list" ssz-max:"16"`
}

type depositRequest struct {
	PublicKey             [48]byte `json:"pubkey"`
	WithdrawalCredentials [32]byte `json:"withdrawal_credentials"`
	Amount                uint64   `json:"amount"`
	Signature             [96]byte `json:"signature"`
	Index                 uint64   `json:"index"`
}

type withdrawalRequest struct {
	SourceAddress [20]byte `json:"source_address"`
	PublicKey     [48]byte `json:"validator_pubkey"`
	Amount        uint64   `json:"amount"`
}

type consolidationRequest struct {
	SourceAddress [20]byte `json:"source_address"`
	Source        [48]byte `json:"source_pubkey"`
	Target        [48]byte `json:"target_pubkey"`
}

type builderDepositRequest struct {
	PublicKey             [48]byte `json:"pubkey"`
	WithdrawalCredentials [32]byte `json:"withdrawal_credentials"`
	Amount                uint64   `json:"amount"`
	Signature             [96]byte `json:"signature"`
}

type builderExitRequest struct {
	SourceAddress [20]byte `json:"source_address"`
	PublicKey     [48]byte `json:"pubkey"`
}

type payloadAttestation struct {
	BeaconBlockRoot   [32]byte `json:"beacon_block_root"`
	Slot              uint64   `json:"slot"`
	PayloadPresent    bool     `json:"payload_present"`
	BlobDataAvailable bool     `json:"blob_data_available"`
}

type preferences struct {
	DependentRoot  [32]byte `json:"dependent_root"`
	ProposalSlot   uint64   `json:"proposal_slot"`
	ValidatorIndex uint64   `json:"validator_index"`
	FeeRecipient   [20]byte `json:"fee_recipient"`
	TargetGasLimit uint64   `json:"target_gas_limit"`
}

type requestAuth struct {
	Data []byte `json:"data" ssz-max:"4096"`
	Slot uint64 `json:"slot"`
}

var gloasMakers = []maker{makeBid, makeEnvelope, makePayloadAttestation, makePreferences, makeRequestAuth}

// gloasDuty completes a duty of Gloas, wrapped with its version or bare.
func gloasDuty(random *rand.Rand, kind string, object any, domain phase0.DomainType, slot uint64) (duty, error) {
	root, err := dynssz.NewDynSsz(nil).HashTreeRoot(object)
	form := toJSON(reflect.ValueOf(object), "")
	if random.IntN(2) == 0 {
		form = map[string]any{"version": "GLOAS", "data": form}
	}
	return duty{
		kind: kind, payload: map[string]any{strings.ToLower(kind): form},
		object: root, domain: domain, epoch: slot / slotsPerEpoch,
	}, err
}

func makeBid(random *rand.Rand, _ network.Fork) (duty, error) {
	var b bid
	fill(random, &b)
	return gloasDuty(random, "EXECUTION_PAYLOAD_BID", &b, domainType(11, 0), b.Slot)
}

// makeEnvelope gives byte lists lengths that reach several levels of a progressive
// tree.
func makeEnvelope(random *rand.Rand, _ network.Fork) (duty, error) {
	var e envelope
	fill(random, &e)
	e.Payload.BlockAccessList = randomBytes(random, 3000)
	e.Payload.ExtraData = randomBytes(random, 32)
	e.Payload.Transactions = make([][]byte, random.IntN(30))
	for i := range e.Payload.Transactions {
		e.Payload.Transactions[i] = randomBytes(random, 1000)
	}
	return gloasDuty(random, "EXECUTION_PAYLOAD_ENVELOPE", &e, domainType(11, 0), e.Payload.SlotNumber)
}

func makePayloadAttestation(random *rand.Rand, _ network.Fork) (duty, error) {
	var a payloadAttestation
	fill(random, &a)
	return gloasDuty(random, "PAYLOAD_ATTESTATION_MESSAGE", &a, domainType(12, 0), a.Slot)
}

func makePreferences(random *rand.Rand, _ network.Fork) (duty, error) {
	var p preferences
	fill(random, &p)
	return gloasDuty(random, "PROPOSER_PREFERENCES", &p, domainType(13, 0), p.ProposalSlot)
}

func makeRequestAuth(random *rand.Rand, _ network.Fork) (duty, error) {
	var a requestAuth
	fill(random, &a)
	a.Data = randomBytes(random, 4096)
	return gloasDuty(random, "BUILDER_REQUEST_AUTH", &a, domainType(11, 1), 0)
}

func randomBytes(random *rand.Rand, most int) []byte {
	data := make([]byte, random.IntN(most+1))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// toJSON renders a value as the beacon API does: numbers as decimal strings, bytes
// as hex.
func toJSON(v reflect.Value, tag reflect.StructTag) any {
	switch {
	case v.Kind() == reflect.Pointer:
		return toJSON(v.Elem(), "")
	case v.Kind() == reflect.Uint64:
		return fmt.Sprint(v.Uint())
	case v.Kind() == reflect.Bool:
		return v.Bool()
	case tag.Get("number") == "little-endian":
		digits := v.Interface().([32]byte)
		slices.Reverse(digits[:])
		return new(big.Int).SetBytes(digits[:]).String()
	case v.Kind() == reflect.Struct:
		fields := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			fields[f.Tag.Get("json")] = toJSON(v.Field(i), f.Tag)
		}
		return fields
	case v.Type().Elem().Kind() == reflect.Uint8:
		return fmt.Sprintf("0x%x", v.Interface())
	}
	items := make([]any, v.Len())
	for i := range items {
		items[i] = toJSON(v.Index(i), "")
	}
	return items
}
