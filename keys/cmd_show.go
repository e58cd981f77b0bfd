package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/bls"
	"holdfast/keys/holder"
	"holdfast/verify/envelope"
)

const showHelp = `usage: keys show FILE [flags]

Prints everything of a bundle but its secrets: its version, the configuration with
its digest and PCR16, the public keys, and who can release it. Nothing is opened,
and nothing proves here who sealed it: an enclave checks that with the data key.

flags:
  --json                   print one JSON object
  --keys                   print the public keys too, one a line

examples:
  keys show bundle.hf
  keys show bundle.hf --json
`

func runShow(_ context.Context, t *terminal, args []string) error {
	f := newFlags("show", showHelp)
	asJSON := f.Bool("json", false, "")
	keys := f.Bool("keys", false, "")
	files, err := f.parse(t, args, 1, 1)
	if err != nil {
		return err
	}
	data, err := holder.ReadFile(files[0], envelope.MaxSize)
	if err != nil {
		return err
	}
	e, err := envelope.Parse(data)
	if err != nil {
		return malformed(fmt.Errorf("%s: %w", files[0], err))
	}
	c, err := bundle.ConfigurationOf(e)
	if err != nil {
		return malformed(fmt.Errorf("%s: %w", files[0], err))
	}
	if *asJSON {
		return showJSON(t, e)
	}
	describeEnvelope(t.stdout, e, c)
	var indented bytes.Buffer
	if err := json.Indent(&indented, e.Configuration, "", "  "); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "\n%s\n", indented.Bytes())
	if *keys {
		fmt.Fprintln(t.stdout)
		for _, key := range e.PublicKeys {
			fmt.Fprintln(t.stdout, bls.PublicKey(key))
		}
	}
	return nil
}

func showJSON(t *terminal, e *envelope.Envelope) error {
	digest, configuration := e.Digest(), e.ConfigurationDigest()
	pcr := register16(configuration)
	shown := struct {
		Name          string          `json:"name"`
		Version       uint64          `json:"version"`
		Digest        string          `json:"digest"`
		Configuration json.RawMessage `json:"configuration"`
		Configured    string          `json:"configuration_digest"`
		PCR16         string          `json:"pcr16"`
		KMSKey        string          `json:"kms_key,omitempty"`
		Recipients    int             `json:"age_recipients"`
		PublicKeys    []string        `json:"public_keys"`
	}{
		Name: e.Name, Version: e.Version, Digest: hex.EncodeToString(digest[:]),
		Configuration: e.Configuration, Configured: hex.EncodeToString(configuration[:]), PCR16: hex.EncodeToString(pcr[:]),
		Recipients: countRecipients(e.Age),
	}
	if e.KMS != nil {
		shown.KMSKey = e.KMS.Key
	}
	for _, key := range e.PublicKeys {
		shown.PublicKeys = append(shown.PublicKeys, bls.PublicKey(key).String())
	}
	encoder := json.NewEncoder(t.stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(shown)
}
