package sshsig

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// MaxSignersSize bounds an allowed-signers file.
const MaxSignersSize = 1 << 20

// Signers are those whose signature counts. The zero value has none.
type Signers []signer

// A signer is one line of the file.
type signer struct {
	principals string
	namespaces string    // a pattern list; empty allows all
	key        publicKey // zero where its type is none of ours

	// Zero where the file sets no limit.
	validAfter, validBefore time.Time

	// authority marks the key of an authority, whose certificates are not
	// accepted here.
	authority bool
}

// ParseSigners reads an allowed-signers file, as ssh-keygen(1) describes it. A
// line that cannot be read is an error. Lines with keys of other types, and
// certificate authorities, are read and never match.
func ParseSigners(data []byte) (Signers, error) {
	if len(data) > MaxSignersSize {
		return nil, fmt.Errorf("allowed signers: got %d bytes, want at most %d", len(data), MaxSignersSize)
	}
	var signers Signers
	n := 0
	for line := range strings.Lines(string(data)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		s, err := parseSigner(line)
		if err != nil {
			return nil, fmt.Errorf("allowed signers, line %d: %w", n, err)
		}
		signers = append(signers, s)
	}
	if len(signers) == 0 {
		return nil, errors.New("allowed signers: the file names nobody")
	}
	return signers, nil
}

// parseSigner reads principals, options, key type, key and comment.
func parseSigner(line string) (signer, error) {
	fields, err := split(line)
	if err != nil {
		return signer{}, err
	}
	if len(fields) < 3 {
		return signer{}, errors.New("want principals, a key type and a key")
	}
	s := signer{principals: strings.Trim(fields[0], `"`)}
	fields = fields[1:]
	if !isKeyType(fields[0]) {
		if err := s.parseOptions(fields[0]); err != nil {
			return signer{}, err
		}
		fields = fields[1:]
	}
	if len(fields) < 2 || !isKeyType(fields[0]) {
		return signer{}, errors.New("want a key type and a key")
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(fields[1])
	if err != nil {
		return signer{}, fmt.Errorf("key: %w", err)
	}
	in := reader{rest: blob}
	if kind := string(in.string()); kind != fields[0] {
		return signer{}, fmt.Errorf("a key of type %q named as %q", clip(kind), clip(fields[0]))
	}
	if s.key, err = parsePublicKey(blob); err != nil && isSupported(fields[0]) {
		return signer{}, err
	}
	return s, nil
}

func isSupported(kind string) bool {
	return slices.Contains([]string{typeEd25519, typeSecurityEd25519, typeECDSA256, typeECDSA384, typeECDSA521}, kind)
}

// isKeyType tells a key type from options.
func isKeyType(field string) bool {
	for _, prefix := range []string{"ssh-", "ecdsa-", "sk-", "rsa-"} {
		if strings.HasPrefix(field, prefix) && !strings.ContainsAny(field, `=,"`) {
			return true
		}
	}
	return false
}

// split cuts a line at spaces outside of double quotes.
func split(line string) ([]string, error) {
	quoted := false
	fields := strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t')
	})
	if quoted {
		return nil, errors.New("a quote is not closed")
	}
	return fields, nil
}

// parseOptions reads a list such as namespaces="a,b",valid-before="20270101".
func (s *signer) parseOptions(list string) error {
	quoted := false
	options := strings.FieldsFunc(list, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && r == ','
	})
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		var err error
		switch strings.ToLower(name) {
		case "namespaces":
			if s.namespaces = value; value == "" {
				err = errors.New("want a list of namespaces")
			}
		case "valid-after":
			s.validAfter, err = parseTime(value)
		case "valid-before":
			s.validBefore, err = parseTime(value)
		case "cert-authority":
			s.authority = true
		default:
			err = errors.New("no such option")
		}
		if err != nil {
			return fmt.Errorf("option %q: %w", clip(name), err)
		}
	}
	return nil
}

// parseTime reads YYYYMMDD[HHMM[SS]][Z]: local time unless Z follows.
func parseTime(s string) (time.Time, error) {
	digits, utc := strings.CutSuffix(s, "Z")
	location := time.Local
	if utc {
		location = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(digits) == len(layout) {
			return time.ParseInLocation(layout, digits, location)
		}
	}
	return time.Time{}, fmt.Errorf("got time %q, want YYYYMMDD[HHMM[SS]][Z]", clip(s))
}

// find returns the principals of the first line that allows a key. If none
// does, the error says what kept the key's own line from it.
func (list Signers) find(key publicKey, namespace string, at time.Time) (string, error) {
	why := "it is not in the file"
	for _, s := range list {
		switch {
		case s.key.kind == "" || !s.key.equal(key):
		case s.authority:
			why = fmt.Sprintf("%q is an authority, and certificates are not accepted", s.principals)
		case s.namespaces != "" && !matchList(s.namespaces, namespace):
			why = fmt.Sprintf("%q is allowed in other namespaces", s.principals)
		case !s.validAfter.IsZero() && at.Before(s.validAfter), !s.validBefore.IsZero() && at.After(s.validBefore):
			why = fmt.Sprintf("%q is not allowed at this time", s.principals)
		default:
			return s.principals, nil
		}
	}
	return "", fmt.Errorf("SSH signature: valid, but by a key that is no allowed signer: %s", why)
}

// matchList applies a pattern list of ssh_config(5): one pattern must match,
// and none that begins with an exclamation mark.
func matchList(list, s string) bool {
	found := false
	for pattern := range strings.SplitSeq(list, ",") {
		pattern, negated := strings.CutPrefix(strings.TrimSpace(pattern), "!")
		if !match(pattern, s) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// match applies one pattern, in which * stands for any characters and ? for
// one.
func match(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		for i := range len(s) + 1 {
			if match(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	return s != "" && (pattern[0] == '?' || pattern[0] == s[0]) && match(pattern[1:], s[1:])
}
