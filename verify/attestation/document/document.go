// Package document parses attestation documents: bytes, and no more.
//
// A document is a COSE_Sign1 structure (RFC 9052) around a CBOR map (RFC 8949)
// that the Nitro Security Module signs. [Parse] accepts what real hardware
// writes and little else, in one pass, without allocating before it has
// checked a length, and never panics. It checks no signature: what it returns
// is a claim until package chain has verified it, and irrelevant until package
// judgement has compared it with what is published.
//
// The rules are numbered as in package report.
package document

import (
	"bytes"
	"crypto/sha512"
	"fmt"
	"strings"
	"time"

	"holdfast/verify/pcrs"
	"holdfast/verify/report"
)

const (
	// MaxSize bounds a document. The NSM's response, which holds it, cannot
	// exceed 12,288 bytes.
	MaxSize = 16 << 10

	// MaxFieldSize bounds public_key, user_data, nonce and each certificate.
	MaxFieldSize = 1024

	// SignatureSize is that of an ES384 signature, r and s of 48 bytes each
	// (RFC 9053 section 2.1).
	SignatureSize = 2 * 48

	// maxModuleID bounds module_id; real ones have 39 bytes.
	maxModuleID = 256

	// maxPCRs is the number of registers that an NSM has.
	maxPCRs = 32

	// maxTimestamp keeps a timestamp exact in every JSON reader.
	maxTimestamp = 1 << 53
)

// protectedES384 is the protected header of every signed document: the map
// {1: -35}, alg ES384.
var protectedES384 = []byte{0xa1, 0x01, 0x38, 0x22}

// protectedEmulated is the header that QEMU writes: the map {1: -1}.
var protectedEmulated = []byte{0xa1, 0x01, 0x20}

// A Document is what an attestation document claims.
type Document struct {
	ModuleID  string
	Timestamp time.Time // to the millisecond

	// PCRs holds the locked registers by index, 0 to 31.
	PCRs map[int]pcrs.PCR

	// Certificate is the DER leaf, CABundle the DER chain from the root down.
	Certificate []byte
	CABundle    [][]byte

	// PublicKey, UserData and Nonce are nil where the document has none.
	PublicKey, UserData, Nonce []byte

	// UnknownKeys lists fields that this version does not know.
	UnknownKeys []string

	// Protected, Payload and Signature are the parts of the COSE structure
	// as received.
	Protected, Payload, Signature []byte
}

// SigStructure returns the bytes that the signature covers (A7): the array of
// "Signature1", the protected header, an empty byte string and the payload, as
// RFC 9052 section 4.4 has it.
func (d *Document) SigStructure() []byte {
	out := []byte{majorArray<<5 | 4}
	out = appendString(out, majorText, []byte("Signature1"))
	out = appendString(out, majorBytes, d.Protected)
	out = appendString(out, majorBytes, nil)
	return appendString(out, majorBytes, d.Payload)
}

// appendString writes a string of at most 65535 bytes with the shortest head.
func appendString(out []byte, major byte, s []byte) []byte {
	switch n := len(s); {
	case n < 24:
		out = append(out, major<<5|byte(n))
	case n <= 0xff:
		out = append(out, major<<5|24, byte(n))
	default:
		out = append(out, major<<5|25, byte(n>>8), byte(n))
	}
	return append(out, s...)
}

// Parse reads a signed document in its binary form, and notes in r each rule
// of the groups A, B and F that it reached. The error is an [*Error].
func Parse(raw []byte, r *report.Report) (*Document, error) {
	return parse(raw, r, false)
}

// ParseUnsafeEmulated reads a document made by QEMU's emulated NSM: the
// algorithm -1, a signature of 64 zero bytes. Rules A4 and A6 are noted as
// failed. Nothing vouches for such a document: anybody can write one.
func ParseUnsafeEmulated(raw []byte, r *report.Report) (*Document, error) {
	return parse(raw, r, true)
}

// IsEmulated tells whether raw has the marks of QEMU's emulated NSM.
func IsEmulated(raw []byte) bool {
	var scratch report.Report
	env, err := parseEnvelope(raw, &scratch)
	return err == nil && bytes.Equal(env.protected, protectedEmulated) &&
		bytes.Equal(env.signature, make([]byte, 64))
}

func parse(raw []byte, r *report.Report, emulated bool) (*Document, error) {
	d, err := parseAll(raw, r, emulated)
	if err != nil {
		if e, ok := err.(*Error); ok {
			r.Fail(e.Rule, e.Expected, e.Got)
		}
		return nil, err
	}
	return d, nil
}

