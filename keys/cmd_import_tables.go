package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/tables/rows"
	"holdfast/keys/holder"
	"holdfast/verify/evidence"
)

const importTablesHelp = `usage: keys import-tables --control SOCKET --uuid STACK [flags]
       keys import-tables --control SOCKET --from FILE [flags]

Moves over from AWS's sample (Guidance for Secure Blockchain Validation using AWS
Nitro Enclaves): reads its key tables and has a running enclave, which alone may
decrypt them, seal their keys as a bundle, under the configuration's AWS KMS key. That
must be the key that the rows are encrypted with. What the enclave answers is verified
as "verify document" does, against PCRS.md and a nonce of this request; its public
keys must be those of the active rows, each and no other. Only then is anything written.

Rows whose "active" is false are left out and listed. One row that does not open fails
the import. Mnemonics in the rows are not read. With --tls-table clients' trust in the
old certificate goes on; without it the enclave attests one of its own at each start.

The enclave must run without a bundle, or under the folder's configuration, and have
credentials for KMS. The rows have no encryption context, which the key policy has to
allow while they are moved: "verify policy generate --tables" writes that policy. The
bundle is sealed for KMS alone: nobody outside can open it, so no age recipient can be
added later. Stop the old signer for good before the bundle is used.

flags:
  --uuid STACK             web3signer_uuid of the rows: the sample's stack
  --validator-table T      by name or ARN (default ValidatorKeyTable)
  --tls-table T            by name or ARN; without it clients get a new certificate
  --region R               of the tables (default that of AWS's own tools)
  --endpoint-url URL       of another DynamoDB
  --from FILE              what "parent tables export" printed, in place of the tables
` + ceremonyHelp + folderHelp + `
examples:
  keys import-tables --control hf.sock --uuid prodNitroValidator \
      --validator-table ValidatorKeyTable --tls-table TLSKeyTable --region us-east-1
  keys import-tables --control hf.sock --from tables.json --out bundle.hf

exit status: 0 written, 1 failed or refused by the enclave, 2 wrong usage,
3 malformed input, 4 wrong passphrase, 5 the enclave's answer is not to be trusted
`

// A move is one invocation of "keys import-tables".
type move struct {
	*ceremony
	tables       rows.Config
	region, from string
}

func newMove() *move {
	m := &move{ceremony: newCeremony("import-tables", importTablesHelp)}
	m.StringVar(&m.tables.UUID, "uuid", "", "")
	m.StringVar(&m.tables.Validators, "validator-table", "ValidatorKeyTable", "")
	m.StringVar(&m.tables.TLS, "tls-table", "", "")
	m.StringVar(&m.tables.Endpoint, "endpoint-url", "", "")
	m.StringVar(&m.region, "region", "", "")
	m.StringVar(&m.from, "from", "", "")
	return m
}

func (m *move) parse(t *terminal, args []string) error {
	if err := m.ceremony.parse(t, args); err != nil {
		return err
	}
	if (m.from == "") == (m.tables.UUID == "") {
		return usageError("want --uuid, of the rows to read, or --from")
	}
	for _, name := range []string{"validator-table", "tls-table", "endpoint-url", "region"} {
		if m.from != "" && m.given(name) {
			return usageError("--%s goes with --uuid: --from reads no table", name)
		}
	}
	return nil
}

