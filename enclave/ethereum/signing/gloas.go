package signing

import (
	"math/big"

	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/ssz"
)

// The messages of Gloas, as consensus-specs has them in August 2026 and
// builder-specs in June. They come as {version, data} by ethereum/remote-signing-api
// 1.4.0, and bare from clients that are older.

// Bounds for the progressive types, which have none of their own. They are the
// limits that Electra had, and only keep work small; a body is bounded as well.
const (
	maxExtraData      = 32
	maxTransactions   = 1 << 16
	maxPayloadBytes   = 4 << 20 // of one transaction, or the block access list
	maxRequests       = 1 << 13
	maxWithdrawals    = 1 << 8
	maxBlobs          = 1 << 12
	commitmentSize    = 48
	logsBloomSize     = 256
	maxRequestAuthURL = 4096 // MAX_DATA_SIZE
)

// ofGloas reads a type that only a network with Gloas in its schedule has.
func ofGloas(read reader) reader {
	return func(request *jsontree.Object, n *network.Network) content {
		if n.Forks[network.Gloas].Epoch == network.FarFuture {
			request.Fail("type", "belongs to GLOAS, which %s does not schedule", n.Name)
			return content{}
		}
		return read(request, n)
	}
}

// payload returns the message under the first of names that is there, without the
// version around it.
func payload(request *jsontree.Object, names ...string) *jsontree.Object {
	name := names[0]
	for _, other := range names {
		if request.Has(other) {
			name = other
			break
		}
	}
	o := request.Object(name)
	if o.Has("data") && o.Has("version") {
		return o.Object("data")
	}
	return o
}

// gloasEpoch is the epoch of a slot that must lie in Gloas or later: before, the
// message does not exist.
func gloasEpoch(o *jsontree.Object, name string, n *network.Network) uint64 {
	slot := o.Uint64(name)
	if epoch := n.Epoch(slot); n.Active(network.Gloas, epoch) {
		return epoch
	}
	o.Fail(name, "%d lies in %v on this network, before GLOAS", slot, n.ForkAt(n.Epoch(slot)))
	return 0
}

func readBid(request *jsontree.Object, n *network.Network) content {
	o := payload(request, "execution_payload_bid")
	return content{object: executionPayloadBid(o), domain: domainBeaconBuilder, epoch: gloasEpoch(o, "slot", n)}
}

func readEnvelope(request *jsontree.Object, n *network.Network) content {
	o := payload(request, "execution_payload_envelope")
	return content{
		object: executionPayloadEnvelope(o),
		domain: domainBeaconBuilder,
		epoch:  gloasEpoch(o.Object("payload"), "slot_number", n),
	}
}

// readPayloadAttestation signs the data alone: the message around it names the
// validator, and its signature is what is asked for.
func readPayloadAttestation(request *jsontree.Object, n *network.Network) content {
	o := payload(request, "payload_attestation_message", "payload_attestation_data", "payload_attestation")
	return content{object: payloadAttestationData(o), domain: domainPTCAttester, epoch: gloasEpoch(o, "slot", n)}
}

func readPreferences(request *jsontree.Object, n *network.Network) content {
	o := payload(request, "proposer_preferences")
	c := content{object: proposerPreferences(o), domain: domainProposerPreferences, epoch: gloasEpoch(o, "proposal_slot", n)}
	o.Fixed("fee_recipient", c.feeRecipient[:])
	return c
}

func readRequestAuth(request *jsontree.Object, n *network.Network) content {
	o := payload(request, "builder_request_auth", "request_auth")
	version := n.GenesisForkVersion()
	return content{object: requestAuth(o), domain: domainRequestAuth, forkless: &version}
}

func progressiveListRoot(o *jsontree.Object, name string, limit int, element func(*jsontree.Object) Root) Root {
	var roots []Root
	o.Each(name, limit, func(item *jsontree.Object) { roots = append(roots, element(item)) })
	return ssz.ProgressiveList(roots)
}

func transactionsRoot(o *jsontree.Object, name string) Root {
	var roots []Root
	o.EachHex(name, maxTransactions, maxPayloadBytes, func(data []byte) { roots = append(roots, ssz.ProgressiveBytes(data)) })
	return ssz.ProgressiveList(roots)
}

func commitmentsRoot(o *jsontree.Object, name string) Root {
	var roots []Root
	o.EachHex(name, maxBlobs, commitmentSize, func(data []byte) {
		if len(data) != commitmentSize {
			o.Fail(name, "has a commitment of %d bytes, want %d", len(data), commitmentSize)
		}
		roots = append(roots, ssz.Bytes(data))
	})
	return ssz.ProgressiveList(roots)
}

func byteListRoot(o *jsontree.Object, name string, limit int) Root {
	return checked(o, name)(ssz.ByteList(o.Hex(name, limit), uint64(limit)))
}

func boolRoot(o *jsontree.Object, name string) Root { return ssz.Bool(o.Bool(name)) }

func addressRoot(o *jsontree.Object, name string) Root { return bytesRoot(o, name, 20) }

// uint256Root reads a decimal number, of which a chunk holds the little-endian form.
func uint256Root(o *jsontree.Object, name string) (root Root) {
	const maxDigits = 78
	s := o.Text(name)
	n, ok := new(big.Int).SetString(s, 10)
	if len(s) > maxDigits || !ok || n.Sign() < 0 || s[0] == '+' || n.BitLen() > 256 {
		o.Fail(name, "got %.80q, want a decimal integer below 2^256", s)
		return Root{}
	}
	n.FillBytes(root[:])
	for i := range len(root) / 2 {
		root[i], root[31-i] = root[31-i], root[i]
	}
	return root
}

