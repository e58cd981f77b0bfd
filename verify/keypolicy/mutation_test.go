package keypolicy_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
)

// statements decodes the generated policy, to be changed.
func statements(t *testing.T) (policy map[string]any, list []any) {
	t.Helper()
	if err := json.Unmarshal([]byte(generate(t)), &policy); err != nil {
		t.Fatal(err)
	}
	return policy, policy["Statement"].([]any)
}

func encode(t *testing.T, policy map[string]any, list []any) string {
	t.Helper()
	policy["Statement"] = list
	data, err := json.Marshal(policy)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func effect(statement any) string { return statement.(map[string]any)["Effect"].(string) }

func sid(statement any) string { return fmt.Sprint(statement.(map[string]any)["Sid"]) }

// passes tells whether nothing is flagged.
func passes(policy string) bool {
	return keypolicy.Passed(keypolicy.Lint([]byte(policy), published()))
}

func TestEveryDenialOfTheGeneratedPolicyIsNeeded(t *testing.T) {
	_, list := statements(t)
	denials := 0
	for i, s := range list {
		if effect(s) != "Deny" {
			continue
		}
		denials++
		policy, list := statements(t)
		if passes(encode(t, policy, slices.Delete(list, i, i+1))) {
			t.Errorf("%s can be left out", sid(s))
		}
	}
	if denials < 4 {
		t.Errorf("got %d denials, want one a PCR and one of the ways around", denials)
	}
}

func TestADenialTurnedIntoAnAllowanceIsFlagged(t *testing.T) {
	_, list := statements(t)
	for i, s := range list {
		if effect(s) != "Deny" {
			continue
		}
		policy, list := statements(t)
		list[i].(map[string]any)["Effect"] = "Allow"
		if passes(encode(t, policy, list)) {
			t.Errorf("%s may be an Allow", sid(s))
		}
	}
}

func TestADenialToSomePrincipalsOnlyIsFlagged(t *testing.T) {
	_, list := statements(t)
	for i, s := range list {
		if effect(s) != "Deny" {
			continue
		}
		policy, list := statements(t)
		list[i].(map[string]any)["Principal"] = map[string]any{"AWS": parent}
		if passes(encode(t, policy, list)) {
			t.Errorf("%s may spare everybody but the parent", sid(s))
		}
	}
}

// TestEveryConditionOfTheGeneratedPolicyIsNeeded takes each condition key away,
// one by one.
func TestEveryConditionOfTheGeneratedPolicyIsNeeded(t *testing.T) {
	_, original := statements(t)
	removed := 0
	for i, s := range original {
		condition, _ := s.(map[string]any)["Condition"].(map[string]any)
		for operator, keys := range condition {
			for key := range keys.(map[string]any) {
				policy, list := statements(t)
				operators := list[i].(map[string]any)["Condition"].(map[string]any)
				delete(operators[operator].(map[string]any), key)
				if len(operators[operator].(map[string]any)) == 0 {
					delete(operators, operator)
				}
				if passes(encode(t, policy, list)) {
					t.Errorf("%s without %s passes", sid(s), key)
				}
				removed++
			}
		}
	}
	if removed < 10 {
		t.Errorf("took away %d conditions, want more", removed)
	}
}

// TestEveryDigitOfEveryMeasurementCounts changes one digit at a time, at a few
// places of each measurement that the policy names.
func TestEveryDigitOfEveryMeasurementCounts(t *testing.T) {
	policy := generate(t)
	for _, e := range published().Entries() {
		if e.Status != pcrs.Active {
			continue
		}
		for _, pcr := range []pcrs.PCR{e.Image.PCR0, e.Image.PCR1, e.Image.PCR2} {
			for _, at := range []int{0, 47, 95} {
				other := []byte(pcr.String())
				other[at] = "123456789abcdef0"[strings.IndexByte("0123456789abcdef", other[at])]
				for n := 1; n <= strings.Count(policy, pcr.String()); n++ {
					if passes(replaceNth(policy, pcr.String(), string(other), n)) {
						t.Errorf("digit %d of %.8s…, place %d: does not count", at, pcr, n)
					}
				}
			}
		}
	}
}

// replaceNth replaces the n-th occurrence, counted from 1.
func replaceNth(s, old, with string, n int) string {
	at := 0
	for range n - 1 {
		at += strings.Index(s[at:], old) + len(old)
	}
	i := at + strings.Index(s[at:], old)
	return s[:i] + with + s[i+len(old):]
}

// dangerous are actions that give the key, its plaintext, or the power to get
// them, and belong to nobody or to the administrator alone.
var dangerous = []string{"kms:*", "*", "kms:Decrypt*", "kms:ReEncryptFrom", "kms:CreateGrant", "kms:ReplicateKey", "kms:ImportKeyMaterial", "kms:GetParametersForImport"}

func TestNoAllowanceTakesADangerousAction(t *testing.T) {
	_, original := statements(t)
	for i, s := range original {
		if effect(s) != "Allow" {
			continue
		}
		for _, action := range dangerous {
			policy, list := statements(t)
			statement := list[i].(map[string]any)
			switch have := statement["Action"].(type) {
			case string:
				statement["Action"] = []any{have, action}
			case []any:
				statement["Action"] = append(have, action)
			}
			if passes(encode(t, policy, list)) {
				t.Errorf("%s may allow %s", sid(s), action)
			}
		}
	}
}

func TestNoAllowanceIsForEverybody(t *testing.T) {
	_, original := statements(t)
	for i, s := range original {
		if effect(s) != "Allow" {
			continue
		}
		for _, principal := range []any{"*", map[string]any{"AWS": "*"}, map[string]any{"AWS": []any{parent, "*"}}} {
			policy, list := statements(t)
			statement := list[i].(map[string]any)
			if _, attested := statement["Condition"]; attested && strings.Contains(fmt.Sprint(statement["Condition"]), "RecipientAttestation") {
				continue // whoever passes on what only the enclave can read gains nothing
			}
			statement["Principal"] = principal
			if passes(encode(t, policy, list)) {
				t.Errorf("%s may be for %v", sid(s), principal)
			}
		}
	}
}
