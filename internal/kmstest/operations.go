package kmstest

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"

	"holdfast/internal/kmstest/policy"
)

// A call is one request on its way.
type call struct {
	kms       *KMS
	operation string
	caller    *caller
	document  []byte

	recipient  *rsa.PublicKey
	conditions map[string]string
}

// input has the fields of all operations; each looks at its own.
type input struct {
	KeyID                 string `json:"KeyId"`
	CiphertextBlob        []byte
	Plaintext             []byte
	EncryptionAlgorithm   string
	EncryptionContext     map[string]string
	KeySpec               string
	KeyPairSpec           string
	NumberOfBytes         int
	PublicKey             []byte
	KeyAgreementAlgorithm string
	Recipient             *recipientInfo
}

// output has the fields of all answers that carry keys or text.
type output struct {
	KeyID                    string `json:"KeyId,omitempty"`
	CiphertextBlob           []byte `json:",omitempty"`
	Plaintext                []byte `json:",omitempty"`
	SharedSecret             []byte `json:",omitempty"`
	PrivateKeyPlaintext      []byte `json:",omitempty"`
	PrivateKeyCiphertextBlob []byte `json:",omitempty"`
	PublicKey                []byte `json:",omitempty"`
	CiphertextForRecipient   []byte `json:",omitempty"`
	EncryptionAlgorithm      string `json:",omitempty"`
	KeyPairSpec              string `json:",omitempty"`
	KeyAgreementAlgorithm    string `json:",omitempty"`
	KeyOrigin                string `json:",omitempty"`
	KeyMetadata              any    `json:",omitempty"`
}

var (
	errCiphertext  = &failure{code: "InvalidCiphertextException"} // AWS says no more
	errKeyUsage    = &failure{code: "InvalidKeyUsageException", message: "the key is for another use"}
	errUnsupported = &failure{code: "UnsupportedOperationException", message: "not among what this stand-in does"}
)

func invalid(message string) *failure { return &failure{code: "ValidationException", message: message} }

// operations have the handlers, and whether they take a recipient.
var operations = map[string]struct {
	handle    func(*call, *input) (*output, *failure)
	recipient bool
}{
	"Encrypt":             {(*call).encrypt, false},
	"DescribeKey":         {(*call).describeKey, false},
	"Decrypt":             {(*call).decrypt, true},
	"GenerateDataKey":     {(*call).generateDataKey, true},
	"GenerateDataKeyPair": {(*call).generateDataKeyPair, true},
	"GenerateRandom":      {(*call).generateRandom, true},
	"DeriveSharedSecret":  {(*call).deriveSharedSecret, true},
}

// answer takes a request from its signature to its answer.
func (c *call) answer(r *http.Request, body []byte) (*output, *failure) {
	if r.Method != http.MethodPost || r.URL.Path != "/" || r.Header.Get("Content-Type") != "application/x-amz-json-1.1" {
		return nil, &failure{code: "UnknownOperationException", status: http.StatusNotFound}
	}
	var fault *failure
	if c.caller, fault = c.kms.authenticate(r, body); fault != nil {
		return nil, fault
	}
	operation, known := operations[c.operation]
	if !known {
		return nil, &failure{code: "UnknownOperationException"}
	}
	in := &input{}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(in); err != nil {
		return nil, &failure{code: "SerializationException", message: err.Error()}
	}
	if in.Recipient != nil {
		if !operation.recipient {
			return nil, invalid("no such parameter: Recipient")
		}
		c.document = in.Recipient.AttestationDocument
		if c.recipient, c.conditions, fault = c.kms.attested(in.Recipient); fault != nil {
			return nil, fault
		}
	}
	out, fault := operation.handle(c, in)
	if fault == nil {
		c.falsify(out)
	}
	return out, fault
}

// falsify applies the faults of answers.
func (c *call) falsify(out *output) {
	c.kms.mu.Lock()
	defer c.kms.mu.Unlock()
	if c.kms.faults.KeyID != "" {
		out.KeyID = c.kms.faults.KeyID
	}
	if rewrite := c.kms.faults.Rewrite; rewrite != nil && out.CiphertextForRecipient != nil {
		out.CiphertextForRecipient = rewrite(out.CiphertextForRecipient)
	}
}

