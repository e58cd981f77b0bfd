package keypolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"holdfast/verify/attestation/document"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

// Parameters name the parties of a generated policy.
type Parameters struct {
	// ID is the policy's Id, for people.
	ID string

	// Administrator manages the key and cannot use it. Provisioner encrypts,
	// and Parent is the parent instance's role, on whose behalf an enclave
	// decrypts. All are ARNs of roles or users.
	Administrator, Provisioner, Parent string

	// Purpose is the encryption context that every use must carry.
	Purpose string

	// Configuration, where not zero, is the digest of the one configuration
	// that may decrypt; PCR16 shows it.
	Configuration [48]byte

	// Tables lets images decrypt what was encrypted without an encryption context,
	// such as the rows of AWS's sample, while they are moved over. Such a policy
	// breaks rule K10 of [Lint], and no other.
	Tables bool
}

// principal is the form of an ARN that names one role or user.
var principal = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]{1,512}$`)

// purpose is what an encryption context may be here: it is compared as it is.
var purpose = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,128}$`)

func (p Parameters) check() error {
	for _, party := range []struct{ name, arn string }{
		{"administrator", p.Administrator}, {"provisioner", p.Provisioner}, {"parent", p.Parent},
	} {
		if !principal.MatchString(party.arn) {
			return fmt.Errorf("%s: got %q, want the ARN of a role or user", party.name, party.arn)
		}
	}
	if p.Administrator == p.Parent || p.Administrator == p.Provisioner {
		return errors.New("the administrator must be nobody else: a second role would undo the separation")
	}
	if !purpose.MatchString(p.Purpose) {
		return fmt.Errorf("purpose: got %q, want 1 to 128 letters, digits and ._:/-", p.Purpose)
	}
	if p.ID == "" {
		return errors.New("the policy needs an id")
	}
	if p.Tables && p.Configuration == [48]byte{} {
		// Rows have no associated data, so another configuration could name a KMS of the
		// parent's to seal them for.
		return errors.New("tables: want a configuration too: without PCR16 in the policy the parent could have the rows sealed for itself")
	}
	return nil
}

// The JSON of a generated policy. Single values stand alone, as KMS returns
// them.
type (
	outPolicy struct {
		Version   string
		ID        string `json:"Id"`
		Statement []outStatement
	}
	outStatement struct {
		Sid       string
		Effect    string
		Principal map[string]string
		Action    any
		Resource  string
		Condition map[string]map[string]any `json:",omitempty"`
	}
)

// Generate writes the policy for every active entry of PCRS.md: one Allow an
// entry, one Deny a register, and a Deny of the ways around. It refuses to
// write a policy that [Lint] would not pass.
func Generate(f *pcrs.File, params Parameters) ([]byte, error) {
	if err := params.check(); err != nil {
		return nil, err
	}
	entries := slices.DeleteFunc(f.Entries(), func(e pcrs.Entry) bool { return e.Status != pcrs.Active })
	if len(entries) == 0 {
		return nil, errors.New("PCRS.md has no active release")
	}
	out := outPolicy{Version: "2012-10-17", ID: params.ID, Statement: []outStatement{params.administration(), params.provisioning()}}
	for _, e := range entries {
		out.Statement = append(out.Statement, params.allow(e))
		if params.Tables {
			out.Statement = append(out.Statement, params.allowTables(e))
		}
	}
	out.Statement = append(out.Statement, params.denials(entries)...)
	out.Statement = append(out.Statement, deny("Deny ways around", bypassActions, nil))
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return nil, err
	}
	if b.Len() > MaxSize {
		return nil, fmt.Errorf("%d active entries make a policy of %d bytes, and KMS takes %d: revoke old releases", len(entries), b.Len(), MaxSize)
	}
	for _, c := range Lint(b.Bytes(), f) {
		if c.Verdict != report.Pass && !(params.Tables && c.ID == contextRule) {
			return nil, fmt.Errorf("the policy breaks rule %s itself: %s", c.ID, c.Got)
		}
	}
	return b.Bytes(), nil
}

// administration lets the administrator manage the key, and neither use nor
// re-encrypt nor grant it.
func (p Parameters) administration() outStatement {
	return outStatement{
		Sid: "Administration", Effect: "Allow", Principal: map[string]string{"AWS": p.Administrator},
		Action: []string{
			"kms:DescribeKey", "kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:ListKeyPolicies", "kms:ListGrants", "kms:RevokeGrant",
			"kms:TagResource", "kms:UntagResource", "kms:ListResourceTags", "kms:EnableKey", "kms:DisableKey",
			"kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion",
		},
		Resource: "*",
	}
}

