// Package message holds what the parent and the enclave's control port say to each
// other: HTTP/1.1 with JSON on vsock port 5001, which only the parent reaches.
//
// The parent is not trusted, so nothing here carries a secret out, and nothing that
// it sends is believed: a bundle is authenticated by its data key, credentials only
// name a role, and a statement is signed by the operator.
//
//	GET  /status                  Status
//	GET  /metrics                 Prometheus' text form
//	GET  /logs?after=N            Logs: the lines after number N that are still kept
//	PUT  /bundle                  an envelope (verify/envelope); Status; 400 malformed, 409 refused
//	PUT  /credentials             Credentials; 204
//	GET  /slashing/head           Head
//	POST /slashing/vouch          a Statement; 204; 403 if it does not hold
//	GET  /slashing/watermarks     []Watermark
//	POST /slashing/watermarks     Raise; []Watermark afterwards; nothing is ever lowered,
//	                              nor raised further than a day ahead, as by an import
//	GET  /slashing/interchange    EIP-3076 of every key
//	POST /slashing/interchange    EIP-3076, all or nothing; ImportResult
//	POST /keys                    Generate; Generated: keys made inside, sealed as a bundle
//	POST /tables                  Tables; Generated: the predecessor's rows, resealed as a bundle
//
// Every error is {"error": …, "code": …} with the HTTP status as code.
package message

import "time"

// Port is the vsock port on which the enclave listens for its parent.
const Port = 5001

// Bounds, in bytes.
const (
	MaxBundleSize      = 16 << 20
	MaxInterchangeSize = 64 << 20
	MaxSize            = 1 << 20 // any other message
)

// State is how far an enclave has come.
type State string

// The states, in order.
const (
	WaitingForBundle State = "waiting for a bundle"
	WaitingForKey    State = "waiting for the bundle's data key"
	Serving          State = "serving"
)

// Status is what an enclave says of itself.
type Status struct {
	State State `json:"state"`

	// Bundle is what the enclave signs with, and Pending a bundle whose data key has
	// not come yet.
	Bundle  *Bundle `json:"bundle,omitempty"`
	Pending *Bundle `json:"pending,omitempty"`

	// Problem is why the last attempt to open the pending bundle failed.
	Problem string `json:"problem,omitempty"`

	// CredentialsUntil is when the credentials that the parent gave expire.
	CredentialsUntil *time.Time `json:"credentials_until,omitempty"`

	Slashing *Slashing `json:"slashing,omitempty"`
}

// Bundle names a bundle.
type Bundle struct {
	Name          string `json:"name"`
	Version       uint64 `json:"version"`
	Configuration string `json:"configuration"` // SHA-384, 96 hexadecimal digits
	Keys          int    `json:"keys"`
	KMSKey        string `json:"kms_key,omitempty"` // ARN, where the data key is wrapped by KMS
	Age           bool   `json:"age,omitempty"`     // wrapped to the holder's age identity
}

// Slashing is the state of slashing protection.
type Slashing struct {
	Store     string `json:"store"`     // journal or dynamodb
	Freshness string `json:"freshness"` // strict or journal; empty with dynamodb
	Problem   string `json:"problem,omitempty"`

	// Floor is what everything signed must be above, after a restart in strict.
	Floor *Floor `json:"floor,omitempty"`

	// Head and Sequence are of the journal's last record that is durable. An operator
	// who has them from the enclave over attested HTTPS, and not from the parent, can
	// vouch for that journal at the next start.
	Head     string `json:"head,omitempty"` // 64 hexadecimal digits
	Sequence uint64 `json:"sequence,string,omitempty"`
}

// Floor bounds what may be signed after a restart.
type Floor struct {
	Epoch uint64 `json:"epoch,string"` // targets above it, sources at or above one below it
	Slot  uint64 `json:"slot,string"`  // blocks above it
}