// use finds a key and asks its policy.
func (c *call) use(id string, context map[string]string) (*key, *failure) {
	if !strings.HasPrefix(id, "arn:") {
		id = "arn:aws:kms:" + c.kms.options.Region + ":" + c.kms.options.Account + ":key/" + id
	}
	c.kms.mu.Lock()
	defer c.kms.mu.Unlock()
	found := c.kms.keys[id]
	if found == nil {
		return nil, &failure{code: "NotFoundException", message: "Key '" + id + "' does not exist"}
	}
	keys := map[string]string{"kms:calleraccount": c.kms.options.Account, "aws:principalarn": c.caller.principal}
	for name, value := range c.conditions {
		keys[name] = value
	}
	for name, value := range context {
		keys["kms:encryptioncontext:"+strings.ToLower(name)] = value
	}
	action := "kms:" + c.operation
	refusal := "User: " + c.caller.principal + " is not authorized to perform: " + action + " on resource: " + found.arn
	switch found.policy.Decide(policy.Request{Principal: c.caller.principal, Action: action, Resource: found.arn, Keys: keys}) {
	case policy.Denied:
		return nil, &failure{code: "AccessDeniedException", message: refusal + " with an explicit deny in a resource-based policy"}
	case policy.NotAllowed:
		return nil, &failure{code: "AccessDeniedException", message: refusal + " because no resource-based policy allows the " + action + " action"}
	}
	if found.disabled && c.operation != "DescribeKey" {
		return nil, &failure{code: "DisabledException", message: found.arn + " is disabled."}
	}
	copied := *found
	return &copied, nil
}

// symmetric is use of a key that encrypts.
func (c *call) symmetric(id string, in *input) (*key, *failure) {
	if in.EncryptionAlgorithm != "" && in.EncryptionAlgorithm != symmetricDefault {
		return nil, errKeyUsage
	}
	found, fault := c.use(id, in.EncryptionContext)
	if fault == nil && found.symmetric == nil {
		return nil, errKeyUsage
	}
	return found, fault
}

const symmetricDefault = "SYMMETRIC_DEFAULT"

// deliver puts a secret where it belongs: into the answer, or into what the
// recipient alone can read.
func (c *call) deliver(out *output, into *[]byte, plaintext []byte) *failure {
	c.kms.mu.Lock()
	faults, form := c.kms.faults, c.kms.options.Form
	if form == Alternating {
		form = Form(c.kms.turn % 2)
	}
	c.kms.turn++
	c.kms.mu.Unlock()
	if c.recipient == nil || faults.IgnoreRecipient || faults.Plaintext {
		*into = plaintext
	}
	if c.recipient == nil || faults.IgnoreRecipient {
		return nil
	}
	sealed, err := envelop(c.recipient, plaintext)
	if err != nil {
		return &failure{code: "KMSInternalException", message: err.Error(), status: http.StatusInternalServerError}
	}
	out.CiphertextForRecipient = sealed.encode(form)
	return nil
}

func (c *call) encrypt(in *input) (*output, *failure) {
	if n := len(in.Plaintext); n == 0 || n > 4096 {
		return nil, invalid("Value at 'plaintext' failed to satisfy constraint: Member must have length between 1 and 4096")
	}
	found, fault := c.symmetric(in.KeyID, in)
	if fault != nil {
		return nil, fault
	}
	return &output{KeyID: found.arn, CiphertextBlob: found.encrypt(in.Plaintext, in.EncryptionContext), EncryptionAlgorithm: symmetricDefault}, nil
}

func (c *call) decrypt(in *input) (*output, *failure) {
	if n := len(in.CiphertextBlob); n == 0 || n > 6144 {
		return nil, invalid("Value at 'ciphertextBlob' failed to satisfy constraint: Member must have length between 1 and 6144")
	}
	arn, sealed, ok := owner(in.CiphertextBlob)
	if !ok {
		return nil, errCiphertext
	}
	if in.KeyID != "" && in.KeyID != arn && !strings.HasSuffix(arn, ":key/"+in.KeyID) {
		return nil, &failure{code: "IncorrectKeyException", message: "The key ID in the request does not identify a CMK that can perform this operation."}
	}
	found, fault := c.symmetric(arn, in)
	if fault != nil {
		return nil, fault
	}
	plaintext, err := found.decrypt(sealed, in.EncryptionContext)
	if err != nil {
		return nil, errCiphertext
	}
	out := &output{KeyID: found.arn, EncryptionAlgorithm: symmetricDefault}
	return out, c.deliver(out, &out.Plaintext, plaintext)
}

