package main

import (
	"context"
	"fmt"
	"io"

	"holdfast/enclave/tables/rows"
	"holdfast/parent/cloud"
)

const tablesHelp = `usage: parent tables export -validators TABLE -uuid UUID [-tls TABLE] [-region REGION] [-endpoint-url URL]

Reads the key tables of AWS's sample (Guidance for Secure Blockchain Validation using AWS Nitro Enclaves)
and prints the rows of one stack as JSON, for 'keys import-tables'. The rows hold ciphertexts of AWS KMS,
which stay as they are; nothing is decrypted here. Every page is read. A row that is not as the sample
writes it is an error that names it.

  parent tables export -region us-east-1 -validators ValidatorKeyTable -tls TLSKeyTable -uuid STACK >tables.json
  parent tables export -endpoint-url http://127.0.0.1:8000 -region us-east-1 -validators ValidatorKeyTable -uuid STACK

Credentials and, without -region, the region are those of AWS's own tools. They must allow dynamodb:Query and
dynamodb:GetItem.

Exit codes: 0 done, 1 failed, 2 usage.
`

func tablesCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return dispatch(ctx, "tables", tablesHelp, map[string]verb{"export": tablesExport}, args, stdout, stderr)
}

func tablesExport(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c rows.Config
	f := newFlags("tables export", tablesHelp+"\nflags:\n", stdout)
	region := f.String("region", "", "the AWS `region` of the tables")
	f.StringVar(&c.Endpoint, "endpoint-url", "", "`URL` of another DynamoDB")
	f.StringVar(&c.Validators, "validators", "", "the ValidatorKeyTable, by `name` or ARN")
	f.StringVar(&c.TLS, "tls", "", "the TLSKeyTable, by `name` or ARN; without it clients get a new identity")
	f.StringVar(&c.UUID, "uuid", "", "`web3signer_uuid` of the rows: the name of the sample's stack")
	if err := f.parse(args, 0, 0); err != nil {
		return err
	}
	if c.Validators == "" || c.UUID == "" {
		return usagef("want -validators and -uuid (hint: parent tables -h)")
	}
	var err error
	if c.AWS, err = cloud.Configuration(ctx, *region); err != nil {
		return err
	}
	read, err := rows.Read(ctx, c)
	if err != nil {
		return err
	}
	active := 0
	for _, row := range read.Validators {
		if row.Active {
			active++
		}
	}
	fmt.Fprintf(stderr, "%d validators, %d of them active\n", len(read.Validators), active)
	return printJSON(stdout, read)
}
