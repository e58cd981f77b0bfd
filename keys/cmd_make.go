package main

import (
	"context"
	"fmt"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/verify/evidence"
)

const makeHelp = `usage: keys make --control SOCKET --count N [flags]

Has a running enclave make validators' keys. They come back only sealed, under the
configuration's AWS KMS key, with an attestation of their public keys, that KMS key
and the configuration. It is verified as "verify document" does, against PCRS.md and
a nonce of this request, before anything is written.

Nobody ever sees such a key: there is no mnemonic, no keystore and no other signer
for it. Whoever loses the bundle or the KMS key loses the keys; and only attested
enclaves can open the bundle, so no age recipient can be added to it later. It holds
no certificate either: clients trust what the enclave attests after each start.

The enclave must run without a bundle, or under the folder's configuration, and have
credentials for KMS. Every key of one signer has to be made at once: a later bundle
takes the place of this one, keys and all.

flags:
  --count N                how many, 1 to 1024
` + ceremonyHelp + folderHelp + `
examples:
  keys make --control hf.sock --count 10 --out bundle.hf
  keys make --control hf.sock --count 1 --unsafe-accept-emulated --json

exit status: 0 written, 1 failed or refused by the enclave, 2 wrong usage,
3 malformed input, 4 wrong passphrase, 5 the enclave's answer is not to be trusted
`

// maxMade is how many keys an enclave makes at once.
const maxMade = 1024

func runMake(ctx context.Context, t *terminal, args []string) error {
	c := newCeremony("make", makeHelp)
	count := c.Int("count", 0, "")
	if err := c.parse(t, args); err != nil {
		return err
	}
	if *count < 1 || *count > maxMade {
		return usageError("--count: got %d, want 1 to %d", *count, maxMade)
	}
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	made, err := c.run(ctx, ceremonyKind{
		doing: fmt.Sprintf("the enclave makes %d keys", *count),
		ask: func(ctx context.Context, enclave *client.Client, r request) ([]byte, error) {
			return enclave.Generate(ctx, message.Generate{Nonce: r.nonce, Name: r.name, Version: r.version, Configuration: r.configuration, Count: *count})
		},
		check: func(made evidence.Generated) error {
			if got := len(made.Generation.PublicKeys); got != *count {
				return unverified(fmt.Errorf("got %d keys, want %d", got, *count))
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	if err := c.show(made, nil); err != nil || c.asJSON {
		return err
	}
	_, err = fmt.Fprintf(t.stdout, "\nback %s up: it is the only copy of these keys, and KMS key %s the only way into it\n", c.out, made.Bundle.KMS.Key)
	return err
}
