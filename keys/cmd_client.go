package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/secret"
	"holdfast/enclave/serve/access"
	"holdfast/keys/authority"
	"holdfast/keys/holder"
)

const clientHelp = `usage: keys client NAME [flags]

Makes a certificate for a validator client, as PEM and as the PKCS #12 file that
Lighthouse and Teku read, and lists it in configuration.json by its fingerprint.
Prints the lines that each validator client's configuration needs. The client may
have ordinary duties signed; for more, edit its "types". A new client changes the
configuration: the enclave needs a restart with the new bundle, and a key policy
that names the configuration must be renewed.

flags:
  --keys PUBKEY,...        the keys it may use (default all)
  --days N                 how long the certificate lasts (default 365)
  --renew                  a further certificate for a client that is listed; the
                           one before stays listed until you delete it
  --out DIR                where its files go (default clients/NAME in the folder)
  --host HOST[:PORT]       what it calls the signer by (default the first name of
                           the configuration, port 9000)
  --path DIR               where its files will be on its machine
                           (default /etc/holdfast)
  --for CLIENT             print for lighthouse, teku, prysm, lodestar, nimbus or
                           vero only
  --legacy                 a PKCS #12 file for readers older than OpenSSL 1.1.1 and
                           Java 12 (triple DES, SHA-1)
` + folderHelp + `
examples:
  keys client vc-1
  keys client vc-2 --for teku --host signer.example:9000
`

// certification is what the flags of "keys client" say.
type certification struct {
	*flags

	name, keys, out, host, path, only string
	days                              int
	renew, legacy                     bool
}

func runClient(ctx context.Context, t *terminal, args []string) error {
	c := &certification{flags: newFolderFlags("client", clientHelp)}
	c.StringVar(&c.keys, "keys", "all", "")
	c.IntVar(&c.days, "days", int(authority.ClientLifetime/day), "")
	c.BoolVar(&c.renew, "renew", false, "")
	c.StringVar(&c.out, "out", "", "")
	c.StringVar(&c.host, "host", "", "")
	c.StringVar(&c.path, "path", "/etc/holdfast", "")
	c.StringVar(&c.only, "for", "", "")
	c.BoolVar(&c.legacy, "legacy", false, "")
	names, err := c.parse(t, args, 1, 1)
	if err != nil {
		return err
	}
	c.name = names[0]
	if err := c.check(); err != nil {
		return err
	}
	return c.withSecrets(ctx, t, func(folder *holder.Folder, secrets *holder.Secrets) error {
		return c.certify(t, folder, secrets)
	})
}

func (c *certification) check() error {
	const maxDays = 3650
	switch {
	case len(c.name) > 32 || c.name == "" || strings.Trim(c.name, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return usageError("NAME %q: want 1 to 32 characters of a-z, 0-9 and -", c.name)
	case c.days < 1 || c.days > maxDays:
		return usageError("--days %d: want 1 to %d", c.days, maxDays)
	case c.renew && c.given("keys"):
		return usageError("--keys is of a new client; edit configuration.json to change one that is listed")
	case c.only != "" && !isValidatorClient(c.only):
		return usageError("--for %q: want one of %s", c.only, strings.Join(validatorClients(), ", "))
	}
	return nil
}

// certify makes the certificate with its files, and then lists it: a certificate that
// is not listed opens nothing.
func (c *certification) certify(t *terminal, folder *holder.Folder, secrets *holder.Secrets) error {
	o, settings, _, err := readConfiguration(folder)
	if err != nil {
		return err
	}
	listed, err := c.find(o)
	if err != nil {
		return err
	}
	address, err := c.address(settings.Names)
	if err != nil {
		return err
	}
	a, err := authority.Load(secrets.Authority, secrets.AuthorityKey)
	if err != nil {
		return err
	}
	pair, err := a.Client(c.name, time.Duration(c.days)*day, time.Now())
	if err != nil {
		return err
	}
	defer pair.Key.Wipe()
	if err := c.list(o, listed, pair, secrets); err != nil {
		return err
	}
	if settings, _, err = o.check(); err != nil {
		return malformed(fmt.Errorf("the configuration with this client: %w", err))
	}
	trust, err := a.Trust(secrets.Certificate)
	if err != nil {
		return err
	}
	s := setup{name: c.name, url: "https://" + address, address: address, path: c.path}
	if err := c.write(folder, pair, trust, s, secrets); err != nil {
		return err
	}
	configuration, err := o.encode()
	if err == nil {
		err = folder.SetConfiguration(configuration)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(c.out))
	}
	c.report(t.stdout, settings, pair, s)
	return nil
}