// gloas: ExecutionPayloadBid.
func executionPayloadBid(o *jsontree.Object) Root {
	return ssz.ProgressiveContainer(
		o.Root("parent_block_hash"),
		o.Root("parent_block_root"),
		o.Root("block_hash"),
		o.Root("prev_randao"),
		addressRoot(o, "fee_recipient"),
		uint64Root(o, "gas_limit"),
		uint64Root(o, "builder_index"),
		uint64Root(o, "slot"),
		uint64Root(o, "value"),
		uint64Root(o, "execution_payment"),
		commitmentsRoot(o, "blob_kzg_commitments"),
		o.Root("execution_requests_root"),
	)
}

// gloas: ExecutionPayloadEnvelope.
func executionPayloadEnvelope(o *jsontree.Object) Root {
	return ssz.ProgressiveContainer(
		executionPayload(o.Object("payload")),
		executionRequests(o.Object("execution_requests")),
		uint64Root(o, "builder_index"),
		o.Root("beacon_block_root"),
		o.Root("parent_beacon_block_root"),
	)
}

// gloas: ExecutionPayload.
func executionPayload(o *jsontree.Object) Root {
	bloom := make([]byte, logsBloomSize)
	o.Fixed("logs_bloom", bloom)
	return ssz.ProgressiveContainer(
		o.Root("parent_hash"),
		addressRoot(o, "fee_recipient"),
		o.Root("state_root"),
		o.Root("receipts_root"),
		ssz.Bytes(bloom),
		o.Root("prev_randao"),
		uint64Root(o, "block_number"),
		uint64Root(o, "gas_limit"),
		uint64Root(o, "gas_used"),
		uint64Root(o, "timestamp"),
		byteListRoot(o, "extra_data", maxExtraData),
		uint256Root(o, "base_fee_per_gas"),
		o.Root("block_hash"),
		transactionsRoot(o, "transactions"),
		progressiveListRoot(o, "withdrawals", maxWithdrawals, withdrawal),
		uint64Root(o, "blob_gas_used"),
		uint64Root(o, "excess_blob_gas"),
		ssz.ProgressiveBytes(o.Hex("block_access_list", maxPayloadBytes)),
		uint64Root(o, "slot_number"),
	)
}

// capella: Withdrawal.
func withdrawal(o *jsontree.Object) Root {
	return ssz.Container(
		uint64Root(o, "index"),
		uint64Root(o, "validator_index"),
		addressRoot(o, "address"),
		uint64Root(o, "amount"),
	)
}

// gloas: ExecutionRequests.
func executionRequests(o *jsontree.Object) Root {
	return ssz.ProgressiveContainer(
		progressiveListRoot(o, "deposits", maxRequests, depositRequest),
		progressiveListRoot(o, "withdrawals", maxRequests, withdrawalRequest),
		progressiveListRoot(o, "consolidations", maxRequests, consolidationRequest),
		progressiveListRoot(o, "builder_deposits", maxRequests, builderDepositRequest),
		progressiveListRoot(o, "builder_exits", maxRequests, builderExitRequest),
	)
}

// electra: DepositRequest.
func depositRequest(o *jsontree.Object) Root {
	return ssz.Container(
		publicKeyRoot(o, "pubkey"),
		o.Root("withdrawal_credentials"),
		uint64Root(o, "amount"),
		signatureRoot(o, "signature"),
		uint64Root(o, "index"),
	)
}

// electra: WithdrawalRequest.
func withdrawalRequest(o *jsontree.Object) Root {
	return ssz.Container(
		addressRoot(o, "source_address"),
		publicKeyRoot(o, "validator_pubkey"),
		uint64Root(o, "amount"),
	)
}

// electra: ConsolidationRequest.
func consolidationRequest(o *jsontree.Object) Root {
	return ssz.Container(
		addressRoot(o, "source_address"),
		publicKeyRoot(o, "source_pubkey"),
		publicKeyRoot(o, "target_pubkey"),
	)
}

// gloas: BuilderDepositRequest (EIP-8282).
func builderDepositRequest(o *jsontree.Object) Root {
	return ssz.Container(
		publicKeyRoot(o, "pubkey"),
		o.Root("withdrawal_credentials"),
		uint64Root(o, "amount"),
		signatureRoot(o, "signature"),
	)
}

// gloas: BuilderExitRequest (EIP-8282).
func builderExitRequest(o *jsontree.Object) Root {
	return ssz.Container(addressRoot(o, "source_address"), publicKeyRoot(o, "pubkey"))
}

// gloas: PayloadAttestationData.
func payloadAttestationData(o *jsontree.Object) Root {
	return ssz.Container(
		o.Root("beacon_block_root"),
		uint64Root(o, "slot"),
		boolRoot(o, "payload_present"),
		boolRoot(o, "blob_data_available"),
	)
}

// gloas: ProposerPreferences.
func proposerPreferences(o *jsontree.Object) Root {
	return ssz.Container(
		o.Root("dependent_root"),
		uint64Root(o, "proposal_slot"),
		uint64Root(o, "validator_index"),
		addressRoot(o, "fee_recipient"),
		uint64Root(o, "target_gas_limit"),
	)
}

// builder-specs gloas: RequestAuthV1.
func requestAuth(o *jsontree.Object) Root {
	return ssz.Container(byteListRoot(o, "data", maxRequestAuthURL), uint64Root(o, "slot"))
}