func parseAll(raw []byte, r *report.Report, emulated bool) (*Document, error) {
	env, err := parseEnvelope(raw, r)
	if err != nil {
		return nil, err
	}
	if err := env.check(r, emulated); err != nil {
		return nil, err
	}
	d := &Document{Protected: env.protected, Payload: env.payload, Signature: env.signature}
	return d, d.parsePayload(r)
}

// An envelope holds the parts of the COSE structure.
type envelope struct{ protected, payload, signature []byte }

// parseEnvelope applies A1, A3 and A5, and splits the array.
func parseEnvelope(raw []byte, r *report.Report) (envelope, error) {
	var env envelope
	if len(raw) == 0 || len(raw) > MaxSize {
		return env, &Error{report.A1, fmt.Sprintf("1 to %d bytes", MaxSize), fmt.Sprintf("%d bytes", len(raw))}
	}
	r.Pass(report.A1, fmt.Sprintf("at most %d bytes", MaxSize), fmt.Sprintf("%d bytes", len(raw)))
	in := &reader{data: raw, rule: report.A3}
	const tagSign1 = majorTag<<5 | 18
	tagged := in.peek() == tagSign1
	if tagged {
		in.off++
	}
	n, err := in.item(majorArray, "an array")
	if err != nil {
		return env, err
	}
	if n != 4 {
		return env, in.errorf("4 elements", "%d", n)
	}
	in.rule = report.A4
	if env.protected, err = in.bytes(); err != nil {
		return env, err
	}
	in.rule = report.A5
	if n, err := in.item(majorMap, "an empty map"); err != nil {
		return env, err
	} else if n != 0 {
		return env, in.errorf("an empty map", "%d pairs", n)
	}
	in.rule = report.A6
	if env.payload, err = in.bytes(); err != nil {
		return env, err
	}
	if env.signature, err = in.bytes(); err != nil {
		return env, err
	}
	in.rule = report.A3
	if in.remaining() != 0 {
		return env, in.errorf("nothing after the array", "%d bytes", in.remaining())
	}
	r.Pass(report.A3, "4 elements, untagged or tag 18", map[bool]string{false: "untagged", true: "tag 18"}[tagged])
	r.Pass(report.A5, "an empty map", "an empty map")
	return env, nil
}

// check applies A4 and A6 to the parts.
func (env envelope) check(r *report.Report, emulated bool) error {
	header := env.checkHeader()
	signature := env.checkSignature()
	if emulated {
		if header == nil || !bytes.Equal(env.protected, protectedEmulated) || !bytes.Equal(env.signature, make([]byte, 64)) {
			return &Error{report.A4, "the marks of an emulated document", "others"}
		}
		r.Fail(report.A4, header.Expected, "alg -1: emulated, not signed")
		r.Fail(report.A6, signature.Expected, "64 zero bytes: emulated, not signed")
		return nil
	}
	if header != nil {
		return header
	}
	r.Pass(report.A4, "a1013822 (ES384)", "a1013822")
	if signature != nil {
		return signature
	}
	r.Pass(report.A6, fmt.Sprintf("payload, and %d bytes of signature", SignatureSize), fmt.Sprintf("payload of %d bytes, signature of %d", len(env.payload), len(env.signature)))
	return nil
}

func (env envelope) checkHeader() *Error {
	if bytes.Equal(env.protected, protectedES384) {
		return nil
	}
	return &Error{report.A4, "a1013822 (ES384)", quoteHex(env.protected)}
}

func (env envelope) checkSignature() *Error {
	if len(env.payload) == 0 {
		return &Error{report.A6, "a payload", "none"}
	}
	if len(env.signature) != SignatureSize {
		return &Error{report.A6, fmt.Sprintf("%d bytes of signature", SignatureSize), fmt.Sprintf("%d", len(env.signature))}
	}
	return nil
}

// quoteHex shows a few bytes.
func quoteHex(b []byte) string {
	const limit = 16
	if len(b) > limit {
		return fmt.Sprintf("%x… (%d bytes)", b[:limit], len(b))
	}
	if len(b) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%x", b)
}

// InstanceID returns the part of module_id before the last dash: the parent
// instance's id.
func (d *Document) InstanceID() string {
	if i := strings.LastIndexByte(d.ModuleID, '-'); i > 0 {
		return d.ModuleID[:i]
	}
	return ""
}

// Extend returns what a register holds after data was extended into its value
// old: SHA-384(old || data).
func Extend(old pcrs.PCR, data []byte) pcrs.PCR {
	return sha512.Sum384(append(old[:], data...))
}
