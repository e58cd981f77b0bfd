package main

import (
	"context"
	"fmt"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/keys/authority"
	"holdfast/keys/holder"
)

const rotateHelp = `usage: keys rotate-tls [flags]

Makes a new key and certificate for the signer, for the names of the
configuration. The next bundle brings it to a running signer, without a restart;
clients that trust the authority notice nothing. The configuration stays the same.

flags:
  --leaf-days N            how long the certificate lasts (default 90)
  --tls-certificate FILE   a certificate of your own in PEM, with its chain ...
  --tls-key FILE           ... and its key
  --new-authority          make a new authority too, as new names need: every
                           client must trust the new ca.pem then
` + folderHelp + `
example:
  keys rotate-tls --leaf-days 30
`

func runRotateTLS(ctx context.Context, t *terminal, args []string) error {
	f := newFolderFlags("rotate-tls", rotateHelp)
	days := f.Int("leaf-days", int(authority.LeafLifetime/day), "")
	certificateFile := f.String("tls-certificate", "", "")
	keyFile := f.String("tls-key", "", "")
	newAuthority := f.Bool("new-authority", false, "")
	if _, err := f.parse(t, args, 0, 0); err != nil {
		return err
	}
	if (*certificateFile == "") != (*keyFile == "") {
		return usageError("--tls-certificate and --tls-key go together")
	}
	if err := checkLeafDays(*days); err != nil {
		return err
	}
	return f.withSecrets(ctx, t, func(folder *holder.Folder, secrets *holder.Secrets) error {
		_, settings, _, err := readConfiguration(folder)
		if err != nil {
			return err
		}
		r := rotation{folder: folder, secrets: secrets, settings: settings, now: time.Now()}
		if r.authority, err = authority.Load(secrets.Authority, secrets.AuthorityKey); err == nil && *newAuthority {
			err = r.renewAuthority()
		}
		if err != nil {
			return err
		}
		return r.rotate(t, *certificateFile, *keyFile, *days)
	})
}

// rotation changes the signer's identity.
type rotation struct {
	folder    *holder.Folder
	secrets   *holder.Secrets
	settings  *bundle.Configuration
	authority *authority.Authority
	renewed   bool
	now       time.Time
}

// renewAuthority makes an authority in memory.
func (r *rotation) renewAuthority() (err error) {
	if r.authority, err = authority.New("Holdfast "+r.folder.Name(), r.settings.Names, r.now); err != nil {
		return err
	}
	r.secrets.AuthorityKey.Wipe()
	r.secrets.Authority = r.authority.PEM()
	r.secrets.AuthorityKey, err = r.authority.Key()
	r.renewed = true
	return err
}

func (r *rotation) rotate(t *terminal, certificateFile, keyFile string, days int) error {
	if len(r.settings.Names) == 0 {
		return malformed(fmt.Errorf(`the configuration has no "tls":{"names":…}`))
	}
	pair, err := newIdentity(r.authority, certificateFile, keyFile, r.settings.Names, days, r.now)
	if err != nil {
		return err
	}
	r.secrets.Key.Wipe()
	r.secrets.Certificate, r.secrets.Key = pair.Certificate, pair.Key
	if err := r.folder.SetSecrets(r.secrets); err != nil {
		return err
	}
	// A copy, which an interruption before may have left behind.
	if err := r.folder.SetFile(holder.AuthorityFile, r.authority.PEM()); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "the signer's certificate is valid until %s; the next bundle brings it\n", pair.Leaf.NotAfter.Format(time.DateOnly))
	if r.renewed {
		fmt.Fprintf(t.stdout, "every client must trust the new %s\n", r.folder.Path(holder.AuthorityFile))
	}
	return nil
}