// find returns the client as it is listed, nil for a new one.
func (c *certification) find(o object) (object, error) {
	listed := o.client(c.name)
	switch {
	case listed != nil && !c.renew:
		return nil, withHint(fmt.Errorf("client %s is listed already", c.name), "--renew makes it a further certificate")
	case listed == nil && c.renew:
		return nil, withHint(fmt.Errorf("client %s is not listed", c.name), "without --renew it is made")
	}
	return listed, nil
}

func (c *certification) report(w io.Writer, settings *bundle.Configuration, pair *authority.Pair, s setup) {
	fmt.Fprintf(w, "%s has the files of client %s, for %s on its machine\n", filepath.ToSlash(c.out), c.name, c.path)
	fmt.Fprintf(w, "its certificate is valid until %s\n", pair.Leaf.NotAfter.Format(time.DateOnly))
	fmt.Fprintf(w, "the configuration is another now, and takes effect with a new bundle and a restart of the enclave\n")
	describeConfiguration(w, settings)
	describePolicy(w, settings)
	s.describe(w, c.only)
}

// address is what the client calls the signer by.
func (c *certification) address(names []string) (string, error) {
	const port = "9000"
	host := c.host
	if host == "" {
		if len(names) == 0 || strings.HasPrefix(names[0], "*") {
			return "", usageError("want --host: the configuration's first name is none that a client could call")
		}
		return net.JoinHostPort(names[0], port), nil
	}
	if name, number, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 || name == "" {
			return "", usageError("--host %q: want HOST or HOST:PORT", host)
		}
		return host, nil
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), nil
}

// list puts a certificate into the configuration.
func (c *certification) list(o, listed object, pair *authority.Pair, secrets *holder.Secrets) error {
	fingerprint := access.Fingerprint(sha256.Sum256(pair.Leaf.Raw)).String()
	if listed != nil {
		fingerprints, ok := listed["fingerprints"].([]any)
		if !ok {
			return fmt.Errorf("client %s is not known by fingerprints", c.name)
		}
		listed["fingerprints"] = append(fingerprints, fingerprint)
		return nil
	}
	var keys any = "all"
	if c.keys != "all" {
		named, err := parsePublicKeys(strings.Split(c.keys, ","))
		if err != nil {
			return err
		}
		var names []any
		for _, key := range named {
			if !secrets.Has(key) {
				return fmt.Errorf("key %v is not in the folder", key)
			}
			names = append(names, key.String())
		}
		keys = names
	}
	o["clients"] = append(o.clients(), map[string]any{"name": c.name, "fingerprints": []any{fingerprint}, "keys": keys})
	return nil
}

// write makes the folder of the client's files. It appears whole or not at all.
func (c *certification) write(folder *holder.Folder, pair *authority.Pair, trust []byte, s setup, secrets *holder.Secrets) error {
	if c.out == "" {
		name := c.name
		if c.renew {
			name += "-" + pair.Leaf.SerialNumber.Text(16)[:8]
		}
		c.out = folder.Path(filepath.Join("clients", name))
	}
	encoding := authority.Modern
	if c.legacy {
		encoding = authority.Legacy
	}
	password, err := authority.NewPassword()
	if err != nil {
		return err
	}
	defer password.Wipe()
	archive, err := pair.PKCS12(encoding, password)
	if err != nil {
		return err
	}
	defer archive.Wipe()
	store, err := authority.TrustStore(trust, encoding, password)
	if err != nil {
		return err
	}
	definitions := secret.New(s.definitions(secrets.Validators, password))
	defer definitions.Wipe()
	return holder.CreateFolder(c.out, map[string][]byte{
		s.certificate(): pair.Certificate, s.trust(): trust, s.trustStore(): store,
	}, map[string][]byte{
		s.key(): pair.Key.Reveal(), s.archive(): archive.Reveal(), s.password(): password.Reveal(),
		definitionsFile: definitions.Reveal(),
	})
}
