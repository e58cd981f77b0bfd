package policy_test

import (
	"strings"
	"testing"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
)

var (
	mine, other = bls.PublicKey{1}, bls.PublicKey{2}
	home, away  = [20]byte{1}, [20]byte{2}
)

func TestTheZeroClientMayAskForNothing(t *testing.T) {
	var client policy.Client
	for _, name := range append(policy.Duties("").Types, signing.VoluntaryExit, signing.Deposit, "") {
		if client.Judge(mine, &signing.Message{Type: name}) == nil {
			t.Errorf("%q is allowed", name)
		}
	}
}

func TestARefusalNamesItsRule(t *testing.T) {
	client := policy.Client{
		Name:          "vc-1",
		Keys:          []bls.PublicKey{mine},
		Types:         []signing.Type{signing.Attestation, signing.ValidatorRegistration},
		FeeRecipients: [][20]byte{home},
	}
	for _, c := range []struct {
		name    string
		key     bls.PublicKey
		message signing.Message
		rule    policy.Rule
	}{
		{"own key", mine, signing.Message{Type: signing.Attestation}, ""},
		{"another key", other, signing.Message{Type: signing.Attestation}, policy.KeyRule},
		{"another type", mine, signing.Message{Type: signing.BlockV2}, policy.TypeRule},
		{"an exit", mine, signing.Message{Type: signing.VoluntaryExit}, policy.TypeRule},
		{"own fee recipient", mine, signing.Message{Type: signing.ValidatorRegistration, FeeRecipient: home}, ""},
		{"another fee recipient", mine, signing.Message{Type: signing.ValidatorRegistration, FeeRecipient: away}, policy.FeeRecipientRule},
		{"fee recipient of no registration", mine, signing.Message{Type: signing.Attestation, FeeRecipient: away}, ""},
	} {
		refusal := client.Judge(c.key, &c.message)
		switch {
		case c.rule == "" && refusal != nil:
			t.Errorf("%s: got %v, want it allowed", c.name, refusal)
		case c.rule != "" && refusal == nil:
			t.Errorf("%s: allowed, want %s", c.name, c.rule)
		case c.rule != "" && (refusal.Rule != c.rule || !strings.Contains(refusal.Error(), `"vc-1"`)):
			t.Errorf("%s: got %s %v, want %s and the client's name", c.name, refusal.Rule, refusal, c.rule)
		}
	}
}

func TestOrdinaryDutiesAreNeitherExitsNorDeposits(t *testing.T) {
	client := policy.Duties("vc")
	for name, allowed := range map[signing.Type]bool{
		signing.Attestation: true, signing.BlockV2: true, signing.ValidatorRegistration: true,
		signing.SyncCommitteeMessage: true, signing.VoluntaryExit: false, signing.Deposit: false,
	} {
		if got := client.Judge(other, &signing.Message{Type: name, FeeRecipient: away}) == nil; got != allowed {
			t.Errorf("%s: allowed %v, want %v", name, got, allowed)
		}
	}
}

func TestAnExitIsAllowedByName(t *testing.T) {
	client := policy.Client{AnyKey: true, Types: []signing.Type{signing.VoluntaryExit}}
	if refusal := client.Judge(mine, &signing.Message{Type: signing.VoluntaryExit}); refusal != nil {
		t.Error(refusal)
	}
}

func TestProposerPreferencesNameAFeeRecipientToo(t *testing.T) {
	client := policy.Client{AnyKey: true, Types: []signing.Type{signing.ProposerPreferences}, FeeRecipients: [][20]byte{home}}
	if no := client.Judge(mine, &signing.Message{Type: signing.ProposerPreferences, FeeRecipient: home}); no != nil {
		t.Errorf("its own recipient: %v", no)
	}
	if no := client.Judge(mine, &signing.Message{Type: signing.ProposerPreferences, FeeRecipient: away}); no == nil || no.Rule != policy.FeeRecipientRule {
		t.Errorf("another recipient: got %v", no)
	}
}

func TestAGenericRequestNeedsTheTypeThatItsDomainIsOf(t *testing.T) {
	for _, c := range []struct {
		name    string
		types   []signing.Type
		any     bool
		guarded signing.Type
		rule    policy.Rule
	}{
		{"unguarded", []signing.Type{signing.Generic}, false, "", ""},
		{"not generic", []signing.Type{signing.VoluntaryExit}, true, signing.VoluntaryExit, policy.TypeRule},
		{"no exits", []signing.Type{signing.Generic}, true, signing.VoluntaryExit, policy.TypeRule},
		{"exits", []signing.Type{signing.Generic, signing.VoluntaryExit}, false, signing.VoluntaryExit, ""},
		{"recipient unseen", []signing.Type{signing.Generic, signing.ValidatorRegistration}, false, signing.ValidatorRegistration, policy.FeeRecipientRule},
		{"any recipient", []signing.Type{signing.Generic, signing.ValidatorRegistration}, true, signing.ValidatorRegistration, ""},
	} {
		client := policy.Client{AnyKey: true, Types: c.types, AnyFeeRecipient: c.any, FeeRecipients: [][20]byte{{}}}
		no := client.Judge(mine, &signing.Message{Type: signing.Generic, Guarded: c.guarded})
		if c.rule == "" && no != nil || c.rule != "" && (no == nil || no.Rule != c.rule) {
			t.Errorf("%s: got %v, want %q", c.name, no, c.rule)
		}
	}
}
