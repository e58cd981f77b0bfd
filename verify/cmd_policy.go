package main

import (
	"context"
	"fmt"
	"strings"

	"holdfast/verify/keypolicy"
	"holdfast/verify/pcrs"
	"holdfast/verify/reference"
	"holdfast/verify/report"
)

const policyHelp = `usage: verify policy [flags] FILE
       verify policy generate [flags]

Checks whether an AWS KMS key policy releases its key to the published images
only: one line for every known way around. "generate" writes such a policy to
standard output, and what it leaves to trust to standard error.

flags:
  --pcrs FILE            the published measurements (default PCRS.md)
  --json                 print one JSON object (checking)

flags of generate:
  --administrator ARN    manages the key, and cannot use it
  --provisioner ARN      encrypts
  --parent ARN           the parent instance's role, for which enclaves decrypt
  --purpose TEXT         the encryption context of every use
  --configuration HEX    SHA-384 of the one configuration that may decrypt
  --tables               let enclaves decrypt without an encryption context too, for
                         "keys import-tables"; no rule but K10 is broken
  --id TEXT              the policy's id (default holdfast)

examples:
  verify policy live-policy.json
  aws kms get-key-policy --key-id … --output text | verify policy /dev/stdin
  verify policy generate --administrator arn:aws:iam::123456789012:role/admin \
      --provisioner arn:aws:iam::123456789012:role/provisioner \
      --parent arn:aws:iam::123456789012:role/parent --purpose holdfast > policy.json
`

func runPolicy(_ context.Context, t *terminal, args []string) error {
	if len(args) > 0 && args[0] == "generate" {
		return generatePolicy(t, args[1:])
	}
	set := newFlagSet("policy")
	pcrsFile := set.String("pcrs", "PCRS.md", "")
	asJSON := set.Bool("json", false, "")
	if err := parseFlags(t, set, policyHelp, args, 1, 1); err != nil {
		return err
	}
	published, err := parseMeasurements(*pcrsFile)
	if err != nil {
		return err
	}
	policy, err := reference.ReadFile(set.Arg(0), keypolicy.MaxSize)
	if err != nil {
		return err
	}
	return t.concludePolicy(*asJSON, set.Arg(0), keypolicy.Lint(policy, published))
}

// parseMeasurements reads a PCRS.md.
func parseMeasurements(name string) (*pcrs.File, error) {
	data, err := reference.ReadMeasurements(name)
	if err != nil {
		return nil, err
	}
	f, err := pcrs.Parse(data)
	if err != nil {
		return nil, errorWithHint(int(report.Measurements), err)
	}
	return f, nil
}

// concludePolicy prints what was found about a policy.
func (t *terminal) concludePolicy(asJSON bool, name string, checks []report.Check) error {
	passed := keypolicy.Passed(checks)
	verdict := "PASS: " + name + " releases the key to published images only, for as long as it stands"
	status := 0
	if !passed {
		var broken []string
		for _, c := range checks {
			if c.Verdict == report.Fail {
				broken = append(broken, c.ID+" "+c.What)
			}
		}
		verdict = "FAIL: " + strings.Join(broken, "; ")
		status = int(report.Policy)
	}
	if err := t.printChecks(asJSON, name, verdict, status, checks); err != nil || passed {
		return err
	}
	return errorWithHint(status, nil, `"verify policy generate" writes a policy that passes`)
}

func generatePolicy(t *terminal, args []string) error {
	var params keypolicy.Parameters
	var configuration string
	set := newFlagSet("policy generate")
	pcrsFile := set.String("pcrs", "PCRS.md", "")
	set.StringVar(&params.ID, "id", "holdfast", "")
	set.StringVar(&params.Administrator, "administrator", "", "")
	set.StringVar(&params.Provisioner, "provisioner", "", "")
	set.StringVar(&params.Parent, "parent", "", "")
	set.StringVar(&params.Purpose, "purpose", "", "")
	set.BoolVar(&params.Tables, "tables", false, "")
	set.StringVar(&configuration, "configuration", "", "")
	if err := parseFlags(t, set, policyHelp, args, 0, 0); err != nil {
		return err
	}
	if configuration != "" {
		digest, err := pcrs.ParseDigest(configuration)
		if err != nil {
			return usageError("--configuration: %v", err)
		}
		params.Configuration = digest
	}
	published, err := parseMeasurements(*pcrsFile)
	if err != nil {
		return err
	}
	policy, err := keypolicy.Generate(published, params)
	if err != nil {
		return errorWithHint(exitUsage, err, `"verify policy --help" shows an example`)
	}
	if _, err := t.stdout.Write(policy); err != nil {
		return err
	}
	_, err = fmt.Fprint(t.stderr, keypolicy.ResidualTrust(params))
	return err
}