// provisioning lets the provisioner encrypt under the purpose.
func (p Parameters) provisioning() outStatement {
	return outStatement{
		Sid: "Provisioning", Effect: "Allow", Principal: map[string]string{"AWS": p.Provisioner},
		Action: "kms:Encrypt", Resource: "*",
		Condition: map[string]map[string]any{"StringEquals": {"kms:EncryptionContext:purpose": p.Purpose}},
	}
}

// allow lets one image decrypt, and make the data key of what it seals itself.
func (p Parameters) allow(e pcrs.Entry) outStatement {
	return outStatement{
		Sid: "Attested decrypt " + words(e.Version+" "+string(e.Image.Architecture)), Effect: "Allow",
		Principal: map[string]string{"AWS": p.Parent},
		Action:    []string{"kms:Decrypt", "kms:GenerateDataKey"}, Resource: "*",
		Condition: map[string]map[string]any{
			"StringEqualsIgnoreCase": p.measurements(e.Image),
			"StringEquals":           {"kms:EncryptionContext:purpose": p.Purpose},
		},
	}
}

// contextRule is the rule of [Lint] that wants an encryption context.
const contextRule = "K10"

// allowTables lets one image decrypt whatever context a ciphertext has, or none.
func (p Parameters) allowTables(e pcrs.Entry) outStatement {
	return outStatement{
		Sid: "Attested decrypt of tables " + words(e.Version+" "+string(e.Image.Architecture)), Effect: "Allow",
		Principal: map[string]string{"AWS": p.Parent},
		Action:    "kms:Decrypt", Resource: "*",
		Condition: map[string]map[string]any{"StringEqualsIgnoreCase": p.measurements(e.Image)},
	}
}

// measurements returns the registers that an image must show.
func (p Parameters) measurements(img pcrs.Image) map[string]any {
	m := map[string]any{}
	for index, value := range p.registers(img) {
		m[fmt.Sprintf("kms:RecipientAttestation:PCR%d", index)] = value.String()
	}
	return m
}

func (p Parameters) registers(img pcrs.Image) map[int]pcrs.PCR {
	m := map[int]pcrs.PCR{0: img.PCR0, 1: img.PCR1, 2: img.PCR2}
	if !img.PCR8.IsZero() {
		m[8] = img.PCR8
	}
	if p.Configuration != [48]byte{} {
		m[16] = document.Extend(pcrs.PCR{}, p.Configuration[:])
	}
	return m
}

// denials refuses plaintext to whatever shows another value, one statement a
// register. A register that some entry leaves open has none.
func (p Parameters) denials(entries []pcrs.Entry) []outStatement {
	var out []outStatement
	for _, index := range []int{0, 1, 2, 8, 16} {
		var values []string
		open := false
		for _, e := range entries {
			value, ok := p.registers(e.Image)[index]
			open = open || !ok
			if s := value.String(); ok && !slices.Contains(values, s) {
				values = append(values, s)
			}
		}
		if open {
			continue
		}
		out = append(out, deny(fmt.Sprintf("Deny other PCR%d", index), plaintextActions, map[string]map[string]any{
			"StringNotEqualsIgnoreCase": {fmt.Sprintf("kms:RecipientAttestation:PCR%d", index): values},
		}))
	}
	return out
}

// deny refuses actions to everybody.
func deny(sid string, actions []string, condition map[string]map[string]any) outStatement {
	return outStatement{
		Sid: sid, Effect: "Deny", Principal: map[string]string{"AWS": "*"},
		Action: spelled(actions), Resource: "*", Condition: condition,
	}
}

// spellings has the actions of denials as AWS writes them.
var spellings = []string{
	"kms:Decrypt", "kms:DeriveSharedSecret", "kms:GenerateDataKey", "kms:GenerateDataKeyPair",
	"kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:CreateGrant", "kms:ReplicateKey", "kms:UpdatePrimaryRegion",
}

func spelled(actions []string) []string {
	return slices.DeleteFunc(slices.Clone(spellings), func(s string) bool { return !slices.Contains(actions, strings.ToLower(s)) })
}

// words replaces what a Sid may not have by spaces.
func words(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return ' '
	}, s)
}

// ResidualTrust says what a generated policy does not prevent.
func ResidualTrust(p Parameters) string {
	tables := ""
	if p.Tables {
		tables = "\n  Enclaves decrypt without an encryption context (rule K10), so that tables can be moved: put the policy\n  that is generated without --tables in its place as soon as they are."
	}
	return fmt.Sprintf(`What this policy leaves to trust:
  %s may replace it (kms:PutKeyPolicy), and then do anything with the key.
  Whoever can become that role can too. Watch CloudTrail for PutKeyPolicy.
  The conditions say which image decrypts, not which host it runs on; Encrypt is not
  attested, so a ciphertext proves nothing about who made it.
  After an upgrade, revoke the old release in PCRS.md and generate the policy again.%s
`, p.Administrator, tables)
}
