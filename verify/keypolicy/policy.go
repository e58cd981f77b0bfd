// Package keypolicy writes and checks AWS KMS key policies that release a key
// to attested enclaves only.
//
// A key policy that names the right measurements can still be walked around: by
// a delegation to the account's root, a grant, a re-encryption, a replica, an
// operator that is true when a key is absent. [Lint] has one numbered rule for
// each way around that is known, and [Generate] writes from PCRS.md a policy
// that breaks none. Neither can close the last one: whoever may put a new
// policy may undo all of it, and [Lint] says who that is.
package keypolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// MaxSize is the size of the largest key policy that KMS takes.
const MaxSize = 32 << 10

// maxNesting bounds the nesting of JSON: a condition's values are at depth 6.
const maxNesting = 8

// A policy is the part of a policy document that rules look at.
type policy struct {
	version    string
	statements []statement
}

// A statement is one element of a policy, with single values and lists made
// alike.
type statement struct {
	sid        string
	effect     string
	principals []string // "*", ARNs, or TYPE:NAME for other types
	actions    []string // lower case
	resources  []string
	negated    []string // NotPrincipal, NotAction, NotResource
	conditions []condition
}

// A condition is one key under one operator. Keys are case-insensitive and
// stand here in lower case.
type condition struct {
	operator, key string
	values        []string
}

func (s statement) name(i int) string {
	if s.sid != "" {
		return fmt.Sprintf("statement %q", s.sid)
	}
	return fmt.Sprintf("statement %d", i+1)
}

// parsePolicy reads a policy document. Unknown elements and members that stand
// twice are errors: a reader and KMS could understand them differently.
func parsePolicy(data []byte) (*policy, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("got %d bytes, want at most %d", len(data), MaxSize)
	}
	if err := checkMembers(data); err != nil {
		return nil, err
	}
	top, err := object(data, "Version", "Id", "Statement")
	if err != nil {
		return nil, err
	}
	p := &policy{}
	if err := optional(top, "Version", &p.version); err != nil {
		return nil, err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(top["Statement"], &raw); err != nil {
		raw = []json.RawMessage{top["Statement"]}
	}
	for i, element := range raw {
		s, err := parseStatement(element)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name(i), err)
		}
		p.statements = append(p.statements, s)
	}
	if len(p.statements) == 0 {
		return nil, errors.New("no statement")
	}
	return p, nil
}

func parseStatement(data []byte) (s statement, err error) {
	members, err := object(data, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition")
	if err != nil {
		return s, err
	}
	if err := optional(members, "Sid", &s.sid); err != nil {
		return s, err
	}
	if err := optional(members, "Effect", &s.effect); err != nil {
		return s, err
	}
	if s.effect != "Allow" && s.effect != "Deny" {
		return s, fmt.Errorf("got effect %q, want Allow or Deny", s.effect)
	}
	for _, name := range []string{"NotPrincipal", "NotAction", "NotResource"} {
		if members[name] != nil {
			s.negated = append(s.negated, name)
		}
	}
	if s.principals, err = parsePrincipals(members["Principal"]); err != nil {
		return s, err
	}
	if s.actions, err = list(members["Action"]); err != nil {
		return s, fmt.Errorf("action: %w", err)
	}
	for i, a := range s.actions {
		s.actions[i] = strings.ToLower(a)
	}
	if s.resources, err = list(members["Resource"]); err != nil {
		return s, fmt.Errorf("resource: %w", err)
	}
	if len(s.principals) == 0 && members["NotPrincipal"] == nil || len(s.actions) == 0 && members["NotAction"] == nil {
		return s, errors.New("no principal or no action")
	}
	s.conditions, err = parseConditions(members["Condition"])
	return s, err
}

func parsePrincipals(data json.RawMessage) ([]string, error) {
	if data == nil {
		return nil, nil
	}
	if names, err := list(data); err == nil {
		return names, nil
	}
	types, err := object(data, "AWS", "Service", "Federated", "CanonicalUser")
	if err != nil {
		return nil, fmt.Errorf("principal: %w", err)
	}
	var out []string
	for kind, value := range types {
		names, err := list(value)
		if err != nil {
			return nil, fmt.Errorf("principal: %w", err)
		}
		for _, name := range names {
			if kind != "AWS" {
				name = kind + ":" + name
			}
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func parseConditions(data json.RawMessage) ([]condition, error) {
	if data == nil {
		return nil, nil
	}
	var operators map[string]map[string]json.RawMessage
	if err := json.Unmarshal(data, &operators); err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	var out []condition
	for operator, keys := range operators {
		for key, value := range keys {
			values, err := list(value)
			if err != nil {
				return nil, fmt.Errorf("condition %s: %w", key, err)
			}
			out = append(out, condition{operator, strings.ToLower(key), values})
		}
	}
	slices.SortFunc(out, func(a, b condition) int {
		return strings.Compare(a.operator+"\x00"+a.key, b.operator+"\x00"+b.key)
	})
	return out, nil
}

// list reads a string, or an array of strings.
func list(data json.RawMessage) ([]string, error) {
	if data == nil {
		return nil, nil
	}
	var one string
	if json.Unmarshal(data, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return nil, errors.New("want a string or a list of strings")
	}
	return many, nil
}

func optional(members map[string]json.RawMessage, name string, into *string) error {
	if members[name] == nil {
		return nil
	}
	if err := json.Unmarshal(members[name], into); err != nil {
		return fmt.Errorf("%s: want a string", name)
	}
	return nil
}

// object reads an object that has no members but the named ones.
func object(data []byte, names ...string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, errors.New("want a JSON object")
	}
	for name := range members {
		if !slices.Contains(names, name) {
			return nil, fmt.Errorf("unknown element %q", name)
		}
	}
	return members, nil
}

// checkMembers walks one JSON value and refuses members that stand twice,
// deep nesting, and anything after the value.
func checkMembers(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("malformed JSON: more after the policy")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxNesting {
		return errors.New("nested too deeply")
	}
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			name, err := dec.Token()
			if err != nil {
				return fmt.Errorf("malformed JSON: %w", err)
			}
			// Condition keys are case-insensitive, so two spellings of one
			// key are one member too.
			folded := strings.ToLower(fmt.Sprint(name))
			if seen[folded] {
				return fmt.Errorf("member %q stands twice", name)
			}
			seen[folded] = true
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}
