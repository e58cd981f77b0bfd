package nsmtest

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha512"
	"fmt"
	"maps"
	"slices"

	"holdfast/enclave/nsm"
)

// A Template is a document before it is made. [Options.Mutate] changes it.
type Template struct {
	Chain   Chain
	Payload Payload

	// Protected is the encoded protected header, and Unprotected the encoded
	// unprotected one. Tagged puts COSE tag 18 before the document, which real
	// documents lack.
	Protected   []byte
	Unprotected []byte
	Tagged      bool

	// Issued, when set, may change the payload after its Certificate and
	// CABundle are filled. Encoded, when set, replaces the encoded payload
	// before it is signed, and Signed the signature after.
	Issued  func(*Payload)
	Encoded func([]byte) []byte
	Signed  func([]byte) []byte
}

// A Payload is what a document says. A nil PublicKey, UserData or Nonce is
// null.
type Payload struct {
	ModuleID    string
	Digest      string
	Timestamp   uint64 // milliseconds since 1970
	PCRs        map[int][]byte
	Certificate []byte   // DER of the leaf
	CABundle    [][]byte // DER from the root to the instance
	PublicKey   []byte
	UserData    []byte
	Nonce       []byte

	// Extra is appended to the map: encoded keys and values in turn.
	Extra [][]byte

	// Indefinite is [Options.Indefinite].
	Indefinite bool
}

// template makes what Mutate may change, and lets it.
func (m *Module) template(r nsm.Request) Template {
	now := m.options.Now()
	t := Template{
		Chain: m.authority.chain(m, now),
		Payload: Payload{
			ModuleID:   m.options.ModuleID,
			Digest:     "SHA384",
			Timestamp:  uint64(now.UnixMilli()),
			PCRs:       map[int][]byte{},
			PublicKey:  r.PublicKey,
			UserData:   r.UserData,
			Nonce:      r.Nonce,
			Indefinite: m.options.Indefinite,
		},
		Protected:   []byte{0xa1, 0x01, 0x38, 0x22}, // {alg: ES384}
		Unprotected: []byte{0xa0},
	}
	for index, register := range m.registers {
		if register.Locked {
			t.Payload.PCRs[index] = register.Value[:]
		}
	}
	if m.options.Emulated {
		t.Protected = []byte{0xa1, 0x01, 0x20} // {alg: -1}
	}
	if m.options.Mutate != nil {
		m.options.Mutate(&t)
	}
	return t
}

// document makes the document that answers a request.
func (m *Module) document(r nsm.Request) ([]byte, error) {
	if len(r.UserData) > nsm.MaxUserDataSize || len(r.Nonce) > nsm.MaxNonceSize || len(r.PublicKey) > nsm.MaxPublicKeySize {
		return nil, nsm.InputTooLarge
	}
	t := m.template(r)
	if err := m.certify(&t); err != nil {
		return nil, err
	}
	if t.Issued != nil {
		t.Issued(&t.Payload)
	}
	payload := t.Payload.encode()
	if t.Encoded != nil {
		payload = t.Encoded(payload)
	}
	signature, err := m.sign(&t, payload)
	if err != nil {
		return nil, err
	}
	if t.Signed != nil {
		signature = t.Signed(signature)
	}
	var out []byte
	if t.Tagged {
		out = append(out, 0xd2)
	}
	return appendArray(out, appendBytes(nil, t.Protected), t.Unprotected,
		appendBytes(nil, payload), appendBytes(nil, signature)), nil
}

// emulatedSize is the number of zero bytes that stand for a certificate and
// for a signature in QEMU's documents (hw/virtio/virtio-nsm.c).
const emulatedSize = 64

// certify issues the chain below the root into the payload.
func (m *Module) certify(t *Template) error {
	if m.options.Emulated {
		t.Payload.Certificate = make([]byte, emulatedSize)
		t.Payload.CABundle = [][]byte{make([]byte, emulatedSize)}
		return nil
	}
	links := t.Chain.links()
	issued := [][]byte{m.authority.root.Raw}
	for i, l := range links[1:] {
		der, err := issue(l, links[i])
		if err != nil {
			return fmt.Errorf("nsmtest: issuing %q: %w", l.Certificate.Subject.CommonName, err)
		}
		issued = append(issued, der)
	}
	t.Payload.CABundle = issued[:len(issued)-1]
	t.Payload.Certificate = issued[len(issued)-1]
	return nil
}

// sign signs the Sig_structure of RFC 9052 section 4.4 with the leaf's key.
// The signature is r and s, each as long as the curve's order (RFC 9053
// section 2.1).
func (m *Module) sign(t *Template, payload []byte) ([]byte, error) {
	if m.options.Emulated {
		return make([]byte, emulatedSize), nil
	}
	digest := sha512.Sum384(appendArray(nil, appendText(nil, "Signature1"),
		appendBytes(nil, t.Protected), appendBytes(nil, nil), appendBytes(nil, payload)))
	key := t.Chain.Leaf.Key
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, fmt.Errorf("nsmtest: signing: %w", err)
	}
	size := (key.Params().N.BitLen() + 7) / 8
	return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), nil
}

// encode writes the map in the order of real documents.
func (p Payload) encode() []byte {
	var pcrs, bundle [][]byte
	for _, index := range slices.Sorted(maps.Keys(p.PCRs)) {
		pcrs = append(pcrs, appendUint(nil, uint64(index)), appendBytes(nil, p.PCRs[index]))
	}
	for _, certificate := range p.CABundle {
		bundle = append(bundle, appendBytes(nil, certificate))
	}
	pairs := append([][]byte{
		appendText(nil, "module_id"), appendText(nil, p.ModuleID),
		appendText(nil, "digest"), appendText(nil, p.Digest),
		appendText(nil, "timestamp"), appendUint(nil, p.Timestamp),
		appendText(nil, "pcrs"), appendMap(nil, pcrs...),
		appendText(nil, "certificate"), appendBytes(nil, p.Certificate),
		appendText(nil, "cabundle"), appendArray(nil, bundle...),
		appendText(nil, "public_key"), appendOptional(nil, p.PublicKey),
		appendText(nil, "user_data"), appendOptional(nil, p.UserData),
		appendText(nil, "nonce"), appendOptional(nil, p.Nonce),
	}, p.Extra...)
	if p.Indefinite {
		return appendIndefiniteMap(nil, pairs...)
	}
	return appendMap(nil, pairs...)
}
