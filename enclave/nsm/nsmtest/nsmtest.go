// Package nsmtest is a Nitro Security Module in memory, with a certificate
// authority of its own, for tests on any machine.
//
// A [Module] answers the requests that /dev/nsm answers and keeps the rules of
// its registers. Its documents are signed by a chain shaped like that of real
// ones (names, key usages, path lengths and validity were read from documents
// that Nitro hardware signed), but below a root that nobody trusts: a test
// hands [Module.Root] to the verifier it tests. [Options.Emulated] makes the
// documents that QEMU's nitro-enclave machine makes, which nobody signed.
// [Options.Mutate] makes documents with one thing wrong.
//
// No program links this package; a test in the enclave's directory proves it.
package nsmtest

import (
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hf/nsm/request"
	"github.com/hf/nsm/response"

	"holdfast/enclave/nsm"
)

// What a module is where Options do not say.
const (
	DefaultModuleID = "i-0123456789abcdef0-enc0123456789abcdef"
	DefaultRegion   = "eu-central-1"
	// EmulatedModuleID is what QEMU calls its module.
	EmulatedModuleID = "i-234-enc5678"
)

// Options describe a module. The zero value is a module of real shape.
type Options struct {
	ModuleID string // DefaultModuleID, or EmulatedModuleID when Emulated
	Region   string // DefaultRegion

	// PCRs are the values of registers 0 to 15 that the hypervisor measured.
	// Those not named are: 0 to 2 SHA-384 digests of short names, 4 what the
	// instance gives, the rest zero.
	PCRs map[int]nsm.Digest

	// Now is the module's clock; time.Now when nil.
	Now func() time.Time

	// Indefinite encodes the payload as an indefinite-length map, as Nitro
	// does since the middle of 2025. Before it was definite.
	Indefinite bool

	// Emulated makes documents as QEMU does: algorithm -1, 64 zero bytes for
	// the signature, for the certificate and for the one element of the bundle.
	Emulated bool

	// Mutate may change anything about a document before it is made. It is
	// called once for the root, when the module is made, and once for each
	// document; a later change of the root does nothing.
	Mutate func(*Template)

	// Before is called before each exchange. It may block, and its error is
	// the error of the exchange, as if the ioctl had failed.
	Before func(request.Request) error
}

// A Module is a Nitro Security Module. It implements [nsm.Session].
type Module struct {
	options   Options
	authority authority

	mu        sync.Mutex
	registers [nsm.RegisterCount]nsm.Register
	closed    bool
}

var _ nsm.Session = (*Module)(nil)

// New makes a module, its keys and its root certificate.
func New(options Options) (*Module, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Region == "" {
		options.Region = DefaultRegion
	}
	if options.ModuleID == "" {
		options.ModuleID = DefaultModuleID
		if options.Emulated {
			options.ModuleID = EmulatedModuleID
		}
	}
	m := &Module{options: options}
	m.measure()
	if err := m.authority.generate(m); err != nil {
		return nil, fmt.Errorf("nsmtest: %w", err)
	}
	return m, nil
}

// measure sets the registers as the hypervisor leaves them.
func (m *Module) measure() {
	for index := range 16 {
		m.registers[index].Locked = true
	}
	for index, name := range []string{"image", "kernel", "application"} {
		m.registers[index].Value = sha512.Sum384([]byte(name))
	}
	// PCR4 is that of the instance, and real documents keep to it.
	m.registers[4].Value = extend(nsm.Digest{}, []byte(m.instance()))
	for index, value := range m.options.PCRs {
		m.registers[index].Value = value
	}
}

// instance is the instance's part of the module's name.
func (m *Module) instance() string {
	instance, _, _ := strings.Cut(m.options.ModuleID, "-enc")
	return instance
}

func extend(old nsm.Digest, data []byte) nsm.Digest {
	return sha512.Sum384(append(old[:], data...))
}

// Root returns the certificate to which the documents chain.
func (m *Module) Root() *x509.Certificate { return m.authority.root }

// Device returns a device that uses the module.
func (m *Module) Device() *nsm.Device { return nsm.New(m) }

