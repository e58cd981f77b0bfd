package bundle

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/serve/access"
	"holdfast/verify/envelope"
)

// A Configuration is what an auditor may read: which network and clients a signer
// serves, and how. It holds no secret. Whatever may change while the signer runs,
// keys and the TLS identity, stands beside it in a [Bundle]. The zero value is
// none: [ParseConfiguration] makes one.
type Configuration struct {
	Network network.Network

	// Names are the host names and IP addresses that the server's certificate
	// is for; none where those of a start suffice.
	Names []string

	// Clients are those who may ask.
	Clients *access.List

	API    API
	Limits Limits

	KMS      *KMS // nil where no KMS key may release a data key
	Slashing Slashing

	managed bool // a client may manage keys
	gloas   bool // a client may have a type of Gloas signed, by name

	canonical []byte
}

// Canonical returns the configuration in canonical form (RFC 8785).
func (c *Configuration) Canonical() []byte { return bytes.Clone(c.canonical) }

// Digest returns the SHA-384 of the canonical form.
func (c *Configuration) Digest() [sha512.Size384]byte { return sha512.Sum384(c.canonical) }

// ParseConfiguration reads a configuration of at most
// [envelope.MaxConfigurationSize] bytes: one JSON object, read strictly. Every field
// is known, comes once and has one spelling, and nothing follows the end. It keeps no
// part of data.
func ParseConfiguration(data []byte) (*Configuration, error) {
	if len(data) > envelope.MaxConfigurationSize {
		return nil, fmt.Errorf("configuration: got %d bytes, want at most %d", len(data), envelope.MaxConfigurationSize)
	}
	r := &reader{data: data}
	c := &Configuration{}
	err := r.configuration(c)
	if err == nil {
		err = r.end()
	}
	if err == nil {
		c.canonical, err = envelope.Canonicalize(data)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	return c, nil
}

// API says which interfaces are on beside that of Web3Signer.
type API struct {
	Batch      bool // POST /api/v1/eth2/sign
	Generic    bool // type GENERIC
	Gloas      bool // the types of Gloas
	KeyManager bool // /eth/v1/keystores
}

// Limits bound what clients may have under way at once. Zero stands for the
// server's own limit.
type Limits struct {
	Connections       int
	InFlight          int // requests
	InFlightPerClient int
}

// Bounds of a configuration.
const (
	maxNames         = 16
	maxHostSize      = 253 // RFC 1035 section 2.3.4, less what a trailing dot takes
	maxPEMSize       = 64 << 10
	maxTypes         = 64
	maxFeeRecipients = 1024
	maxLimit         = 1 << 14
	maxEndpointSize  = len("https://") + maxHostSize + len(":65535")
	operatorSize     = ed25519.PublicKeySize
)

func (r *reader) configuration(c *Configuration) error {
	var clients []access.Client
	err := r.object([]field{
		{name: "network", required: true, read: func() error { return r.network(&c.Network) }},
		{name: "tls", read: func() error {
			return r.object([]field{{name: "names", required: true, read: func() error {
				return r.array(maxNames, func() error { return r.host(&c.Names) })
			}}})
		}},
		{name: "clients", read: func() error {
			return r.array(access.MaxClients, func() error { return r.client(c, &clients) })
		}},
		{name: "known_clients", read: func() error { return r.knownClients(&clients) }},
		{name: "api", read: func() error { return r.api(&c.API) }},
		{name: "limits", read: func() error { return r.limits(&c.Limits) }},
		{name: "kms", read: func() error { c.KMS = new(KMS); return r.kms(c.KMS) }},
		{name: "slashing", read: func() error { return r.slashing(&c.Slashing) }},
	})
	if err == nil {
		err = c.Slashing.settle()
	}
	if err != nil {
		return err
	}
	if !c.API.Gloas {
		if c.gloas {
			return errors.New(`a client may have a type of Gloas signed, but they are off (hint: "api":{"gloas":true})`)
		}
		withoutGloas(clients)
	}
	c.managed = slices.ContainsFunc(clients, func(c access.Client) bool { return c.KeyManager })
	if c.Clients, err = access.NewList(clients); err != nil {
		return fmt.Errorf("clients: %w", err)
	}
	return nil
}

// host reads a host name in lower case, perhaps with a wildcard as its first
// label, or an IP address.
func (r *reader) host(names *[]string) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(string(text)); err != nil && !isHost(string(text)) {
		return errors.New("want a host name in lower case, or an IP address")
	}
	*names = append(*names, string(text))
	return nil
}

