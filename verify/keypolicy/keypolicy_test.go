package keypolicy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

const (
	administrator = "arn:aws:iam::123456789012:role/key-administrator"
	provisioner   = "arn:aws:iam::123456789012:role/provisioner"
	parent        = "arn:aws:iam::123456789012:role/parent"
)

func parameters() keypolicy.Parameters {
	return keypolicy.Parameters{ID: "holdfast", Administrator: administrator, Provisioner: provisioner, Parent: parent, Purpose: "holdfast-bundle"}
}

// value is a measurement of one repeated byte.
func value(b byte) pcrs.PCR {
	var p pcrs.PCR
	for i := range p {
		p[i] = b
	}
	return p
}

func entry(arch pcrs.Architecture, seed byte) pcrs.Image {
	return pcrs.Image{Architecture: arch, EIF: pcrs.Digest{seed}, Size: 1, PCR0: value(seed), PCR1: value(seed + 1), PCR2: value(seed + 2)}
}

// published has two active releases and a revoked one.
func published() *pcrs.File {
	return &pcrs.File{Releases: []pcrs.Release{
		{Version: "v1.1.0", Status: pcrs.Active, Images: []pcrs.Image{entry(pcrs.X8664, 0x10), entry(pcrs.AArch64, 0x20)}},
		{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{entry(pcrs.X8664, 0x30)}},
		{Version: "v0.9.0", Status: pcrs.Revoked, Images: []pcrs.Image{entry(pcrs.X8664, 0x40)}},
	}}
}

func generate(t *testing.T) string {
	t.Helper()
	policy, err := keypolicy.Generate(published(), parameters())
	if err != nil {
		t.Fatal(err)
	}
	return string(policy)
}

// failed returns the numbers of the rules that a policy breaks.
func failed(policy string, f *pcrs.File) map[string]string {
	out := map[string]string{}
	for _, c := range keypolicy.Lint([]byte(policy), f) {
		if c.Verdict == report.Fail {
			out[c.ID] = c.Got
		}
	}
	return out
}

func TestTheGeneratedPolicyBreaksNoRule(t *testing.T) {
	policy := generate(t)
	checks := keypolicy.Lint([]byte(policy), published())
	for _, c := range checks {
		if c.Verdict != report.Pass {
			t.Errorf("%s %s: got %s, expected %s", c.ID, c.What, c.Got, c.Expected)
		}
	}
	if !keypolicy.Passed(checks) {
		t.Error("no pass")
	}
	if got := checks[len(checks)-1].Got; !strings.Contains(got, administrator) {
		t.Errorf("got %q, want it to name who can replace the policy", got)
	}
}

func TestTheGeneratedPolicyHasOneAllowAnEntryAndNoneForARevokedOne(t *testing.T) {
	var policy struct {
		Statement []struct {
			Sid       string
			Condition map[string]map[string]any
		}
	}
	if err := json.Unmarshal([]byte(generate(t)), &policy); err != nil {
		t.Fatal(err)
	}
	var sids []string
	for _, s := range policy.Statement {
		sids = append(sids, s.Sid)
	}
	want := "Administration,Provisioning,Attested decrypt v1 1 0 x86 64,Attested decrypt v1 1 0 aarch64,Attested decrypt v1 0 0 x86 64,Deny other PCR0,Deny other PCR1,Deny other PCR2,Deny ways around"
	if got := strings.Join(sids, ","); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if strings.Contains(generate(t), value(0x40).String()) {
		t.Error("a revoked measurement stands in the policy")
	}
}

