package report

import "fmt"

// A Class groups the rules by what a failure means. Its value is the exit
// status of the command.
type Class int

// The classes, from the bytes outwards. When rules of several classes fail,
// the lowest class is the outcome.
const (
	Malformed    Class = 3
	Signature    Class = 4
	Freshness    Class = 5
	Measurements Class = 6
	Binding      Class = 7
	Policy       Class = 8
)

// A Rule is one thing to check. Its number is stable: A are the outer COSE
// structure, B the CBOR of the payload, F its fields, P the platform, C the
// certificates, S the second opinion, D time and nonce, E the measurements and
// what the document binds.
type Rule uint8

// The rules, in the order in which they are reported.
const (
	A1 Rule = iota
	A2
	A3
	A4
	A5
	A6
	B1
	B2
	B3
	B4
	B5
	B6
	F1
	F2
	F3
	F4
	F5
	F6
	F7
	F8
	P1
	C1
	C2
	C3
	C4
	C5
	C6
	C7
	C8
	C9
	A9
	A7
	A8
	S1
	D1
	D2
	E1
	E2
	E3
	E4
	E5
	E6
	E7
	E8
	E9
	E10
	E11
	E12

	rules // how many there are
)

// catalog describes every rule.
var catalog = [rules]struct {
	id    string
	class Class
	what  string
}{
	A1:  {"A1", Malformed, "size of the document"},
	A2:  {"A2", Malformed, "encoding of the input"},
	A3:  {"A3", Malformed, "COSE_Sign1 array"},
	A4:  {"A4", Malformed, "protected header"},
	A5:  {"A5", Malformed, "unprotected header"},
	A6:  {"A6", Malformed, "payload and signature"},
	B1:  {"B1", Malformed, "payload is one map"},
	B2:  {"B2", Malformed, "CBOR items"},
	B3:  {"B3", Malformed, "keys, depth and end of the payload"},
	B4:  {"B4", Malformed, "number of elements"},
	B5:  {"B5", Malformed, "fields present"},
	B6:  {"B6", Malformed, "spelling of the keys"},
	F1:  {"F1", Malformed, "module_id"},
	F2:  {"F2", Malformed, "digest"},
	F3:  {"F3", Malformed, "timestamp"},
	F4:  {"F4", Malformed, "pcrs"},
	F5:  {"F5", Malformed, "certificate"},
	F6:  {"F6", Malformed, "cabundle"},
	F7:  {"F7", Malformed, "public_key"},
	F8:  {"F8", Malformed, "user_data and nonce"},
	P1:  {"P1", Policy, "platform"},
	C1:  {"C1", Signature, "trust anchor"},
	C2:  {"C2", Signature, "root in the document"},
	C3:  {"C3", Signature, "order of the chain"},
	C4:  {"C4", Signature, "links of the chain"},
	C5:  {"C5", Signature, "certificate authorities"},
	C6:  {"C6", Signature, "leaf certificate"},
	C7:  {"C7", Signature, "validity of the chain"},
	C8:  {"C8", Signature, "denied certificates"},
	C9:  {"C9", Signature, "names in the chain"},
	A9:  {"A9", Signature, "algorithm and key"},
	A7:  {"A7", Signature, "signature"},
	A8:  {"A8", Signature, "form of the signature"},
	S1:  {"S1", Signature, "second opinion: hf/nitrite"},
	D1:  {"D1", Freshness, "nonce"},
	D2:  {"D2", Freshness, "age"},
	E1:  {"E1", Measurements, "PCR0, PCR1 and PCR2"},
	E2:  {"E2", Measurements, "published measurements"},
	E3:  {"E3", Measurements, "debug mode"},
	E4:  {"E4", Measurements, "PCR8: signing certificate"},
	E5:  {"E5", Measurements, "application ramdisk"},
	E6:  {"E6", Measurements, "PCR4: instance"},
	E7:  {"E7", Measurements, "PCR1: kernel"},
	E8:  {"E8", Binding, "PCR16: configuration"},
	E9:  {"E9", Binding, "channel binding"},
	E10: {"E10", Measurements, "start of the enclave"},
	E11: {"E11", Binding, "configuration of the bundle"},
	E12: {"E12", Binding, "PCR16 of the bundle"},
}

// Rules returns every rule in order.
func Rules() []Rule {
	all := make([]Rule, rules)
	for i := range all {
		all[i] = Rule(i)
	}
	return all
}

// String returns the number of the rule, such as "A3".
func (r Rule) String() string {
	if r >= rules {
		return fmt.Sprintf("rule %d", uint8(r))
	}
	return catalog[r].id
}

// Class tells what a failure of the rule means.
func (r Rule) Class() Class { return catalog[r].class }