func runImportTables(ctx context.Context, t *terminal, args []string) error {
	m := newMove()
	if err := m.parse(t, args); err != nil {
		return err
	}
	if err := m.begin(ctx); err != nil {
		return err
	}
	defer m.end()
	read, err := m.read(ctx)
	if err != nil {
		return err
	}
	active := activeKeys(read.Validators)
	if len(active) == 0 {
		return fmt.Errorf("none of the %d rows is active", len(read.Validators))
	}
	made, err := m.run(ctx, ceremonyKind{
		doing: fmt.Sprintf("the enclave decrypts and seals %d keys, of %d rows", len(active), len(read.Validators)),
		ask: func(ctx context.Context, enclave *client.Client, r request) ([]byte, error) {
			read.Nonce, read.Name, read.Version, read.Configuration = r.nonce, r.name, r.version, r.configuration
			return enclave.ImportTables(ctx, read)
		},
		check: func(made evidence.Generated) error { return checkMoved(made.PublicKeys(), active) },
		hints: []string{`the rows have no encryption context: until they are moved the policy must allow kms:Decrypt without one, as "verify policy generate --tables" writes it`},
	})
	if err != nil {
		return err
	}
	skipped := inactive(read.Validators)
	if err := m.show(made, skipped); err != nil || m.asJSON {
		return err
	}
	return m.advise(skipped)
}

// read reads the rows from where the flags say.
func (m *move) read(ctx context.Context) (message.Tables, error) {
	if m.from != "" {
		data, err := holder.ReadFile(m.from, rows.MaxFileSize)
		if err != nil {
			return message.Tables{}, err
		}
		read, err := rows.Parse(data)
		if err != nil {
			return message.Tables{}, malformed(fmt.Errorf("%s: %w", m.from, err))
		}
		return read, nil
	}
	done := m.t.wait("reading the tables")
	defer done()
	var err error
	if m.tables.AWS, err = awsConfiguration(ctx, m.region); err != nil {
		return message.Tables{}, err
	}
	read, err := rows.Read(ctx, m.tables)
	if err != nil {
		return message.Tables{}, withHint(err, `whoever reads the tables needs dynamodb:Query and dynamodb:GetItem; on another machine "parent tables export" reads them, and --from its output`)
	}
	return read, nil
}

// awsConfiguration is what AWS's own tools would use.
func awsConfiguration(ctx context.Context, region string) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err == nil && c.Region == "" {
		err = withHint(errors.New("no AWS region is known"), "--region or AWS_REGION names it")
	}
	return c, err
}

// activeKeys returns the public keys of active rows, 0x and lower case, ascending.
func activeKeys(validators []message.ValidatorRow) []string {
	var keys []string
	for _, row := range validators {
		if row.Active {
			keys = append(keys, canonicalKey(row.PublicKey))
		}
	}
	slices.Sort(keys)
	return keys
}

// inactive returns the keys that were left out, with the reason.
func inactive(validators []message.ValidatorRow) map[string]string {
	keys := map[string]string{}
	for _, row := range validators {
		if !row.Active {
			keys[canonicalKey(row.PublicKey)] = "inactive"
		}
	}
	return keys
}

// canonicalKey spells a row's public key as this project does.
func canonicalKey(key string) string { return "0x" + strings.TrimPrefix(strings.ToLower(key), "0x") }

// checkMoved compares what came with what was active: a validator that is missing
// would be noticed late.
func checkMoved(got, want []string) error {
	if slices.Equal(got, want) {
		return nil
	}
	var differences []string
	for _, key := range want {
		if !slices.Contains(got, key) {
			differences = append(differences, key+" is missing")
		}
	}
	for _, key := range got {
		if !slices.Contains(want, key) {
			differences = append(differences, key+" is of no active row")
		}
	}
	const shown = 5
	if more := len(differences) - shown; more > 0 {
		differences = append(differences[:shown], fmt.Sprintf("and %d more", more))
	}
	return unverified(fmt.Errorf("the bundle's keys are not those of the active rows: %s", strings.Join(differences, "; ")))
}

// advise says what was left out, and what the new signer does not know.
func (m *move) advise(skipped map[string]string) error {
	for _, key := range slices.Sorted(maps.Keys(skipped)) {
		if _, err := fmt.Fprintf(m.t.stdout, "skipped        %s: %s\n", key, skipped[key]); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(m.t.stdout, `
Before a client asks this signer: stop the old one for good; it kept no slashing
history, so raise every watermark to the chain's epoch and slot of now
("parent slashing raise"). Then take the tables' permission out of the key policy.
`)
	return err
}
