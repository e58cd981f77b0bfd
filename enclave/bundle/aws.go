package bundle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"holdfast/enclave/serve/access"
	"holdfast/verify/envelope"
)

// KMS names the key of AWS KMS that may release a bundle's data key.
type KMS struct {
	Key string // full ARN

	// Endpoint is where KMS is, https://host or https://host:port; empty for AWS's
	// own in the key's region. Roots are PEM of the authorities that it is checked
	// against, nil for Amazon's. Neither gives anything to whoever chooses them: the
	// configuration that they are part of is measured in PCR16.
	Endpoint string
	Roots    []byte
}

// Region returns the region of the key.
func (k *KMS) Region() string { return region(k.Key, envelope.KMSKey) }

// A Store is where slashing records are.
type Store string

// The stores.
const (
	Journal  Store = "journal"  // the parent's, authenticated but not fresh
	DynamoDB Store = "dynamodb" // conditional writes, fresh
)

// Freshness says what a signer believes of a journal after a restart.
type Freshness string

// The kinds of freshness.
const (
	Strict           Freshness = "strict"  // nothing: sign only what is above the floor of now
	JournalFreshness Freshness = "journal" // that it is the latest, as other signers do
)

// Slashing says where slashing records are and what is believed of them.
type Slashing struct {
	Store Store

	// Freshness is empty with DynamoDB, which needs none.
	Freshness Freshness

	// Operator is the Ed25519 public key of who may vouch for a journal in strict
	// freshness; nil where nobody may.
	Operator []byte

	// Table is the full ARN of DynamoDB's; Endpoint and Roots are as in [KMS].
	Table, Endpoint string
	Roots           []byte

	// HighWatermark, where not nil, is what nothing signed may reach.
	HighWatermark *HighWatermark
}

// Region returns the region of the table, or nothing where there is none.
func (s *Slashing) Region() string { return region(s.Table, envelope.DynamoDBTable) }

// A HighWatermark bounds what a signer signs: no block of Slot or later, and no
// attestation to Epoch or later (Web3Signer's high watermark).
type HighWatermark struct {
	Epoch, Slot uint64
}

func region(arn string, kind envelope.Resource) string {
	parsed, err := envelope.ParseARN(arn, kind)
	if err != nil {
		return ""
	}
	return parsed.Region
}

func (r *reader) kms(k *KMS) error {
	err := r.object([]field{
		{name: "key", required: true, read: func() error { return r.arn(&k.Key, envelope.KMSKey) }},
		{name: "endpoint", read: func() error { return r.endpoint(&k.Endpoint) }},
		{name: "roots", read: func() error { return r.roots(&k.Roots) }},
	})
	if err == nil {
		err = checkRoots(k.Endpoint, k.Roots)
	}
	return err
}

func (r *reader) slashing(s *Slashing) error {
	return r.object([]field{
		{name: "store", read: func() error { return r.word((*string)(&s.Store), string(Journal), string(DynamoDB)) }},
		{name: "freshness", read: func() error {
			return r.word((*string)(&s.Freshness), string(Strict), string(JournalFreshness))
		}},
		{name: "operator", read: func() error { return r.operator(&s.Operator) }},
		{name: "table", read: func() error { return r.arn(&s.Table, envelope.DynamoDBTable) }},
		{name: "endpoint", read: func() error { return r.endpoint(&s.Endpoint) }},
		{name: "roots", read: func() error { return r.roots(&s.Roots) }},
		{name: "high_watermark", read: func() error {
			s.HighWatermark = new(HighWatermark)
			return r.highWatermark(s.HighWatermark)
		}},
	})
}

// settle fills in what was not said, and refuses what does not go together.
func (s *Slashing) settle() error {
	if s.Store == "" {
		s.Store = Journal
	}
	settle := s.settleJournal
	if s.Store == DynamoDB {
		settle = s.settleTable
	}
	if err := settle(); err != nil {
		return fmt.Errorf("slashing: %w", err)
	}
	return nil
}

func (s *Slashing) settleJournal() error {
	if s.Table != "" || s.Endpoint != "" || s.Roots != nil {
		return errors.New(`"table", "endpoint" and "roots" go with "store":"dynamodb"`)
	}
	if s.Freshness == "" {
		s.Freshness = Strict
	}
	if s.Operator != nil && s.Freshness != Strict {
		return errors.New(`an "operator" vouches for a journal in "freshness":"strict" only`)
	}
	return nil
}

func (s *Slashing) settleTable() error {
	switch {
	case s.Freshness != "" || s.Operator != nil:
		return errors.New(`"freshness" and "operator" go with "store":"journal"; a table is always fresh`)
	case s.Table == "":
		return errors.New(`field "table" is missing: the full ARN of the DynamoDB table`)
	}
	return checkRoots(s.Endpoint, s.Roots)
}

// checkRoots refuses authorities other than Amazon's for Amazon's own endpoints: a
// mistake, most likely of whoever forgot the endpoint.
func checkRoots(endpoint string, roots []byte) error {
	if roots != nil && endpoint == "" {
		return errors.New(`"roots" go with an "endpoint"`)
	}
	return nil
}

func (r *reader) highWatermark(w *HighWatermark) error {
	return r.object([]field{
		{name: "epoch", required: true, read: func() error { return r.quoted(&w.Epoch) }},
		{name: "slot", required: true, read: func() error { return r.quoted(&w.Slot) }},
	})
}

// quoted reads an unsigned integer in a string, as Ethereum's APIs write them.
func (r *reader) quoted(out *uint64) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	inner := &reader{data: text}
	if *out, err = inner.number(); err != nil || inner.at != len(text) {
		return errors.New("want an unsigned integer in a string")
	}
	return nil
}

// word reads one of these words.
func (r *reader) word(out *string, words ...string) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	for _, word := range words {
		if string(text) == word {
			*out = word
			return nil
		}
	}
	return fmt.Errorf("want one of %q", words)
}

// operator reads an Ed25519 public key, 64 lower-case hexadecimal digits.
func (r *reader) operator(out *[]byte) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	key, err := hex.DecodeString(string(text))
	if err != nil || len(key) != operatorSize || hex.EncodeToString(key) != string(text) {
		return fmt.Errorf("want an Ed25519 public key, %d lower-case hexadecimal digits", hex.EncodedLen(operatorSize))
	}
	*out = key
	return nil
}

func (r *reader) arn(out *string, kind envelope.Resource) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	*out = string(text)
	_, err = envelope.ParseARN(*out, kind)
	return err
}

// endpoint reads https://host or https://host:port and nothing more.
func (r *reader) endpoint(out *string) error {
	text, err := r.text()
	if err != nil {
		return err
	}
	if *out = string(text); !isEndpoint(*out) {
		return errors.New("want https://host or https://host:port, in lower case and without a path")
	}
	return nil
}

func isEndpoint(text string) bool {
	u, err := url.Parse(text)
	if err != nil || text != "https://"+u.Host || len(text) > maxEndpointSize {
		return false
	}
	if strings.HasSuffix(u.Host, ":") || !isPort(u.Port()) {
		return false
	}
	host := u.Hostname()
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Zone() == ""
	}
	return isHost(host) && !strings.HasPrefix(host, "*")
}

// isPort reports whether text is a port, or nothing.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0 && strconv.FormatUint(n, 10) == text
}

// roots reads PEM of authorities, and keeps it as it stands.
func (r *reader) roots(out *[]byte) error {
	text, err := r.document(maxPEMSize)
	if err != nil {
		return err
	}
	*out = text
	_, err = access.ParseAuthorities(text)
	return err
}