// isHost reports whether name is one by RFC 1123 section 2.1.
func isHost(name string) bool {
	if len(name) > maxHostSize {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(name, "*."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.ContainsFunc(label, notInName) {
			return false
		}
	}
	return true
}

func (r *reader) client(configuration *Configuration, clients *[]access.Client) error {
	var c access.Client
	duties := policy.Duties("")
	c.Policy = policy.Client{Types: duties.Types, AnyFeeRecipient: true}
	err := r.object([]field{
		{name: "name", required: true, read: func() error { return r.name(&c.Policy.Name) }},
		{name: "fingerprints", read: func() error {
			return r.array(access.MaxFingerprints, func() error { return r.fingerprint(&c) })
		}},
		{name: "ca", read: func() error { return r.authorities(&c) }},
		{name: "any", read: func() error { return r.boolean(&c.Any) }},
		{name: "keys", required: true, read: func() error { return r.clientKeys(&c.Policy) }},
		{name: "types", read: func() error {
			c.Policy.Types = nil
			return r.array(maxTypes, func() error {
				t, err := r.signingType()
				if t == dutiesWord {
					c.Policy.Types = append(c.Policy.Types, duties.Types...)
					return err
				}
				c.Policy.Types = append(c.Policy.Types, t)
				configuration.gloas = configuration.gloas || isGloas(t)
				return err
			})
		}},
		{name: "fee_recipients", read: func() error {
			c.Policy.AnyFeeRecipient = false
			return r.array(maxFeeRecipients, func() error {
				var address [20]byte
				err := r.address(address[:])
				c.Policy.FeeRecipients = append(c.Policy.FeeRecipients, address)
				return err
			})
		}},
		{name: "keymanager", read: func() error { return r.boolean(&c.KeyManager) }},
	})
	*clients = append(*clients, c)
	return err
}

// gloasTypes are those that remote-signing-api v1.4.0 adds. They are turned on by
// name while their specification moves.
var gloasTypes = []signing.Type{
	signing.BuilderRequestAuth,
	signing.ExecutionPayloadBid,
	signing.ExecutionPayloadEnvelope,
	signing.PayloadAttestationMessage,
	signing.ProposerPreferences,
}

func isGloas(t signing.Type) bool { return slices.Contains(gloasTypes, t) }

// withoutGloas takes the types of Gloas from every client.
func withoutGloas(clients []access.Client) {
	for i := range clients {
		clients[i].Policy.Types = slices.DeleteFunc(clients[i].Policy.Types, isGloas)
	}
}

func (r *reader) fingerprint(c *access.Client) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	f, err := access.ParseFingerprint(string(text))
	c.Fingerprints = append(c.Fingerprints, f)
	return err
}

func (r *reader) authorities(c *access.Client) error {
	text, err := r.document(maxPEMSize)
	if err == nil {
		c.Authorities, err = access.ParseAuthorities(text)
	}
	return err
}

// clientKeys reads "all", or a list of public keys.
func (r *reader) clientKeys(c *policy.Client) error {
	if !r.peek('"') {
		return r.array(MaxValidators, func() error {
			var key bls.PublicKey
			err := r.publicKey(&key)
			c.Keys = append(c.Keys, key)
			return err
		})
	}
	text, err := r.text()
	if err == nil && string(text) != "all" {
		err = errors.New(`want "all" or a list of public keys`)
	}
	c.AnyKey = true
	return err
}

// dutiesWord stands for every type but exits and deposits, and what is no
// ordinary duty.
const dutiesWord = "duties"

// signingType reads a type, or the word for the ordinary ones.
func (r *reader) signingType() (signing.Type, error) {
	text, err := r.text()
	if err != nil || string(text) == dutiesWord {
		return dutiesWord, err
	}
	t, err := signing.ParseType(string(text))
	if err != nil || string(t) != string(text) {
		return "", errors.New(`want a type that this signer knows, in upper case, or "duties"`)
	}
	return t, nil
}

// address reads 0x and 40 digits of any case: the case of an address is its
// checksum (EIP-55), which is not checked here.
func (r *reader) address(out []byte) error {
	start := r.at
	text, err := r.text()
	if err != nil {
		return err
	}
	lower := &reader{data: []byte(`"` + string(bytes.ToLower(text)) + `"`)}
	if !bytes.HasPrefix(text, []byte("0x")) || lower.hex(out) != nil {
		return fmt.Errorf("want 0x and 40 hexadecimal digits at byte %d", start)
	}
	return nil
}

// knownClients reads a file of Web3Signer's. Each line of it makes a client that
// may have every ordinary duty signed with every key.
func (r *reader) knownClients(clients *[]access.Client) error {
	text, err := r.document(access.MaxKnownClients)
	if err != nil {
		return err
	}
	known, err := access.ParseKnownClients(string(text))
	for _, k := range known {
		*clients = append(*clients, access.Client{
			Policy:       policy.Duties(k.CommonName),
			CommonName:   k.CommonName,
			Fingerprints: []access.Fingerprint{k.Fingerprint},
		})
	}
	return err
}

func (r *reader) api(a *API) error {
	return r.object([]field{
		{name: "batch", read: func() error { return r.boolean(&a.Batch) }},
		{name: "generic", read: func() error { return r.boolean(&a.Generic) }},
		{name: "gloas", read: func() error { return r.boolean(&a.Gloas) }},
		{name: "keymanager", read: func() error { return r.boolean(&a.KeyManager) }},
	})
}

func (r *reader) limits(l *Limits) error {
	return r.object([]field{
		{name: "connections", read: func() error { return r.limit(&l.Connections) }},
		{name: "in_flight", read: func() error { return r.limit(&l.InFlight) }},
		{name: "in_flight_per_client", read: func() error { return r.limit(&l.InFlightPerClient) }},
	})
}

func (r *reader) limit(out *int) error {
	n, err := r.number()
	if err == nil && (n == 0 || n > maxLimit) {
		err = fmt.Errorf("got %d, want 1 to %d", n, maxLimit)
	}
	*out = int(min(n, maxLimit))
	return err
}
