package main

import (
	"context"
	"fmt"
	"strings"

	"holdfast/enclave/ethereum/bls"
	"holdfast/keys/holder"
)

const listHelp = `usage: keys list [flags]

Prints the public keys of the folder, one a line.

flags:` + folderHelp + `
example:
  keys list
`

func runList(ctx context.Context, t *terminal, args []string) error {
	f := newFolderFlags("list", listHelp)
	if _, err := f.parse(t, args, 0, 0); err != nil {
		return err
	}
	return f.withSecrets(ctx, t, func(_ *holder.Folder, secrets *holder.Secrets) error {
		var out strings.Builder
		for _, v := range secrets.Validators {
			fmt.Fprintln(&out, v.PublicKey)
		}
		_, err := fmt.Fprint(t.stdout, out.String())
		return err
	})
}

const removeHelp = `usage: keys remove PUBKEY... [flags]

Removes keys from the folder, all that are named or none. A running signer loses
them with the next bundle; bundles that were sealed before still hold them. A key
is gone for good unless it can be imported or derived again.

flags:` + folderHelp + `
example:
  keys remove 0x93247f2209abcacf57b75a51dafae777f9dd38bc7053d1af526f220a7489a6d3a2753e5f3e8b1cfe39b56f43611df74a
`

func runRemove(ctx context.Context, t *terminal, args []string) error {
	f := newFolderFlags("remove", removeHelp)
	names, err := f.parse(t, args, 1, -1)
	if err != nil {
		return err
	}
	keys, err := parsePublicKeys(names)
	if err != nil {
		return err
	}
	return f.withSecrets(ctx, t, func(folder *holder.Folder, secrets *holder.Secrets) error {
		for _, key := range keys {
			if !secrets.Remove(key) {
				return fmt.Errorf("%v is not in the folder: nothing was removed", key)
			}
		}
		if err := folder.SetSecrets(secrets); err != nil {
			return err
		}
		fmt.Fprintf(t.stdout, "removed %d keys; the folder has %d\n", len(keys), len(secrets.Validators))
		return nil
	})
}

// parsePublicKeys reads public keys, each of which is named once.
func parsePublicKeys(names []string) ([]bls.PublicKey, error) {
	seen := map[bls.PublicKey]bool{}
	var keys []bls.PublicKey
	for _, name := range names {
		key, err := bls.ParsePublicKey(name)
		if err != nil {
			return nil, usageError("%.100q: %v", name, err)
		}
		if seen[key] {
			return nil, usageError("%v is named twice", key)
		}
		seen[key] = true
		keys = append(keys, key)
	}
	return keys, nil
}