// Credentials are temporary ones of the parent's role (AWS STS).
type Credentials struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	SessionToken    string    `json:"session_token"`
	Expiration      time.Time `json:"expiration"`
}

// Head names the journal that this start of the enclave read.
type Head struct {
	Configuration string `json:"configuration"` // digest, 96 hexadecimal digits
	Challenge     string `json:"challenge"`     // of this start, 64 hexadecimal digits
	Head          string `json:"head"`          // digest of the last record, 64 hexadecimal digits
	Sequence      uint64 `json:"sequence,string"`
	Keys          int    `json:"keys"`
	Floor         *Floor `json:"floor,omitempty"` // nil once lifted
}

// Statement is the operator's: the journal with this head is current.
type Statement struct {
	Challenge string `json:"challenge"`
	Head      string `json:"head"`
	Complete  bool   `json:"complete,omitempty"` // and nothing that was ever signed is missing from it
	Signature string `json:"signature"`          // Ed25519, 128 hexadecimal digits
}

// Watermark is the highest that one key has signed, or must not go below.
type Watermark struct {
	PublicKey string  `json:"pubkey"`
	Slot      *uint64 `json:"slot,string,omitempty"`
	Source    *uint64 `json:"source_epoch,string,omitempty"`
	Target    *uint64 `json:"target_epoch,string,omitempty"`
}

// Raise asks to raise watermarks: of these keys, or, if there are none, of every key
// of the bundle and of the store.
type Raise struct {
	PublicKeys []string `json:"pubkeys,omitempty"`
	Slot       *uint64  `json:"slot,string,omitempty"`
	Source     *uint64  `json:"source_epoch,string,omitempty"`
	Target     *uint64  `json:"target_epoch,string,omitempty"`
}

// ImportResult says what an import did to each key: "raised", "unchanged".
type ImportResult struct {
	Keys map[string]string `json:"keys"`
}

// Logs are lines of the enclave's log.
type Logs struct {
	Lines   []string `json:"lines"`
	Next    uint64   `json:"next,string"`    // what to ask after the next time
	Dropped uint64   `json:"dropped,string"` // lines that came and went in between
}

// Generate asks for validators' keys made inside the enclave.
type Generate struct {
	Nonce         string `json:"nonce"` // of the attestation: 64 hexadecimal digits, the holder's
	Name          string `json:"name"`
	Version       uint64 `json:"version"`
	Configuration []byte `json:"configuration"` // standard base64 of JSON; must name a KMS key
	Count         int    `json:"count"`
}

// Tables are rows of the predecessor's tables, as they stand there.
type Tables struct {
	Nonce         string         `json:"nonce"`
	Name          string         `json:"name"`
	Version       uint64         `json:"version"`
	Configuration []byte         `json:"configuration"`
	TLS           *TLSRow        `json:"tls,omitempty"`
	Validators    []ValidatorRow `json:"validators"`
}

// TLSRow is a row of TLSKeyTable.
type TLSRow struct {
	KeyID        int    `json:"key_id"`
	Certificate  string `json:"cert_pem"`              // base64 of PEM
	EncryptedKey string `json:"encrypted_tls_key_b64"` // base64 of a KMS ciphertext
}

// ValidatorRow is a row of ValidatorKeyTable.
type ValidatorRow struct {
	UUID      string `json:"web3signer_uuid"`
	PublicKey string `json:"pubkey"`
	Active    bool   `json:"active"`
	Encrypted string `json:"encrypted_key_password_mnemonic_b64"`
}

// Generated is a sealed bundle and the attestation of the enclave that sealed it.
type Generated struct {
	Bundle     []byte            `json:"bundle"` // an envelope
	PublicKeys []string          `json:"pubkeys"`
	Document   []byte            `json:"document"`          // attestation whose user_data is the SHA-384 of Bound
	Bound      []byte            `json:"bound"`             // verify/binding's encoding of a Generation
	Skipped    map[string]string `json:"skipped,omitempty"` // row's public key to why it was left out
}
