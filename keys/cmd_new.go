package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/secret"
	"holdfast/keys/authority"
	"holdfast/keys/holder"
	"holdfast/verify/envelope"
)

const newHelp = `usage: keys new [flags]

Starts a key holder's folder: a configuration, which says what the signer may do
and for whom; a private certificate authority and the signer's first certificate;
and an age identity, post-quantum, that opens the folder and every bundle sealed
from it. Keys and clients come next. configuration.json may be edited by hand.

What is not asked for is off: no client may sign before "keys client" names it,
and none may have exits or deposits signed; a restarted signer believes no journal
that its host shows it, unless the operator vouches for it.

flags:
  --network NAME           mainnet, sepolia, hoodi, holesky, gnosis, chiado; or the
                           config.yaml of another network, with ...
  --genesis-time SECONDS   ... and ...
  --genesis-validators-root 0x...
                           ... what a beacon node says at /eth/v1/beacon/genesis
  --name NAME              of the bundles (default the network's)
  --tls-name NAME          host name or IP address that clients call the signer by;
                           may be given again
  --leaf-days N            how long the signer's certificate lasts (default 90)
  --tls-certificate FILE   a certificate of your own in PEM, with its chain ...
  --tls-key FILE           ... and its key
  --kms-key ARN            AWS KMS key that may release the bundle to the enclave
  --age-recipient R        another who can open bundles, age1pq1...; again for more
  --slashing-table ARN     DynamoDB table of slashing records, rather than a journal
  --slashing-credentials FILE
                           who may write it, and nobody else: the output of
                           "aws iam create-access-key"
  --freshness KIND         of a journal: strict (default), or journal to believe
                           the host after a restart
  --keymanager-token FILE  turn the key manager on, for whoever has this token
  --any-client             let anybody who reaches the signer have duties signed
  --no-passphrase          leave the age identity in clear
` + folderHelp + `
examples:
  keys new --network hoodi --tls-name signer.example \
      --kms-key arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
  keys new --network mainnet --tls-name 10.0.0.7 --dir mainnet --passphrase-file pass
`

// beginning is what the flags of "keys new" say.
type beginning struct {
	*flags

	network, genesisTime, genesisRoot, name string
	names, recipients                       list
	leafDays                                int
	certificateFile, keyFile                string
	kmsKey, table, credentialsFile          string
	freshness, tokenFile                    string
	anyClient, noPassphrase                 bool
}

func newBeginning() *beginning {
	b := &beginning{flags: newFolderFlags("new", newHelp)}
	b.StringVar(&b.network, "network", "", "")
	b.StringVar(&b.genesisTime, "genesis-time", "", "")
	b.StringVar(&b.genesisRoot, "genesis-validators-root", "", "")
	b.StringVar(&b.name, "name", "", "")
	b.Var(&b.names, "tls-name", "")
	b.IntVar(&b.leafDays, "leaf-days", int(authority.LeafLifetime/day), "")
	b.StringVar(&b.certificateFile, "tls-certificate", "", "")
	b.StringVar(&b.keyFile, "tls-key", "", "")
	b.StringVar(&b.kmsKey, "kms-key", "", "")
	b.Var(&b.recipients, "age-recipient", "")
	b.StringVar(&b.table, "slashing-table", "", "")
	b.StringVar(&b.credentialsFile, "slashing-credentials", "", "")
	b.StringVar(&b.freshness, "freshness", "", "")
	b.StringVar(&b.tokenFile, "keymanager-token", "", "")
	b.BoolVar(&b.anyClient, "any-client", false, "")
	b.BoolVar(&b.noPassphrase, "no-passphrase", false, "")
	return b
}

// check refuses flags that do not go together.
func (b *beginning) check() error {
	switch {
	case b.network == "":
		return usageError("want --network: one of %s, or a config.yaml", strings.Join(network.Names(), ", "))
	case len(b.names) == 0:
		return usageError("want --tls-name: what validator clients call the signer by")
	case (b.certificateFile == "") != (b.keyFile == ""):
		return usageError("--tls-certificate and --tls-key go together")
	case (b.table == "") != (b.credentialsFile == ""):
		return usageError("--slashing-table and --slashing-credentials go together")
	case b.table != "" && b.freshness != "":
		return usageError("--freshness is of a journal, and --slashing-table needs none")
	case b.freshness != "" && b.freshness != string(bundle.Strict) && b.freshness != string(bundle.JournalFreshness):
		return usageError("--freshness %q: want strict or journal", b.freshness)
	}
	if b.kmsKey != "" {
		if _, err := envelope.ParseARN(b.kmsKey, envelope.KMSKey); err != nil {
			return usageError("--kms-key: %v", err)
		}
	}
	if err := holder.CheckRecipients(b.recipients); err != nil {
		return usageError("--age-recipient: %v", err)
	}
	return checkLeafDays(b.leafDays)
}

