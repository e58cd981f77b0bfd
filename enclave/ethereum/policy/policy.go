// Package policy says what a client may have signed: with which keys, of which
// types, and with which fee recipients in its builder registrations.
//
// It judges messages that are parsed already and knows nothing of bytes or
// connections. Whatever a policy does not name is refused.
package policy

import (
	"fmt"
	"slices"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/signing"
)

// Client is what one client may ask for. The zero value may ask for nothing.
type Client struct {
	Name string

	// Keys lists the keys it may use. AnyKey allows every key instead.
	Keys   []bls.PublicKey
	AnyKey bool

	// Types lists the types it may have signed. An exit, a deposit or a bid is
	// signed only for a client that lists it here, and so is a generic request
	// that may be one: it needs GENERIC and that type.
	Types []signing.Type

	// FeeRecipients lists the addresses that its registrations and proposer's
	// preferences may name. AnyFeeRecipient allows every address instead.
	FeeRecipients   [][20]byte
	AnyFeeRecipient bool
}

// Rule names the part of a policy that refuses.
type Rule string

// The rules, for logs and metrics.
const (
	KeyRule          Rule = "policy_key"
	TypeRule         Rule = "policy_type"
	FeeRecipientRule Rule = "policy_fee_recipient"
)

// Refusal is the error of a message that a policy does not allow.
type Refusal struct {
	Rule   Rule
	reason string
}

func (r *Refusal) Error() string { return r.reason }

func refuse(rule Rule, format string, args ...any) *Refusal {
	return &Refusal{rule, fmt.Sprintf(format, args...)}
}

// Duties is the policy of a client that does a validator's ordinary work with any
// key: everything but exits, deposits, a builder's bids and generic requests, which
// a client must be allowed by name.
func Duties(name string) Client {
	return Client{
		Name:            name,
		AnyKey:          true,
		AnyFeeRecipient: true,
		Types: []signing.Type{
			signing.AggregateAndProof,
			signing.AggregateAndProofV2,
			signing.AggregationSlot,
			signing.Attestation,
			signing.Block,
			signing.BlockV2,
			signing.RandaoReveal,
			signing.SyncCommitteeContributionAndProof,
			signing.SyncCommitteeMessage,
			signing.SyncCommitteeSelectionProof,
			signing.ValidatorRegistration,
			signing.BuilderRequestAuth,
			signing.ExecutionPayloadEnvelope,
			signing.PayloadAttestationMessage,
			signing.ProposerPreferences,
		},
	}
}

// Judge returns nil if the client may have message signed with key, or the refusal.
func (c *Client) Judge(key bls.PublicKey, message *signing.Message) *Refusal {
	switch {
	case !slices.Contains(c.Types, message.Type):
		return refuse(TypeRule, "client %q may not have type %s signed", c.Name, message.Type)
	case message.Guarded != "" && !slices.Contains(c.Types, message.Guarded):
		return refuse(TypeRule, "client %q may not have type %s signed, as this request's domain is", c.Name, message.Guarded)
	case !c.AnyKey && !slices.Contains(c.Keys, key):
		return refuse(KeyRule, "client %q may not use key %v", c.Name, key)
	case namesFeeRecipient(message.Guarded) && !c.AnyFeeRecipient:
		return refuse(FeeRecipientRule, "client %q may not have fee recipients signed unseen", c.Name)
	case namesFeeRecipient(message.Type) && !c.AnyFeeRecipient && !slices.Contains(c.FeeRecipients, message.FeeRecipient):
		return refuse(FeeRecipientRule, "client %q may not name fee recipient %#x", c.Name, message.FeeRecipient)
	}
	return nil
}

func namesFeeRecipient(t signing.Type) bool {
	return t == signing.ValidatorRegistration || t == signing.ProposerPreferences
}
