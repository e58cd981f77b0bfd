// Package policy decides by a KMS key policy whether a call is allowed, as AWS
// does: an explicit Deny wins, then an Allow is needed, and a condition on a key
// that the request lacks is false unless its operator is negated.
//
// It knows the elements that key policies for enclaves use, and refuses a policy
// with others rather than to decide by half of it. There is no IAM beside it: a
// statement that allows the root of an account, which in AWS delegates to IAM,
// allows the root alone; one that denies it denies the whole account, as in AWS.
//
// It is written apart from the linter and generator of verify/keypolicy, which
// tests compare with it.
package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// MaxSize bounds a policy in bytes (KMS API reference, PutKeyPolicy).
const MaxSize = 32 << 10

// A Request is a call to decide on.
type Request struct {
	Principal string // ARN of the caller's role or user
	Action    string // "kms:Decrypt"
	Resource  string // ARN of the key

	// Keys are the condition keys of the request, with names in lower case.
	Keys map[string]string
}

// A Decision is what a policy says. The zero value is no.
type Decision int

// The decisions.
const (
	NotAllowed Decision = iota // no statement allows it
	Denied                     // a statement denies it
	Allowed
)

// A Policy is a key policy. The zero value allows nothing.
type Policy struct{ statements []statement }

// names is a string or a list of them.
type names []string

// UnmarshalJSON reads either.
func (n *names) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*n = names{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil || len(many) == 0 {
		return errors.New("want a string or a list of strings")
	}
	*n = many
	return nil
}

// principals is "*", or AWS principals.
type principals struct{ AWS names }

// UnmarshalJSON reads either.
func (p *principals) UnmarshalJSON(data []byte) error {
	if string(data) == `"*"` {
		p.AWS = names{"*"}
		return nil
	}
	type plain principals
	return strict(data, (*plain)(p))
}

type statement struct {
	Sid       string
	Effect    string
	Principal principals
	Action    names
	Resource  names
	Condition map[string]map[string]names
}

// Parse reads a policy. Whatever this package does not know is an error.
func Parse(data []byte) (*Policy, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("policy: got %d bytes, want at most %d", len(data), MaxSize)
	}
	var document struct {
		Version, ID string
		Statement   []statement
	}
	if err := strict(data, &document); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if document.Version != "2012-10-17" || len(document.Statement) == 0 {
		return nil, fmt.Errorf("policy: got version %q and %d statements", document.Version, len(document.Statement))
	}
	for i, s := range document.Statement {
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("policy: statement %d: %w", i+1, err)
		}
	}
	return &Policy{statements: document.Statement}, nil
}

// strict reads one JSON value without unknown members.
func strict(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("more after the end")
	}
	return nil
}

func (s statement) check() error {
	if s.Effect != "Allow" && s.Effect != "Deny" {
		return fmt.Errorf("got effect %q", s.Effect)
	}
	if len(s.Principal.AWS) == 0 || len(s.Action) == 0 || len(s.Resource) == 0 {
		return errors.New("want a principal, an action and a resource")
	}
	for name, keys := range s.Condition {
		if _, err := parseOperator(name); err != nil {
			return err
		}
		for key, values := range keys {
			if len(values) == 0 {
				return fmt.Errorf("condition %s has no value", key)
			}
		}
	}
	return nil
}

// Decide applies the policy.
func (p *Policy) Decide(r Request) Decision {
	decision := NotAllowed
	for _, s := range p.statements {
		if !s.covers(r) {
			continue
		}
		if s.Effect == "Deny" {
			return Denied
		}
		decision = Allowed
	}
	return decision
}

func (s statement) covers(r Request) bool {
	return s.names(r.Principal) && like(s.Action, r.Action, true) && like(s.Resource, r.Resource, false) && s.holds(r.Keys)
}

// names tells whether the statement is about a principal.
func (s statement) names(principal string) bool {
	account := ""
	if parts := strings.SplitN(principal, ":", 6); len(parts) == 6 {
		account = "arn:" + parts[1] + ":iam::" + parts[4] + ":root"
	}
	for _, name := range s.Principal.AWS {
		if name == "*" || name == principal || s.Effect == "Deny" && name == account {
			return true
		}
	}
	return false
}

// holds tells whether every condition does: all operators and all their keys.
func (s statement) holds(keys map[string]string) bool {
	for name, conditions := range s.Condition {
		o, err := parseOperator(name)
		if err != nil {
			return false // check has refused it
		}
		for key, wanted := range conditions {
			value, present := keys[strings.ToLower(key)]
			if !o.holds(value, present, wanted) {
				return false
			}
		}
	}
	return true
}

// An operator compares one key of a request.
type operator struct {
	negated, ifExists, null bool
	same                    func(value, wanted string) bool
}

var operators = map[string]operator{
	"StringEquals":              {same: func(a, b string) bool { return a == b }},
	"StringNotEquals":           {same: func(a, b string) bool { return a == b }, negated: true},
	"StringEqualsIgnoreCase":    {same: strings.EqualFold},
	"StringNotEqualsIgnoreCase": {same: strings.EqualFold, negated: true},
	"StringLike":                {same: func(a, b string) bool { return like(names{b}, a, false) }},
	"StringNotLike":             {same: func(a, b string) bool { return like(names{b}, a, false) }, negated: true},
	"Bool":                      {same: strings.EqualFold},
	"Null":                      {null: true},
}

func parseOperator(name string) (operator, error) {
	base, ifExists := strings.CutSuffix(name, "IfExists")
	o, known := operators[base]
	if !known || o.null && ifExists {
		return operator{}, fmt.Errorf("unknown condition operator %q", name)
	}
	o.ifExists = ifExists
	return o, nil
}

// holds applies the operator: several values are alternatives.
func (o operator) holds(value string, present bool, wanted names) bool {
	if o.null {
		return wanted[0] == fmt.Sprint(!present)
	}
	if !present {
		return o.negated || o.ifExists
	}
	for _, w := range wanted {
		if o.same(value, w) {
			return !o.negated
		}
	}
	return o.negated
}

// like tells whether one of IAM's patterns, with * and ?, fits a whole name.
func like(patterns names, name string, foldCase bool) bool {
	for _, pattern := range patterns {
		expression := regexp.QuoteMeta(pattern)
		expression = strings.ReplaceAll(expression, `\*`, "(?s:.*)")
		expression = strings.ReplaceAll(expression, `\?`, "(?s:.)")
		flags := ""
		if foldCase {
			flags = "(?i)"
		}
		if regexp.MustCompile(flags + "^(?:" + expression + ")$").MatchString(name) {
			return true
		}
	}
	return false
}