const day = 24 * time.Hour

func checkLeafDays(days int) error {
	if most := int(authority.MaxLeafLifetime / day); days < 1 || days > most {
		return usageError("--leaf-days %d: want 1 to %d", days, most)
	}
	return nil
}

func runNew(ctx context.Context, t *terminal, args []string) error {
	b := newBeginning()
	if _, err := b.parse(t, args, 0, 0); err != nil {
		return err
	}
	if err := b.check(); err != nil {
		return err
	}
	if _, err := os.Lstat(b.dir); err == nil {
		return withHint(fmt.Errorf("%s exists", b.dir), "--dir names another folder")
	}
	c := holder.Contents{
		Recipients: b.recipients, Secrets: &holder.Secrets{},
		Files: map[string][]byte{}, Private: map[string][]byte{},
	}
	defer c.Secrets.Wipe()
	o, err := b.configuration(&c)
	if err != nil {
		return err
	}
	settings, _, err := o.check()
	if err != nil {
		return malformed(fmt.Errorf("the configuration that these flags make: %w", err))
	}
	if c.Name = b.name; c.Name == "" {
		c.Name = settings.Network.Name
	}
	if !envelope.IsName(c.Name) {
		return usageError("--name %q: want 1 to %d characters of a-z, 0-9 and -", c.Name, envelope.MaxNameSize)
	}
	if c.Configuration, err = o.encode(); err == nil {
		err = b.secrets(&c)
	}
	if err != nil {
		return err
	}
	if c.Passphrase, err = b.newPassphrase(ctx, t, b.noPassphrase); err != nil {
		return err
	}
	defer c.Passphrase.Wipe()
	if err := holder.Create(b.dir, c); err != nil {
		return err
	}
	b.report(t, c.Name, settings)
	return nil
}

// configuration makes the configuration, and the operator's key, which is in it.
func (b *beginning) configuration(c *holder.Contents) (object, error) {
	chain, err := b.describeNetwork()
	if err != nil {
		return nil, err
	}
	o := object{"network": chain, "tls": object{"names": []string(b.names)}, "clients": []any{}}
	if b.kmsKey != "" {
		o["kms"] = object{"key": b.kmsKey}
	}
	if b.anyClient {
		o["clients"] = []any{object{"name": "any", "any": true, "keys": "all"}}
	}
	if b.tokenFile != "" {
		o["api"] = object{"keymanager": true}
	}
	switch {
	case b.table != "":
		o["slashing"] = object{"store": bundle.DynamoDB, "table": b.table}
	case b.freshness == string(bundle.JournalFreshness):
		o["slashing"] = object{"store": bundle.Journal, "freshness": bundle.JournalFreshness}
	default:
		operator, err := newOperator(c)
		if err != nil {
			return nil, err
		}
		o["slashing"] = object{"store": bundle.Journal, "freshness": bundle.Strict, "operator": operator}
	}
	data, err := o.encode()
	if err != nil {
		return nil, err
	}
	return parseObject(data) // one form for what is new and what was edited
}

// describeNetwork names a known network, or takes over a config.yaml.
func (b *beginning) describeNetwork() (object, error) {
	if _, known := network.ByName(b.network); known {
		if b.genesisTime != "" || b.genesisRoot != "" {
			return nil, usageError("the genesis of %s is known", b.network)
		}
		return object{"name": b.network}, nil
	}
	const limit = 64 << 10
	text, err := holder.ReadFile(b.network, limit)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usageError("--network %s: neither one of %s, nor a file", b.network, strings.Join(network.Names(), ", "))
	}
	if err != nil {
		return nil, err
	}
	if b.genesisTime == "" || b.genesisRoot == "" {
		return nil, usageError("a config.yaml needs --genesis-time and --genesis-validators-root: a beacon node says both at /eth/v1/beacon/genesis")
	}
	if strings.Trim(b.genesisTime, "0123456789") != "" {
		return nil, usageError("--genesis-time %q: want seconds since 1970", b.genesisTime)
	}
	return object{
		"config": string(text), "genesis_time": json.Number(b.genesisTime), "genesis_validators_root": strings.ToLower(b.genesisRoot),
	}, nil
}

// newOperator makes the key that vouches for a journal and returns its public half
// in hexadecimal digits.
func newOperator(c *holder.Contents) (string, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	defer clear(private)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return "", err
	}
	defer clear(der)
	c.Private[holder.OperatorFile] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return hex.EncodeToString(public), nil
}

