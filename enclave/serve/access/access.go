// Package access tells which client sends a request, by the certificate that it
// presented when its TLS connection was made.
//
// A client is listed by the SHA-256 fingerprint of its certificate, as in
// Web3Signer's known_clients file, or by the authority that signs its
// certificates. A list may also have one client for whoever is neither, and then
// says so wherever it is described. The package judges certificates only; what a
// client may have signed is its [policy.Client].
//
// TLS has proved already that whoever presented a certificate holds its key.
package access

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"holdfast/enclave/ethereum/policy"
)

// A Client is one that may ask the signer. It is identified in exactly one way:
// by Fingerprints, by Authorities, or by being Any.
type Client struct {
	Policy policy.Client // its Name names the client

	// Fingerprints are those of its own certificates. As with Web3Signer neither
	// their dates nor their issuers matter. CommonName, unless empty, must be the
	// subject's only common name.
	Fingerprints []Fingerprint
	CommonName   string

	// Authorities sign its certificates, which must be valid for client
	// authentication at the time of a request.
	Authorities []*x509.Certificate

	// Any takes whoever is no other client, with a certificate or without.
	Any bool

	// KeyManager lets it use the key manager's routes without a token.
	KeyManager bool
}

// Limits on a list.
const (
	MaxClients      = 256
	MaxFingerprints = 256 // of one client
	MaxAuthorities  = 16  // of one client
)

// A List holds every client of a signer. The zero value and nil know nobody.
type List struct {
	known       map[Fingerprint]*Client
	authorities []authority
	any         *Client
}

type authority struct {
	client *Client
	pool   *x509.CertPool
}

// NewList makes a list. It refuses an empty one, a client that is identified in no
// way or in two, and whatever would leave open which of two clients is meant.
func NewList(clients []Client) (*List, error) {
	if len(clients) == 0 || len(clients) > MaxClients {
		return nil, fmt.Errorf("got %d clients, want 1 to %d (hint: an entry with \"any\" lets everybody ask)", len(clients), MaxClients)
	}
	l := &List{known: make(map[Fingerprint]*Client)}
	names := make(map[string]bool)
	issuers := make(map[Fingerprint]string)
	for i := range clients {
		c := &clients[i]
		if names[c.Policy.Name] {
			return nil, fmt.Errorf("client %q comes twice", c.Policy.Name)
		}
		names[c.Policy.Name] = true
		if err := l.add(c, issuers); err != nil {
			return nil, fmt.Errorf("client %q: %w", c.Policy.Name, err)
		}
	}
	return l, nil
}

func (l *List) add(c *Client, issuers map[Fingerprint]string) error {
	if err := c.check(); err != nil {
		return err
	}
	for _, f := range c.Fingerprints {
		if other, ok := l.known[f]; ok {
			return fmt.Errorf("fingerprint %v is client %q's", f, other.Policy.Name)
		}
		l.known[f] = c
	}
	if len(c.Authorities) > 0 {
		pool := x509.NewCertPool()
		for _, a := range c.Authorities {
			f := Fingerprint(sha256.Sum256(a.Raw))
			if other, ok := issuers[f]; ok {
				return fmt.Errorf("authority %v is client %q's", f, other)
			}
			issuers[f] = c.Policy.Name
			pool.AddCert(a)
		}
		l.authorities = append(l.authorities, authority{c, pool})
	}
	if c.Any {
		if l.any != nil {
			return fmt.Errorf("client %q is for everybody else already", l.any.Policy.Name)
		}
		l.any = c
	}
	return nil
}

func (c *Client) check() error {
	ways := 0
	for _, way := range []bool{len(c.Fingerprints) > 0, len(c.Authorities) > 0, c.Any} {
		if way {
			ways++
		}
	}
	switch {
	case c.Policy.Name == "":
		return errors.New("has no name")
	case ways != 1:
		return fmt.Errorf("is identified in %d ways, want one of fingerprints, an authority, or any", ways)
	case len(c.Fingerprints) > MaxFingerprints:
		return fmt.Errorf("got %d fingerprints, want at most %d", len(c.Fingerprints), MaxFingerprints)
	case len(c.Authorities) > MaxAuthorities:
		return fmt.Errorf("got %d authorities, want at most %d", len(c.Authorities), MaxAuthorities)
	case c.Any && c.KeyManager:
		return errors.New("is anybody, who may not manage keys")
	}
	return nil
}