func TestASignedImageAndAConfigurationAreAskedForToo(t *testing.T) {
	signed := entry(pcrs.X8664, 0x10)
	signed.PCR8 = value(0x88)
	f := &pcrs.File{Releases: []pcrs.Release{{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{signed}}}}
	params := parameters()
	params.Configuration[0] = 1
	policy, err := keypolicy.Generate(f, params)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Deny other PCR8", "Deny other PCR16", `"kms:RecipientAttestation:PCR8": "` + value(0x88).String(), `"kms:RecipientAttestation:PCR16": "`} {
		if !strings.Contains(string(policy), want) {
			t.Errorf("no %q in the policy", want)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for name, change := range map[string]func(*pcrs.File, *keypolicy.Parameters){
		"no active release":        func(f *pcrs.File, _ *keypolicy.Parameters) { f.Releases = f.Releases[2:] },
		"the account's root":       func(_ *pcrs.File, p *keypolicy.Parameters) { p.Administrator = "arn:aws:iam::123456789012:root" },
		"everybody":                func(_ *pcrs.File, p *keypolicy.Parameters) { p.Parent = "*" },
		"a wildcard":               func(_ *pcrs.File, p *keypolicy.Parameters) { p.Parent = "arn:aws:iam::123456789012:role/*" },
		"no provisioner":           func(_ *pcrs.File, p *keypolicy.Parameters) { p.Provisioner = "" },
		"an administering parent":  func(_ *pcrs.File, p *keypolicy.Parameters) { p.Parent = p.Administrator },
		"a provisioning one":       func(_ *pcrs.File, p *keypolicy.Parameters) { p.Provisioner = p.Administrator },
		"no purpose":               func(_ *pcrs.File, p *keypolicy.Parameters) { p.Purpose = "" },
		"a purpose with wildcards": func(_ *pcrs.File, p *keypolicy.Parameters) { p.Purpose = "*" },
		"no id":                    func(_ *pcrs.File, p *keypolicy.Parameters) { p.ID = "" },
		"more releases than fit": func(f *pcrs.File, _ *keypolicy.Parameters) {
			for i := range 60 {
				f.Releases = append(f.Releases, pcrs.Release{Version: fmt.Sprintf("v0.%d.0", i), Status: pcrs.Active, Images: []pcrs.Image{entry(pcrs.X8664, byte(0x50+i))}})
			}
		},
	} {
		f, params := published(), parameters()
		change(f, &params)
		if policy, err := keypolicy.Generate(f, params); err == nil || policy != nil {
			t.Errorf("%s: generated", name)
		}
	}
}

// edits are policies that differ from the generated one in one place. Each
// opens one way around, and must break the rule that is named for it.
var edits = []struct {
	rule, name, old, new string
}{
	{"K1", "another version", `"2012-10-17"`, `"2008-10-17"`},
	{"K1", "no version", `"Version": "2012-10-17",`, ``},
	{"K1", "an unknown element", `"Effect": "Allow",`, `"Effect": "Allow", "Comment": "x",`},
	{"K1", "an element twice", `"Effect": "Allow",`, `"Effect": "Deny", "Effect": "Allow",`},
	{"K1", "a condition key twice in two spellings", `"kms:RecipientAttestation:PCR1":`, `"KMS:RecipientAttestation:PCR0": "x", "kms:RecipientAttestation:PCR1":`},
	{"K1", "an unknown effect", `"Effect": "Allow"`, `"Effect": "allow"`},
	{"K1", "no principal", `"Principal": {
        "AWS": "` + parent + `"
      },`, ``},
	{"K1", "JSON cut short", `"Statement": [`, ``},
	{"K2", "the account's root", `"AWS": "` + administrator + `"`, `"AWS": "arn:aws:iam::123456789012:root"`},
	{"K2", "the account's number", `"AWS": "` + administrator + `"`, `"AWS": "123456789012"`},
	{"K2", "everybody", `"AWS": "` + administrator + `"`, `"AWS": "*"`},
	{"K2", "the account's root among others", `"AWS": "` + provisioner + `"`, `"AWS": ["` + provisioner + `", "arn:aws:iam::123456789012:root"]`},
	{"K3", "kms:*", `"kms:DescribeKey"`, `"kms:*"`},
	{"K3", "*", `"kms:DescribeKey"`, `"*"`},
	{"K3", "kms:De*", `"kms:DescribeKey"`, `"kms:De*"`},
	{"K3", "kms:Re*", `"kms:DescribeKey"`, `"kms:Re*"`},
	{"K3", "kms:Put*", `"kms:DescribeKey"`, `"kms:Put*"`},
	{"K3", "a question mark", `"kms:DescribeKey"`, `"kms:Decryp?"`},
	{"K3", "an action of tomorrow", `"kms:DescribeKey"`, `"kms:ExportKey"`},
	{"K4", "NotPrincipal in Allow", `"Principal": {
        "AWS": "` + parent + `"
      }`, `"NotPrincipal": {"AWS": "` + provisioner + `"}`},
	{"K4", "NotAction", `"Action": "kms:Encrypt"`, `"NotAction": "kms:Decrypt"`},
	{"K4", "NotResource", `"Resource": "*"`, `"NotResource": "x"`},
	{"K5", "Decrypt for the administrator", `"kms:DescribeKey"`, `"kms:Decrypt"`},
	{"K5", "Decrypt by wildcard", `"kms:DescribeKey"`, `"kms:D*"`},
	{"K5", "GenerateDataKey for the provisioner", `"Action": "kms:Encrypt"`, `"Action": "kms:GenerateDataKey"`},
	{"K5", "GenerateDataKeyPair", `"Action": "kms:Encrypt"`, `"Action": "kms:GenerateDataKeyPair"`},
	{"K5", "DeriveSharedSecret in other letters", `"Action": "kms:Encrypt"`, `"Action": "KMS:deriveSharedSecret"`},
	{"K5", "no PCR1", `"kms:RecipientAttestation:PCR1": "1111`, `"kms:RecipientAttestation:PCR5": "1111`},
	{"K5", "a NitroTPM's registers", `"kms:RecipientAttestation:PCR1": "1111`, `"kms:RecipientAttestation:NitroTPMPCR1": "1111`},
	{"K5", "PCR0 under an operator with IfExists", `"StringEqualsIgnoreCase"`, `"StringEqualsIgnoreCaseIfExists"`},
	{"K6", "ReEncryptFrom", `"kms:DescribeKey"`, `"kms:ReEncryptFrom"`},
	{"K6", "ReEncryptTo", `"kms:DescribeKey"`, `"kms:ReEncryptTo"`},
	{"K6", "ReEncrypt*", `"kms:DescribeKey"`, `"kms:ReEncrypt*"`},
	{"K7", "CreateGrant", `"kms:DescribeKey"`, `"kms:CreateGrant"`},
	{"K8", "ReplicateKey", `"kms:DescribeKey"`, `"kms:ReplicateKey"`},
	{"K8", "UpdatePrimaryRegion", `"kms:DescribeKey"`, `"kms:UpdatePrimaryRegion"`},
	{"K9", "ImportKeyMaterial", `"kms:DescribeKey"`, `"kms:ImportKeyMaterial"`},
	{"K10", "Encrypt without a context", `"kms:EncryptionContext:purpose"`, `"aws:PrincipalTag/purpose"`},
	{"K10", "a context under a loose operator", `"StringEquals": {
          "kms:EncryptionContext:purpose"`, `"StringLike": {
          "kms:EncryptionContext:purpose"`},
	{"K11", "a PCR0 of zeros", value(0x10).String(), strings.Repeat("0", 96)},
	{"K12", "upper case", value(0x30).String(), "AB" + strings.Repeat("30", 47)},
	{"K12", "a short measurement", value(0x10).String(), value(0x10).String()[:64]},
	{"K12", "a wildcard", value(0x10).String(), "10*"},
	{"K13", "PCR4", `"kms:RecipientAttestation:PCR1": "1111`, `"kms:RecipientAttestation:PCR4": "1111`},
	{"K14", "StringLike", `"StringEqualsIgnoreCase"`, `"StringLike"`},
	{"K14", "IfExists", `"StringEqualsIgnoreCase"`, `"StringEqualsIgnoreCaseIfExists"`},
	{"K14", "a negated operator in Allow", `"StringEqualsIgnoreCase"`, `"StringNotEqualsIgnoreCase"`},
	{"K14", "ForAnyValue", `"StringEqualsIgnoreCase"`, `"ForAnyValue:StringEqualsIgnoreCase"`},
	{"K14", "IfExists in Deny", `"StringNotEqualsIgnoreCase"`, `"StringNotEqualsIgnoreCaseIfExists"`},
	{"K15", "two releases in one Allow", `"kms:RecipientAttestation:PCR0": "` + value(0x10).String() + `"`, `"kms:RecipientAttestation:PCR0": ["` + value(0x10).String() + `", "` + value(0x30).String() + `"]`},
	{"K16", "two registers in one Deny", `"StringNotEqualsIgnoreCase": {`, `"StringNotEqualsIgnoreCase": { "kms:RecipientAttestation:PCR7": "` + value(7).String() + `",`},
	{"K17", "no Deny by PCR2", `"Deny other PCR2",
      "Effect": "Deny"`, `"Deny other PCR2",
      "Effect": "Allow"`},
	{"K17", "a Deny that spares some", `"Sid": "Deny other PCR1",
      "Effect": "Deny",
      "Principal": {
        "AWS": "*"`, `"Sid": "Deny other PCR1",
      "Effect": "Deny",
      "Principal": {
        "AWS": "` + parent + `"`},
	{"K17", "a Deny that leaves an action out", `"kms:DeriveSharedSecret",`, ``},
	{"K18", "no Deny of grants", `"kms:CreateGrant",`, ``},
	{"K19", "a revoked release", value(0x30).String(), value(0x40).String()},
	{"K19", "measurements of nobody", value(0x32).String(), value(0x99).String()},
	{"K20", "a Deny that lets a revoked release pass", `"` + value(0x30).String() + `"
          ]`, `"` + value(0x30).String() + `", "` + value(0x40).String() + `"
          ]`},
	{"K20", "a Deny that stops a release", `,
            "` + value(0x30).String() + `"
          ]`, `]`},
	{"K21", "an alias as resource", `"Resource": "*"`, `"Resource": "arn:aws:kms:eu-central-1:123456789012:alias/holdfast"`},
	{"K21", "an alias as condition", `"kms:EncryptionContext:purpose"`, `"kms:RequestAlias"`},
}

func TestEveryWayAroundIsFlagged(t *testing.T) {
	good := generate(t)
	for _, test := range edits {
		t.Run(test.rule+" "+test.name, func(t *testing.T) {
			if !strings.Contains(good, test.old) {
				t.Fatalf("the generated policy has no %q", test.old)
			}
			policy := strings.Replace(good, test.old, test.new, 1)
			broken := failed(policy, published())
			if broken[test.rule] == "" {
				t.Errorf("got %v, want %s to fail", broken, test.rule)
			}
			if keypolicy.Passed(keypolicy.Lint([]byte(policy), published())) {
				t.Error("a pass")
			}
		})
	}
}

func TestEveryRuleHasAPolicyThatBreaksIt(t *testing.T) {
	tested := map[string]bool{"K22": true} // a notice
	for _, test := range edits {
		tested[test.rule] = true
	}
	for _, c := range keypolicy.Lint([]byte(generate(t)), published()) {
		if !tested[c.ID] {
			t.Errorf("no test breaks %s", c.ID)
		}
	}
}

// TestThePredecessorsPoliciesAreFlagged lints the four shapes that earlier
// signers have used.
func TestThePredecessorsPoliciesAreFlagged(t *testing.T) {
	for name, rules := range map[string][]string{
		"account-root.json": {"K2", "K3", "K5", "K7", "K17", "K18"},
		"pcr0-only.json":    {"K5", "K10", "K17", "K18"},
		"zero-pcrs.json":    {"K11", "K17", "K19"},
		"pcr4-pin.json":     {"K5", "K13", "K17"},
	} {
		policy, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		broken := failed(string(policy), published())
		for _, rule := range rules {
			if broken[rule] == "" {
				t.Errorf("%s: got %v, want %s to fail", name, broken, rule)
			}
		}
	}
}

func TestNothingIsCheckedInAMalformedPolicy(t *testing.T) {
	for _, policy := range []string{"", "null", "[]", `{"Version":"2012-10-17","Statement":[]}`, `{"Version":"2012-10-17"}`, strings.Repeat("[", 1000), generate(t) + "{}", strings.Repeat(" ", keypolicy.MaxSize) + "{}"} {
		checks := keypolicy.Lint([]byte(policy), published())
		if keypolicy.Passed(checks) || checks[0].Verdict != report.Fail || checks[1].Verdict != report.Skipped {
			t.Errorf("%.40q: got %+v", policy, checks[:2])
		}
	}
}

func TestWithoutPCRSNothingPasses(t *testing.T) {
	if keypolicy.Passed(keypolicy.Lint([]byte(generate(t)), nil)) {
		t.Error("a pass without measurements to compare with")
	}
	if keypolicy.Passed(nil) {
		t.Error("a pass without checks")
	}
}

func FuzzLint(f *testing.F) {
	policy, err := keypolicy.Generate(published(), parameters())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(policy)
	f.Add([]byte(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"*a*b*c*d*e*","Resource":"*"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		checks := keypolicy.Lint(data, published())
		if !keypolicy.Passed(checks) {
			return
		}
		// What passes allows no plaintext without measurements.
		if !strings.Contains(strings.ToLower(string(data)), "recipientattestation") {
			t.Error("passed without a measurement")
		}
	})
}

func TestAPolicyForMovingTablesBreaksTheRuleOfContextsAlone(t *testing.T) {
	p := parameters()
	p.Tables, p.Configuration = true, [48]byte{1}
	policy, err := keypolicy.Generate(published(), p)
	if err != nil {
		t.Fatal(err)
	}
	if broken := failed(string(policy), published()); len(broken) != 1 || !strings.Contains(broken["K10"], "kms:decrypt") {
		t.Errorf("got %v, want K10 alone", broken)
	}
	if !strings.Contains(keypolicy.ResidualTrust(p), "K10") || strings.Contains(keypolicy.ResidualTrust(parameters()), "K10") {
		t.Error("what is left to trust is not said, or always")
	}
}