// secrets makes or reads the folder's secrets.
func (b *beginning) secrets(c *holder.Contents) error {
	now := time.Now()
	a, err := authority.New("Holdfast "+c.Name, b.names, now)
	if err != nil {
		return err
	}
	c.Files[holder.AuthorityFile] = a.PEM()
	s := c.Secrets
	s.Authority = a.PEM()
	if s.AuthorityKey, err = a.Key(); err != nil {
		return err
	}
	key := make([]byte, bundle.SlashingKeySize)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	s.SlashingKey = secret.New(key)
	pair, err := newIdentity(a, b.certificateFile, b.keyFile, b.names, b.leafDays, now)
	if err != nil {
		return err
	}
	s.Certificate, s.Key = pair.Certificate, pair.Key
	if b.tokenFile != "" {
		if s.Token, err = readToken(b.tokenFile); err != nil {
			return err
		}
	}
	if b.credentialsFile != "" {
		return readCredentials(b.credentialsFile, s)
	}
	return nil
}

// newIdentity makes the signer's identity, or reads one of the holder's own.
func newIdentity(a *authority.Authority, certificateFile, keyFile string, names []string, days int, now time.Time) (*authority.Pair, error) {
	if certificateFile == "" {
		pair, err := a.Server(names, time.Duration(days)*day, now)
		if err == nil {
			err = a.Check(pair.Leaf, names)
		}
		if err != nil {
			return nil, withHint(err, "an authority is bound to the names it was made for; \"keys rotate-tls --new-authority\" makes another, which every client must then trust")
		}
		return pair, nil
	}
	certificate, err := holder.ReadFile(certificateFile, authority.MaxPEM)
	if err != nil {
		return nil, err
	}
	key, err := holder.ReadFile(keyFile, authority.MaxPEM)
	if err != nil {
		return nil, err
	}
	pair, err := authority.LoadServer(certificate, secret.New(key), names, now)
	if err != nil {
		return nil, malformed(fmt.Errorf("%s: %w", certificateFile, err))
	}
	return pair, nil
}

func readToken(name string) (secret.Bytes, error) {
	token, err := readSecret(name)
	if err == nil && token.Len() < bundle.MinToken {
		token.Wipe()
		err = malformed(fmt.Errorf("%s: got a token of %d characters, want %d or more", name, token.Len(), bundle.MinToken))
	}
	return token, err
}

// readCredentials reads what "aws iam create-access-key" prints.
func readCredentials(name string, s *holder.Secrets) error {
	const limit = 4 << 10
	data, err := holder.ReadFile(name, limit)
	defer clear(data)
	if err != nil {
		return err
	}
	var file struct {
		AccessKey struct{ AccessKeyID, SecretAccessKey string }
	}
	if json.Unmarshal(data, &file) != nil || file.AccessKey.AccessKeyID == "" || file.AccessKey.SecretAccessKey == "" {
		return malformed(fmt.Errorf(`%s: want what "aws iam create-access-key" prints, with an AccessKeyId and a SecretAccessKey`, name))
	}
	s.AccessKeyID = file.AccessKey.AccessKeyID
	s.SecretAccessKey = secret.New([]byte(file.AccessKey.SecretAccessKey))
	return nil
}

// report says what was made and what comes next.
func (b *beginning) report(t *terminal, name string, c *bundle.Configuration) {
	if b.anyClient {
		t.warn("--any-client: whoever reaches the signer may have duties signed with every key")
	}
	if c.Slashing.Freshness == bundle.JournalFreshness {
		t.warn("--freshness journal: whoever has the parent's disk can roll slashing records back")
	}
	if b.noPassphrase {
		t.warn("%s/%s opens everything and has no passphrase", b.dir, holder.IdentityFile)
	}
	fmt.Fprintf(t.stdout, "%s is the folder of bundle %s for %s\n", b.dir, name, c.Network.Name)
	fmt.Fprintf(t.stdout, "back up %s/%s: without it nothing in the folder opens\n", b.dir, holder.IdentityFile)
	if c.Slashing.Operator != nil {
		fmt.Fprintf(t.stdout, "%s/%s vouches for the slashing journal after a restart\n", b.dir, holder.OperatorFile)
	}
	b.next(t.stdout)
	if b.anyClient {
		describeConfiguration(t.stdout, c)
		describePolicy(t.stdout, c)
	}
}

// next lists the commands that come next.
func (b *beginning) next(w io.Writer) {
	suffix := ""
	if b.dir != "holdfast" {
		suffix = " --dir " + b.dir
	}
	fmt.Fprintf(w, "next:\n  keys add DIR --password-file FILE%[1]s   or   keys generate --count N --withdrawal ADDRESS%[1]s\n", suffix)
	if !b.anyClient {
		fmt.Fprintf(w, "  keys client NAME%s\n", suffix)
	}
	fmt.Fprintf(w, "  keys seal --out bundle.hf%s\n", suffix)
}