func (c *call) generateDataKey(in *input) (*output, *failure) {
	size, ok := map[string]int{"AES_256": 32, "AES_128": 16, "": in.NumberOfBytes}[in.KeySpec]
	if !ok || size < 1 || size > 1024 || in.KeySpec != "" && in.NumberOfBytes != 0 {
		return nil, invalid("want KeySpec, or NumberOfBytes between 1 and 1024")
	}
	found, fault := c.symmetric(in.KeyID, in)
	if fault != nil {
		return nil, fault
	}
	made := random(size)
	out := &output{KeyID: found.arn, CiphertextBlob: found.encrypt(made, in.EncryptionContext)}
	return out, c.deliver(out, &out.Plaintext, made)
}

func (c *call) generateDataKeyPair(in *input) (*output, *failure) {
	if in.KeyPairSpec != "ECC_NIST_P256" {
		return nil, errUnsupported
	}
	found, fault := c.symmetric(in.KeyID, in)
	if fault != nil {
		return nil, fault
	}
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, errUnsupported
	}
	private, privateErr := x509.MarshalPKCS8PrivateKey(pair)
	public, publicErr := x509.MarshalPKIXPublicKey(&pair.PublicKey)
	if privateErr != nil || publicErr != nil {
		return nil, errUnsupported
	}
	out := &output{
		KeyID: found.arn, KeyPairSpec: in.KeyPairSpec, PublicKey: public,
		PrivateKeyCiphertextBlob: found.encrypt(private, in.EncryptionContext),
	}
	return out, c.deliver(out, &out.PrivateKeyPlaintext, private)
}

// generateRandom uses no key, so no key policy speaks of it.
func (c *call) generateRandom(in *input) (*output, *failure) {
	if in.NumberOfBytes < 1 || in.NumberOfBytes > 1024 {
		return nil, invalid("Value at 'numberOfBytes' failed to satisfy constraint: Member must be between 1 and 1024")
	}
	out := &output{}
	return out, c.deliver(out, &out.Plaintext, random(in.NumberOfBytes))
}

func (c *call) deriveSharedSecret(in *input) (*output, *failure) {
	if in.KeyAgreementAlgorithm != "ECDH" {
		return nil, invalid("Value at 'keyAgreementAlgorithm' failed to satisfy constraint: Member must satisfy enum value set: [ECDH]")
	}
	found, fault := c.use(in.KeyID, nil)
	if fault != nil {
		return nil, fault
	}
	if found.agreement == nil {
		return nil, errKeyUsage
	}
	peer, err := parsePeer(in.PublicKey)
	if err != nil {
		return nil, invalid("Value at 'publicKey' failed to satisfy constraint: want a public key of the same curve")
	}
	shared, err := found.agreement.ECDH(peer)
	if err != nil {
		return nil, invalid("the public key agrees on nothing")
	}
	out := &output{KeyID: found.arn, KeyAgreementAlgorithm: "ECDH", KeyOrigin: "AWS_KMS"}
	return out, c.deliver(out, &out.SharedSecret, shared)
}

func parsePeer(spki []byte) (*ecdh.PublicKey, error) {
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, err
	}
	key, ok := public.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, x509.ErrUnsupportedAlgorithm
	}
	return key.ECDH()
}

// keyMetadata is what DescribeKey says.
type keyMetadata struct {
	ARN         string `json:"Arn"`
	ID          string `json:"KeyId"`
	Account     string `json:"AWSAccountId"`
	KeyUsage    string
	KeyState    string
	KeySpec     string
	KeyManager  string
	Origin      string
	Enabled     bool
	MultiRegion bool
}

func (c *call) describeKey(in *input) (*output, *failure) {
	found, fault := c.use(in.KeyID, nil)
	if fault != nil {
		return nil, fault
	}
	m := keyMetadata{
		ARN: found.arn, ID: found.arn[strings.LastIndexByte(found.arn, '/')+1:], Account: c.kms.options.Account,
		KeyUsage: "ENCRYPT_DECRYPT", KeyState: "Enabled", KeySpec: symmetricDefault, KeyManager: "CUSTOMER", Origin: "AWS_KMS", Enabled: true,
	}
	if found.agreement != nil {
		m.KeyUsage, m.KeySpec = "KEY_AGREEMENT", "ECC_NIST_P256"
	}
	if found.disabled {
		m.KeyState, m.Enabled = "Disabled", false
	}
	return &output{KeyMetadata: m}, nil
}