// Any returns the name of the client that takes whoever is no other, and whether
// there is one that may use a key.
func (l *List) Any() (string, bool) {
	if l == nil || l.any == nil || !l.any.Policy.AnyKey && len(l.any.Policy.Keys) == 0 {
		return "", false
	}
	return l.any.Policy.Name, true
}

// An Identification says which client a certificate makes of its holder, and when
// that must be judged again because a certificate expires. Until is zero where
// nothing does.
type Identification struct {
	Client *Client
	Until  time.Time
}

// Holds reports whether an identification still stands.
func (i Identification) Holds(now time.Time) bool {
	return i.Client != nil && (i.Until.IsZero() || now.Before(i.Until))
}

// Rule names why nobody was identified.
type Rule string

// The rules, for answers, logs and metrics.
const (
	CertificateRule Rule = "client_certificate" // none was presented
	UnknownRule     Rule = "client_unknown"     // of no listed client
	NameRule        Rule = "client_name"        // listed under another common name
	ExpiredRule     Rule = "client_expired"     // of a listed authority, but not valid now
)

// A Refusal is the error of a certificate that identifies no client.
type Refusal struct {
	Rule   Rule
	reason string
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Rule, r.reason) }

func refuse(rule Rule, format string, args ...any) *Refusal {
	return &Refusal{rule, fmt.Sprintf(format, args...)}
}

// Identify finds the client that presented certificates, leaf first, none if it
// presented none.
func (l *List) Identify(certificates []*x509.Certificate, now time.Time) (Identification, *Refusal) {
	found, refusal := l.identify(certificates, now)
	if refusal != nil && l != nil && l.any != nil {
		// Nothing is kept from somebody who could as well present nothing.
		return Identification{Client: l.any}, nil
	}
	return found, refusal
}

func (l *List) identify(certificates []*x509.Certificate, now time.Time) (Identification, *Refusal) {
	if len(certificates) == 0 {
		return Identification{}, refuse(CertificateRule, "no client certificate was presented")
	}
	leaf := certificates[0]
	fingerprint := Fingerprint(sha256.Sum256(leaf.Raw))
	if l == nil {
		return Identification{}, refuse(UnknownRule, "the certificate with SHA-256 fingerprint %v is no client's", fingerprint)
	}
	if c := l.known[fingerprint]; c != nil {
		if c.CommonName != "" && !hasCommonName(leaf, c.CommonName) {
			return Identification{}, refuse(NameRule, "the certificate with SHA-256 fingerprint %v is listed for common name %q, which is not its own", fingerprint, c.CommonName)
		}
		return Identification{Client: c}, nil
	}
	return l.identifyByAuthority(certificates, now, fingerprint)
}

func (l *List) identifyByAuthority(certificates []*x509.Certificate, now time.Time, fingerprint Fingerprint) (Identification, *Refusal) {
	intermediates := x509.NewCertPool()
	for _, c := range certificates[1:] {
		intermediates.AddCert(c)
	}
	no := refuse(UnknownRule, "the certificate with SHA-256 fingerprint %v is no client's", fingerprint)
	if certificates[0].IsCA {
		return Identification{}, no // an authority's key is for signing certificates
	}
	for _, a := range l.authorities {
		chains, err := certificates[0].Verify(x509.VerifyOptions{
			Roots: a.pool, Intermediates: intermediates, CurrentTime: now,
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err == nil {
			return Identification{Client: a.client, Until: expiry(chains)}, nil
		}
		if invalid := (x509.CertificateInvalidError{}); errors.As(err, &invalid) && invalid.Reason == x509.Expired {
			no = refuse(ExpiredRule, "the certificate with SHA-256 fingerprint %v, or its authority's, is not valid at %s", fingerprint, now.UTC().Format(time.RFC3339))
		}
	}
	return Identification{}, no
}

// expiry returns when the longest-lived chain ends.
func expiry(chains [][]*x509.Certificate) time.Time {
	var last time.Time
	for _, chain := range chains {
		end := chain[0].NotAfter
		for _, c := range chain {
			if c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(last) {
			last = end
		}
	}
	return last
}
