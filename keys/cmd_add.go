package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"holdfast/enclave/ethereum/bls"
	"holdfast/keys/holder"
	"holdfast/keys/keyfiles"
)

const addHelp = `usage: keys add FILE|DIR... [flags]

Imports validators' keys: EIP-2335 keystores (*.json), in a folder or in folders
of their own as Lighthouse keeps them, or Web3Signer's key configuration files
(*.yaml, of type file-raw and file-keystore). Every key is opened, its public key
derived and compared. If one cannot be imported none is, unless --keep-going. A key
that is in the folder already is left as it is.

Before these keys sign here, stop every other signer that has them, and take its
slashing protection along: keys bring none.

flags:
  --password-file FILE     the password of every keystore
  --passwords DIR          a folder with one each, called as the keystore but .txt
                           (Web3Signer), or by its public key (Lighthouse)
  --keep-going             import what can be imported
  --memory MIB             for opening keystores side by side (default 1024; one of
                           the usual kind takes 256)
` + folderHelp + `
examples:
  keys add validator_keys --password-file password.txt
  keys add validators --passwords secrets
  keys add /etc/web3signer/keys
`

func runAdd(ctx context.Context, t *terminal, args []string) error {
	f := newFolderFlags("add", addHelp)
	var passwords keyfiles.Passwords
	f.StringVar(&passwords.File, "password-file", "", "")
	f.StringVar(&passwords.Dir, "passwords", "", "")
	keepGoing := f.Bool("keep-going", false, "")
	memory := f.Int64("memory", 1024, "")
	paths, err := f.parse(t, args, 1, -1)
	if err != nil {
		return err
	}
	if passwords.File != "" && passwords.Dir != "" {
		return usageError("--password-file and --passwords exclude each other")
	}
	if *memory < 1 || *memory > 1<<20 {
		return usageError("--memory %d: want 1 to %d MiB", *memory, 1<<20)
	}
	sources, err := keyfiles.Find(paths, passwords)
	if errors.Is(err, keyfiles.ErrMnemonic) {
		return withHint(err, `"keys generate --mnemonic-from FILE --start N" derives keys from a mnemonic`)
	}
	if err != nil {
		return err
	}
	return f.withSecrets(ctx, t, func(folder *holder.Folder, secrets *holder.Secrets) error {
		opener := keyfiles.Opener{Memory: *memory << 20, Workers: runtime.GOMAXPROCS(0), Progress: t.counter("opened").update}
		results, err := opener.Open(ctx, sources)
		if err != nil {
			return err
		}
		i := importing{secrets: secrets, first: map[bls.PublicKey]keyfiles.Source{}}
		for _, r := range results {
			i.add(r)
		}
		return i.finish(t, folder, *keepGoing)
	})
}

// importing counts what becomes of keys.
type importing struct {
	secrets        *holder.Secrets
	first          map[bls.PublicKey]keyfiles.Source // where a key was first seen
	added, present int
	problems       []error
}

func (i *importing) add(r keyfiles.Result) {
	key := r.Validator.PublicKey
	if other, twice := i.first[key]; r.Err == nil && twice {
		r.Err = fmt.Errorf("%w: this is the key of %v too", keyfiles.ErrMalformed, other)
	}
	if r.Err != nil {
		r.Validator.Scalar.Wipe()
		i.problems = append(i.problems, fmt.Errorf("%v: %w", r.Source, r.Err))
		return
	}
	i.first[key] = r.Source
	if i.secrets.Add(r.Validator) {
		i.added++
	} else {
		r.Validator.Scalar.Wipe()
		i.present++
	}
}

// finish stores what was imported, all or, if that was asked for, what there is.
func (i *importing) finish(t *terminal, folder *holder.Folder, keepGoing bool) error {
	problems := errors.Join(i.problems...)
	if problems != nil && !keepGoing {
		return withHint(problems, "nothing was imported; --keep-going imports the others")
	}
	if n := len(i.secrets.Validators); n > holder.MaxValidators {
		return fmt.Errorf("the folder would have %d keys, and a bundle holds %d", n, holder.MaxValidators)
	}
	if i.added > 0 {
		if err := folder.SetSecrets(i.secrets); err != nil {
			return err
		}
	}
	fmt.Fprintf(t.stdout, "added %d keys, %d were there already; the folder has %d\n", i.added, i.present, len(i.secrets.Validators))
	return problems
}
