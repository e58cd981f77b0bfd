package keypolicy

import (
	"fmt"
	"slices"
	"strings"

	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// A rule is one way around a key policy. find returns what opens it, or "".
type rule struct {
	id, what, expected string
	find               func(*policy, *pcrs.File) []string
}

// rules are in the order of their numbers.
var rules = []rule{
	{"K2", "delegation to everybody", "no account root and no * without measurements", openPrincipals},
	{"K3", "actions by name", "known actions, no wildcards", wildcardActions},
	{"K4", "negated elements", "no NotPrincipal, NotAction, NotResource", negatedElements},
	{"K5", "attested decryption", "PCR0, PCR1 and PCR2 on every action that yields plaintext", unattested},
	{"K6", "re-encryption", "not allowed", allowing("re-encrypts under another key", "kms:reencryptfrom", "kms:reencryptto")},
	{"K7", "grants", "not allowed", allowing("a grant knows no measurements", "kms:creategrant")},
	{"K8", "replicas", "not allowed", allowing("a replica has its own policy", "kms:replicatekey", "kms:updateprimaryregion")},
	{"K9", "imported key material", "not allowed", allowing("whoever imports a key has it", "kms:importkeymaterial", "kms:getparametersforimport")},
	{"K10", "provisioning", "an encryption context on every action that yields ciphertext", unboundCiphertext},
	{"K11", "measurements of zero", "none: they are those of debug mode", zeroMeasurements},
	{"K12", "form of the measurements", "96 lower-case hexadecimal digits", malformedMeasurements},
	{"K13", "PCR4", "not used: it changes with the instance", instancePins},
	{"K14", "operators", "StringEquals or StringEqualsIgnoreCase in Allow, their negations in Deny", oddOperators},
	{"K15", "one release a statement", "one value a PCR in Allow", mixedReleases},
	{"K16", "one PCR a denial", "one PCR in each Deny", joinedDenials},
	{"K17", "denial of everything else", "a Deny to all for each of PCR0, PCR1 and PCR2", missingDenials},
	{"K18", "denial of the ways around", "a Deny to all of grants, re-encryption and replicas", missingBypassDenial},
	{"K19", "agreement with PCRS.md", "each Allow is one active release", unpublished},
	{"K20", "agreement of Deny with Allow", "the same measurements", strayDenials},
	{"K21", "aliases", "not used: they can be moved", aliases},
}

// Lint checks a key policy, and notes for each rule whether it holds. K1 is the
// form of the document; if it fails, the others are skipped. K22 is no rule but
// a notice: who can replace the policy.
func Lint(data []byte, published *pcrs.File) []report.Check {
	const form = "a policy of Version 2012-10-17, at most 32 KiB"
	p, err := parsePolicy(data)
	if err == nil && p.version != "2012-10-17" {
		err = fmt.Errorf("version %q", p.version)
	}
	if err != nil {
		return skipAll(report.Check{ID: "K1", What: "form", Expected: form, Got: err.Error(), Verdict: report.Fail})
	}
	checks := []report.Check{{ID: "K1", What: "form", Expected: form, Got: fmt.Sprintf("%d statements", len(p.statements)), Verdict: report.Pass}}
	for _, r := range rules {
		c := report.Check{ID: r.id, What: r.what, Expected: r.expected, Got: "so", Verdict: report.Pass}
		if found := r.find(p, published); len(found) > 0 {
			c.Verdict, c.Got = report.Fail, strings.Join(found, "; ")
		}
		checks = append(checks, c)
	}
	return append(checks, residualTrust(p))
}

func skipAll(first report.Check) []report.Check {
	checks := []report.Check{first}
	for _, r := range rules {
		checks = append(checks, report.Check{ID: r.id, What: r.what, Expected: r.expected, Got: "K1 failed", Verdict: report.Skipped})
	}
	return checks
}

// Passed tells whether every rule holds.
func Passed(checks []report.Check) bool {
	return len(checks) > len(rules) && !slices.ContainsFunc(checks, func(c report.Check) bool { return c.Verdict != report.Pass })
}

// residualTrust names the principals that can undo the policy.
func residualTrust(p *policy) report.Check {
	var who []string
	for _, s := range p.statements {
		if s.effect == "Allow" && s.covers("kms:putkeypolicy") {
			who = append(who, s.principals...)
		}
	}
	got := "nobody: the policy is final"
	if len(who) > 0 {
		got = "trusted to leave it alone: " + strings.Join(slices.Compact(who), ", ")
	}
	return report.Check{ID: "K22", What: "who can replace this policy", Got: got, Verdict: report.Pass}
}

// each collects what find says about the statements of one effect.
func each(p *policy, effect string, find func(s statement) string) []string {
	var found []string
	for i, s := range p.statements {
		if s.effect != effect {
			continue
		}
		if problem := find(s); problem != "" {
			found = append(found, s.name(i)+": "+problem)
		}
	}
	return found
}

// covers tells whether the statement's actions include one, by name or by
// wildcard.
func (s statement) covers(action string) bool {
	return slices.ContainsFunc(s.actions, func(pattern string) bool { return matches(pattern, action) })
}

// matches applies IAM's wildcards, * and ?, in time proportional to the product
// of both lengths.
func matches(pattern, name string) bool {
	p, n, star, resume := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0: // let the last star take one more
			resume++
			p, n = star+1, resume
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// plaintextActions yield plaintext, and take an attestation document.
var plaintextActions = []string{"kms:decrypt", "kms:derivesharedsecret", "kms:generatedatakey", "kms:generatedatakeypair"}

// ciphertextActions yield ciphertext that an enclave would later trust.
var ciphertextActions = []string{"kms:encrypt", "kms:generatedatakey", "kms:generatedatakeypair", "kms:generatedatakeywithoutplaintext", "kms:generatedatakeypairwithoutplaintext"}

// bypassActions lead around the measurements.
var bypassActions = []string{"kms:reencryptfrom", "kms:reencryptto", "kms:creategrant", "kms:replicatekey", "kms:updateprimaryregion"}

// administrativeActions give nobody plaintext.
var administrativeActions = []string{
	"kms:describekey", "kms:getkeypolicy", "kms:putkeypolicy", "kms:listkeypolicies", "kms:listgrants", "kms:revokegrant",
	"kms:retiregrant", "kms:tagresource", "kms:untagresource", "kms:listresourcetags", "kms:enablekey", "kms:disablekey",
	"kms:schedulekeydeletion", "kms:cancelkeydeletion", "kms:enablekeyrotation", "kms:disablekeyrotation",
	"kms:getkeyrotationstatus", "kms:rotatekeyondemand", "kms:listkeyrotations", "kms:updatekeydescription", "kms:getpublickey",
}

// pcrKey returns the condition key of a register, in lower case.
func pcrKey(index int) string { return fmt.Sprintf("kms:recipientattestation:pcr%d", index) }

// imageKey is another name of PCR0.
const imageKey = "kms:recipientattestation:imagesha384"

// isMeasurement tells whether a condition is about a register of an enclave.
func (c condition) isMeasurement() bool {
	return strings.HasPrefix(c.key, "kms:recipientattestation:")
}

// isPCR tells whether a condition is about one register.
func (c condition) isPCR(index int) bool {
	return c.key == pcrKey(index) || index == 0 && c.key == imageKey
}

func equality(operator string) bool {
	return operator == "StringEquals" || operator == "StringEqualsIgnoreCase"
}

func inequality(operator string) bool {
	return operator == "StringNotEquals" || operator == "StringNotEqualsIgnoreCase"
}

// attested tells whether the statement asks for PCR0, PCR1 and PCR2, and says
// which it lacks.
func (s statement) attested() (missing []string) {
	for i := range 3 {
		if !slices.ContainsFunc(s.conditions, func(c condition) bool { return c.isPCR(i) && equality(c.operator) && len(c.values) > 0 }) {
			missing = append(missing, fmt.Sprintf("PCR%d", i))
		}
	}
	return missing
}

// openPrincipals is K2.
func openPrincipals(p *policy, _ *pcrs.File) []string {
	return each(p, "Allow", func(s statement) string {
		for _, principal := range s.principals {
			if (principal == "*" || strings.HasSuffix(principal, ":root") || isAccount(principal) || strings.ContainsAny(principal, "*?")) && len(s.attested()) > 0 {
				return fmt.Sprintf("principal %s", principal)
			}
		}
		return ""
	})
}

// isAccount tells whether a principal is a bare account number, which means
// its root.
func isAccount(principal string) bool {
	return len(principal) == 12 && strings.Trim(principal, "0123456789") == ""
}

// wildcardActions is K3.
func wildcardActions(p *policy, _ *pcrs.File) []string {
	known := slices.Concat(administrativeActions, plaintextActions, ciphertextActions, bypassActions,
		[]string{"kms:importkeymaterial", "kms:getparametersforimport", "kms:generaterandom"})
	return each(p, "Allow", func(s statement) string {
		for _, action := range s.actions {
			if !slices.Contains(known, action) {
				return "action " + action
			}
		}
		return ""
	})
}

// negatedElements is K4.
func negatedElements(p *policy, _ *pcrs.File) []string {
	var found []string
	for i, s := range p.statements {
		if len(s.negated) > 0 {
			found = append(found, s.name(i)+": "+strings.Join(s.negated, ", "))
		}
	}
	return found
}

// unattested is K5. It also catches policies on PCR0 or PCR8 alone: sections
// are measured without separators, and a signing key signs anything.
func unattested(p *policy, _ *pcrs.File) []string {
	return each(p, "Allow", func(s statement) string {
		for _, action := range plaintextActions {
			if missing := s.attested(); s.covers(action) && len(missing) > 0 {
				return fmt.Sprintf("%s without %s", action, strings.Join(missing, ", "))
			}
		}
		return ""
	})
}

// allowing makes the rule that no Allow covers some actions.
func allowing(why string, actions ...string) func(*policy, *pcrs.File) []string {
	return func(p *policy, _ *pcrs.File) []string {
		return each(p, "Allow", func(s statement) string {
			for _, action := range actions {
				if s.covers(action) {
					return action + ": " + why
				}
			}
			return ""
		})
	}
}

// unboundCiphertext is K10: without an encryption context, one ciphertext can
// be put in another's place.
func unboundCiphertext(p *policy, _ *pcrs.File) []string {
	return each(p, "Allow", func(s statement) string {
		bound := slices.ContainsFunc(s.conditions, func(c condition) bool {
			return strings.HasPrefix(c.key, "kms:encryptioncontext:") && c.operator == "StringEquals"
		})
		for _, action := range append([]string{"kms:decrypt"}, ciphertextActions...) {
			if s.covers(action) && !bound {
				return action + " with any encryption context"
			}
		}
		return ""
	})
}

// measurements calls find for every value of every measurement.
func measurements(p *policy, find func(c condition, value string) string) []string {
	var found []string
	for i, s := range p.statements {
		for _, c := range s.conditions {
			if !c.isMeasurement() {
				continue
			}
			for _, value := range c.values {
				if problem := find(c, value); problem != "" {
					found = append(found, s.name(i)+": "+problem)
				}
			}
		}
	}
	return found
}

// zeroMeasurements is K11.
func zeroMeasurements(p *policy, _ *pcrs.File) []string {
	return measurements(p, func(c condition, value string) string {
		if value != "" && strings.Trim(value, "0") == "" {
			return c.key + " is zero"
		}
		return ""
	})
}

// malformedMeasurements is K12. KMS compares with lower-case digits.
func malformedMeasurements(p *policy, _ *pcrs.File) []string {
	return measurements(p, func(c condition, value string) string {
		if _, err := pcrs.ParsePCR(value); err != nil {
			return fmt.Sprintf("%s: %v", c.key, err)
		}
		return ""
	})
}

// instancePins is K13.
func instancePins(p *policy, _ *pcrs.File) []string {
	return measurements(p, func(c condition, _ string) string {
		if c.isPCR(4) {
			return "PCR4 is that of one instance"
		}
		return ""
	})
}

// oddOperators is K14. A negated operator, or one with IfExists, is true when
// there is no attestation document; StringLike takes wildcards.
func oddOperators(p *policy, _ *pcrs.File) []string {
	var found []string
	for i, s := range p.statements {
		for _, c := range s.conditions {
			fits := equality
			if s.effect == "Deny" {
				fits = inequality
			}
			if c.isMeasurement() && !fits(c.operator) {
				found = append(found, fmt.Sprintf("%s: %s on %s", s.name(i), c.operator, c.key))
			}
		}
	}
	return found
}

// mixedReleases is K15: lists of values would accept PCR0 of one release with
// PCR1 of another.
func mixedReleases(p *policy, _ *pcrs.File) []string {
	return each(p, "Allow", func(s statement) string {
		for _, c := range s.conditions {
			if c.isMeasurement() && len(c.values) != 1 {
				return fmt.Sprintf("%d values of %s", len(c.values), c.key)
			}
		}
		return ""
	})
}

// joinedDenials is K16: several conditions of one statement must all hold, so
// the Deny would apply only if every register differs.
func joinedDenials(p *policy, _ *pcrs.File) []string {
	return each(p, "Deny", func(s statement) string {
		if len(s.conditions) > 1 && slices.ContainsFunc(s.conditions, condition.isMeasurement) {
			return fmt.Sprintf("%d conditions at once", len(s.conditions))
		}
		return ""
	})
}

// toAll tells whether a Deny applies to everybody and everything.
func (s statement) toAll() bool {
	return s.effect == "Deny" && slices.Contains(s.principals, "*") && slices.Contains(s.resources, "*") && len(s.negated) == 0
}

// denies returns the values that a Deny to all lets pass for one register and
// action, and whether there is such a statement.
func (p *policy) denies(action string, index int) ([]string, bool) {
	for _, s := range p.statements {
		if s.toAll() && s.covers(action) && len(s.conditions) == 1 && s.conditions[0].isPCR(index) && inequality(s.conditions[0].operator) {
			return s.conditions[0].values, true
		}
	}
	return nil, false
}

// missingDenials is K17. An explicit Deny holds against every other statement,
// grant and identity policy; its negated operator is true for requests without
// a document.
func missingDenials(p *policy, _ *pcrs.File) []string {
	var found []string
	for i := range 3 {
		for _, action := range plaintextActions {
			if _, ok := p.denies(action, i); !ok {
				found = append(found, fmt.Sprintf("no Deny of %s by PCR%d", action, i))
			}
		}
	}
	return found
}

// missingBypassDenial is K18.
func missingBypassDenial(p *policy, _ *pcrs.File) []string {
	var found []string
	for _, action := range bypassActions {
		denied := slices.ContainsFunc(p.statements, func(s statement) bool {
			return s.toAll() && len(s.conditions) == 0 && s.covers(action)
		})
		if !denied {
			found = append(found, "no Deny of "+action)
		}
	}
	return found
}

// allowed returns the measurements of the statements that allow plaintext.
func (p *policy) allowed() []statement {
	return slices.DeleteFunc(slices.Clone(p.statements), func(s statement) bool {
		return s.effect != "Allow" || len(s.attested()) > 0 || !slices.ContainsFunc(plaintextActions, s.covers)
	})
}

// value returns the one value that a statement asks of a register.
func (s statement) value(index int) pcrs.PCR {
	for _, c := range s.conditions {
		if c.isPCR(index) && equality(c.operator) && len(c.values) == 1 {
			v, _ := pcrs.ParsePCR(c.values[0])
			return v
		}
	}
	return pcrs.PCR{}
}

// unpublished is K19.
func unpublished(p *policy, published *pcrs.File) []string {
	if published == nil {
		return []string{"no PCRS.md to compare with"}
	}
	if len(p.allowed()) == 0 {
		return []string{"no attested statement allows anything"}
	}
	var found []string
	for i, s := range p.allowed() {
		entry, ok := published.Match(s.value(0), s.value(1), s.value(2))
		switch {
		case !ok:
			found = append(found, s.name(i)+": measurements that PCRS.md does not have")
		case entry.Status != pcrs.Active:
			found = append(found, fmt.Sprintf("%s: release %s is %s", s.name(i), entry.Version, entry.Status))
		case !entry.Image.PCR8.IsZero() && s.value(8) != entry.Image.PCR8:
			found = append(found, fmt.Sprintf("%s: release %s publishes another PCR8", s.name(i), entry.Version))
		}
	}
	return found
}

// strayDenials is K20: a value that only a Deny lets pass is left over from a
// release that is no longer allowed.
func strayDenials(p *policy, _ *pcrs.File) []string {
	var found []string
	for i := range 3 {
		var allowed []string
		for _, s := range p.allowed() {
			allowed = append(allowed, s.value(i).String())
		}
		for _, action := range plaintextActions {
			passed, _ := p.denies(action, i)
			for _, value := range passed {
				if !slices.Contains(allowed, strings.ToLower(value)) {
					found = append(found, fmt.Sprintf("%s lets PCR%d %.16s… pass, which no Allow has", action, i, value))
				}
			}
			for _, value := range allowed {
				if len(passed) > 0 && !slices.ContainsFunc(passed, func(v string) bool { return strings.EqualFold(v, value) }) {
					found = append(found, fmt.Sprintf("%s denies PCR%d %.16s…, which an Allow has", action, i, value))
				}
			}
		}
	}
	return slices.Compact(found)
}

// aliases is K21.
func aliases(p *policy, _ *pcrs.File) []string {
	var found []string
	for i, s := range p.statements {
		for _, resource := range s.resources {
			if strings.Contains(resource, ":alias/") || strings.HasPrefix(resource, "alias/") {
				found = append(found, s.name(i)+": resource "+resource)
			}
		}
		for _, c := range s.conditions {
			if c.key == "kms:requestalias" || c.key == "kms:resourcealiases" {
				found = append(found, s.name(i)+": condition on "+c.key)
			}
		}
	}
	return found
}