// Close makes every later exchange fail.
func (m *Module) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// Send answers a request with what the device would write, decoded as
// github.com/hf/nsm decodes it.
func (m *Module) Send(req request.Request) (response.Response, error) {
	if m.options.Before != nil {
		if err := m.options.Before(req); err != nil {
			return response.Response{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return response.Response{}, fmt.Errorf("nsmtest: module is closed")
	}
	wire, err := m.answer(req)
	if code, ok := err.(nsm.Code); ok {
		wire = appendMap(nil, appendText(nil, "Error"), appendText(nil, string(code)))
	} else if err != nil {
		return response.Response{}, err
	}
	var out response.Response
	return out, cbor.Unmarshal(wire, &out)
}

func (m *Module) answer(req request.Request) ([]byte, error) {
	switch r := req.(type) {
	case *request.DescribeNSM:
		return m.describe(), nil
	case *request.GetRandom:
		return answer("GetRandom", "random", appendBytes(nil, random(256))), nil
	case *request.DescribePCR:
		return m.describePCR(int(r.Index))
	case *request.ExtendPCR:
		return m.extendPCR(int(r.Index), r.Data)
	case *request.LockPCR:
		return m.lockPCR(int(r.Index))
	case *request.LockPCRs:
		return m.lockPCRs(int(r.Range))
	case *request.Attestation:
		document, err := m.document(nsm.Request{UserData: r.UserData, Nonce: r.Nonce, PublicKey: r.PublicKey})
		return answer("Attestation", "document", appendBytes(nil, document)), err
	}
	return nil, nsm.InvalidOperation
}

// answer encodes {operation: {field: value}}.
func answer(operation, field string, value []byte) []byte {
	return appendMap(nil, appendText(nil, operation), appendMap(nil, appendText(nil, field), value))
}

func (m *Module) describe() []byte {
	var locked [][]byte
	for index, register := range m.registers {
		if register.Locked {
			locked = append(locked, appendUint(nil, uint64(index)))
		}
	}
	return appendMap(nil, appendText(nil, "DescribeNSM"), appendMap(nil,
		appendText(nil, "version_major"), appendUint(nil, 1),
		appendText(nil, "version_minor"), appendUint(nil, 0),
		appendText(nil, "version_patch"), appendUint(nil, 0),
		appendText(nil, "module_id"), appendText(nil, m.options.ModuleID),
		appendText(nil, "max_pcrs"), appendUint(nil, nsm.RegisterCount),
		appendText(nil, "locked_pcrs"), appendArray(nil, locked...),
		appendText(nil, "digest"), appendText(nil, "SHA384"),
	))
}

func (m *Module) describePCR(index int) ([]byte, error) {
	if index >= nsm.RegisterCount {
		return nil, nsm.InvalidIndex
	}
	register := m.registers[index]
	return appendMap(nil, appendText(nil, "DescribePCR"), appendMap(nil,
		appendText(nil, "lock"), appendBool(nil, register.Locked),
		appendText(nil, "data"), appendBytes(nil, register.Value[:]),
	)), nil
}

func (m *Module) extendPCR(index int, data []byte) ([]byte, error) {
	if err := m.writable(index); err != nil {
		return nil, err
	}
	m.registers[index].Value = extend(m.registers[index].Value, data)
	return answer("ExtendPCR", "data", appendBytes(nil, m.registers[index].Value[:])), nil
}

func (m *Module) lockPCR(index int) ([]byte, error) {
	if err := m.writable(index); err != nil {
		return nil, err
	}
	m.registers[index].Locked = true
	return appendText(nil, "LockPCR"), nil
}

// lockPCRs locks the registers below end.
func (m *Module) lockPCRs(end int) ([]byte, error) {
	if end > nsm.RegisterCount {
		return nil, nsm.InvalidIndex
	}
	for index := range end {
		m.registers[index].Locked = true
	}
	return appendText(nil, "LockPCRs"), nil
}

func (m *Module) writable(index int) error {
	switch {
	case index >= nsm.RegisterCount:
		return nsm.InvalidIndex
	case m.registers[index].Locked:
		return nsm.ReadOnlyIndex
	}
	return nil
}
