package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"holdfast/internal/kmstest/policy"
)

const (
	parent = "arn:aws:iam::123456789012:role/parent"
	key    = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
)

// statement writes one, with a condition.
func statement(effect, principal, action, condition string) string {
	return fmt.Sprintf(`{"Effect":%q,"Principal":%s,"Action":%s,"Resource":"*","Condition":{%s}}`, effect, principal, action, condition)
}

func parse(t *testing.T, statements ...string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse([]byte(`{"Version":"2012-10-17","Id":"test","Statement":[` + strings.Join(statements, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func decrypt(keys ...string) policy.Request {
	r := policy.Request{Principal: parent, Action: "kms:Decrypt", Resource: key, Keys: map[string]string{}}
	for i := 0; i < len(keys); i += 2 {
		r.Keys[keys[i]] = keys[i+1]
	}
	return r
}

const all = `{"AWS":"*"}`

func TestADenyWinsInAnyOrder(t *testing.T) {
	allow := statement("Allow", all, `"kms:Decrypt"`, "")
	deny := statement("Deny", all, `["kms:Encrypt","kms:Decrypt"]`, "")
	for _, statements := range [][]string{{allow, deny}, {deny, allow}, {deny}} {
		if got := parse(t, statements...).Decide(decrypt()); got != policy.Denied {
			t.Errorf("%q: got %v", statements, got)
		}
	}
	if got := parse(t, allow).Decide(decrypt()); got != policy.Allowed {
		t.Errorf("got %v", got)
	}
}

func TestAnEmptyPolicyAllowsNothing(t *testing.T) {
	if got := (&policy.Policy{}).Decide(decrypt()); got != policy.NotAllowed {
		t.Errorf("got %v", got)
	}
}

func TestPrincipalsAndActionsAreMatched(t *testing.T) {
	for name, test := range map[string]struct {
		principal, action string
		want              bool
	}{
		"everybody":       {`"*"`, `"kms:Decrypt"`, true},
		"everybody, long": {all, `"kms:Decrypt"`, true},
		"the role":        {`{"AWS":["arn:aws:iam::1:role/x","` + parent + `"]}`, `"kms:Decrypt"`, true},
		"another role":    {`{"AWS":"arn:aws:iam::123456789012:role/parents"}`, `"kms:Decrypt"`, false},
		"the root alone":  {`{"AWS":"arn:aws:iam::123456789012:root"}`, `"kms:*"`, false},
		"another action":  {all, `"kms:Encrypt"`, false},
		"a wildcard":      {all, `"kms:De*"`, true},
		"one character":   {all, `"kms:Decryp?"`, true},
		"another case":    {all, `"KMS:decrypt"`, true},
		"a part":          {all, `"kms:Decryp"`, false},
		"no expression":   {all, `"kms.Decrypt"`, false},
	} {
		got := parse(t, statement("Allow", test.principal, test.action, "")).Decide(decrypt())
		if (got == policy.Allowed) != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
	deny := statement("Deny", `{"AWS":"arn:aws:iam::123456789012:root"}`, `"kms:*"`, "")
	if got := parse(t, deny).Decide(decrypt()); got != policy.Denied {
		t.Errorf("a denied account: got %v", got)
	}
}

func TestAStatementIsAboutItsResource(t *testing.T) {
	s := strings.Replace(statement("Allow", all, `"kms:*"`, ""), `"Resource":"*"`, `"Resource":"`+key+`"`, 1)
	other := decrypt()
	other.Resource = key[:len(key)-1] + "6"
	if p := parse(t, s); p.Decide(decrypt()) != policy.Allowed || p.Decide(other) != policy.NotAllowed {
		t.Error("the resource is not compared")
	}
}

// TestOperatorsDecideAsInAWS has the table of the IAM user guide, "Condition
// operators" and "IfExists": what each says to a value that is the same, that
// differs in case, that differs, and that is absent.
func TestOperatorsDecideAsInAWS(t *testing.T) {
	for operator, want := range map[string]string{
		"StringEquals":                      "yes no no no",
		"StringEqualsIfExists":              "yes no no yes",
		"StringNotEquals":                   "no yes yes yes",
		"StringNotEqualsIfExists":           "no yes yes yes",
		"StringEqualsIgnoreCase":            "yes yes no no",
		"StringEqualsIgnoreCaseIfExists":    "yes yes no yes",
		"StringNotEqualsIgnoreCase":         "no no yes yes",
		"StringNotEqualsIgnoreCaseIfExists": "no no yes yes",
		"StringLike":                        "yes no no no",
		"StringNotLike":                     "no yes yes yes",
		"Bool":                              "yes yes no no",
	} {
		p := parse(t, statement("Allow", all, `"kms:Decrypt"`, `"`+operator+`":{"kms:RecipientAttestation:PCR0":"ab"}`))
		var got []string
		for _, r := range []policy.Request{
			decrypt("kms:recipientattestation:pcr0", "ab"), decrypt("kms:recipientattestation:pcr0", "AB"),
			decrypt("kms:recipientattestation:pcr0", "cd"), decrypt(),
		} {
			got = append(got, map[bool]string{true: "yes", false: "no"}[p.Decide(r) == policy.Allowed])
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: got %s, want %s", operator, s, want)
		}
	}
}

func TestNullAsksForAbsence(t *testing.T) {
	for value, absentIsAllowed := range map[string]bool{"true": true, "false": false} {
		p := parse(t, statement("Allow", all, `"kms:Decrypt"`, `"Null":{"kms:RecipientAttestation:PCR0":"`+value+`"}`))
		if got := p.Decide(decrypt()) == policy.Allowed; got != absentIsAllowed {
			t.Errorf("%s, absent: got %v", value, got)
		}
		if got := p.Decide(decrypt("kms:recipientattestation:pcr0", "ab")) == policy.Allowed; got == absentIsAllowed {
			t.Errorf("%s, present: got %v", value, got)
		}
	}
}

func TestValuesAreAlternativesAndKeysAreNot(t *testing.T) {
	p := parse(t, statement("Deny", all, `"kms:Decrypt"`, `"StringNotEquals":{"a":["1","2"],"b":"1"}`))
	for want, keys := range map[policy.Decision][]string{
		policy.NotAllowed: {"a", "2", "b", "9"}, // the trap: one mismatch alone denies nothing
		policy.Denied:     {"a", "3", "b", "9"},
	} {
		if got := p.Decide(decrypt(keys...)); got != want {
			t.Errorf("%q: got %v, want %v", keys, got, want)
		}
	}
}

func TestWhatIsNotKnownIsRefused(t *testing.T) {
	allow := statement("Allow", all, `"kms:*"`, "")
	document := func(statements string) string { return `{"Version":"2012-10-17","Statement":[` + statements + `]}` }
	for name, text := range map[string]string{
		"no statement":      document(""),
		"no version":        `{"Statement":[` + allow + `]}`,
		"an unknown member": document(strings.Replace(allow, `"Resource"`, `"NotResource"`, 1)),
		"a service":         document(strings.Replace(allow, `"AWS"`, `"Service"`, 1)),
		"an effect":         document(strings.Replace(allow, "Allow", "Perhaps", 1)),
		"an operator":       document(statement("Allow", all, `"kms:*"`, `"NumericEquals":{"a":"1"}`)),
		"a set operator":    document(statement("Allow", all, `"kms:*"`, `"ForAnyValue:StringEquals":{"a":"1"}`)),
		"NullIfExists":      document(statement("Allow", all, `"kms:*"`, `"NullIfExists":{"a":"true"}`)),
		"no value":          document(statement("Allow", all, `"kms:*"`, `"StringEquals":{"a":[]}`)),
		"a number":          document(statement("Allow", all, `"kms:*"`, `"StringEquals":{"a":1}`)),
		"no action":         document(`{"Effect":"Allow","Principal":"*","Resource":"*"}`),
		"two documents":     document(allow) + document(allow),
		"too much":          document(allow) + strings.Repeat(" ", policy.MaxSize),
	} {
		if p, err := policy.Parse([]byte(text)); err == nil || p != nil {
			t.Errorf("%s: read", name)
		}
	}
}
