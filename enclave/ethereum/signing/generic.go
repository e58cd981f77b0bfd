package signing

import (
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/network"
)

// guarded are the domain types whose messages policy limits.
var guarded = map[DomainType]Type{
	domainDeposit:             Deposit,
	domainVoluntaryExit:       VoluntaryExit,
	domainApplicationBuilder:  ValidatorRegistration,
	domainBeaconBuilder:       ExecutionPayloadBid,
	domainProposerPreferences: ProposerPreferences,
}

// readGeneric reads a request of a root and a domain alone, as proposed in
// ethereum/remote-signing-api pull requests 29 and 30, which differ in the root's
// name. What the root is of cannot be seen, so domains of slashable messages are
// refused: those come as what they are.
func readGeneric(request *jsontree.Object, _ *network.Network) content {
	name := "object_root"
	if request.Has("merkle_root") {
		name = "merkle_root"
	}
	if name == "merkle_root" && request.Has("object_root") {
		request.Fail(name, "comes beside object_root")
	}
	object, domain := request.Root(name), request.Root("domain")
	kind := DomainType(domain[:4])
	if kind == domainBeaconProposer || kind == domainBeaconAttester {
		request.Fail("domain", "type %#x is slashable and is signed only for a whole block or attestation", kind)
	}
	return content{object: object, whole: &domain, guarded: guarded[kind]}
}
