package jsontree

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Object reads typed fields. The first thing that is missing or wrong is kept and
// every later read returns zero, so that a caller may read a whole container and
// ask Err once. Objects of one document share that error.
type Object struct {
	value   *value
	parent  *Object
	name    string
	failure *error
}

// Err returns the first failure among all objects of the document.
func (o *Object) Err() error { return *o.failure }

// Fail records a failure of a field's meaning, unless one is recorded already.
func (o *Object) Fail(name, format string, args ...any) {
	if *o.failure == nil {
		*o.failure = fmt.Errorf("%s: %s", o.path(name), fmt.Sprintf(format, args...))
	}
}

func (o *Object) path(name string) string {
	if o.parent == nil {
		return name
	}
	if strings.HasPrefix(name, "[") {
		return o.parent.path(o.name) + name
	}
	return o.parent.path(o.name) + "." + name
}

// find returns a field's value; null and a missing field are both absent.
func (o *Object) find(name string) *value {
	if o.value != nil {
		for i := range o.value.fields {
			f := &o.value.fields[i]
			if sameName(f.name, name) && f.value.kind != null {
				return &f.value
			}
		}
	}
	return &value{}
}

// Has reports whether a field is there and not null.
func (o *Object) Has(name string) bool { return o.find(name).kind != absent }

func (o *Object) want(v *value, name string, k kind) bool {
	if v.kind == k {
		return true
	}
	if v.kind == absent {
		o.Fail(name, "missing")
	} else {
		o.Fail(name, "got %v, want %v", v.kind, k)
	}
	return false
}

// Object returns a nested object.
func (o *Object) Object(name string) *Object {
	return o.child(o.find(name), name)
}

func (o *Object) child(v *value, name string) *Object {
	if !o.want(v, name, object) {
		v = &value{}
	}
	return &Object{value: v, parent: o, name: name, failure: o.failure}
}

// Each calls read for every object of a list, with at most limit elements.
func (o *Object) Each(name string, limit int, read func(*Object)) {
	o.items(name, limit, func(holder *Object, index string, v *value) {
		read(holder.child(v, index))
	})
}

// items walks a list, naming its elements [0], [1] and so on.
func (o *Object) items(name string, limit int, read func(holder *Object, index string, v *value)) {
	v := o.find(name)
	if !o.want(v, name, list) {
		return
	}
	if len(v.items) > limit {
		o.Fail(name, "has %d elements, limit %d", len(v.items), limit)
		return
	}
	holder := &Object{parent: o, name: name, failure: o.failure}
	for i := range v.items {
		read(holder, "["+strconv.Itoa(i)+"]", &v.items[i])
	}
}

// Text returns a string.
func (o *Object) Text(name string) string {
	v := o.find(name)
	if !o.want(v, name, text) {
		return ""
	}
	return v.text
}

// Texts returns a list of strings, at most limit of them.
func (o *Object) Texts(name string, limit int) []string {
	var texts []string
	o.items(name, limit, func(holder *Object, index string, v *value) {
		if holder.want(v, index, text) {
			texts = append(texts, v.text)
		}
	})
	return texts
}

// Bool returns a boolean.
func (o *Object) Bool(name string) bool {
	v := o.find(name)
	return o.want(v, name, boolean) && v.text == "true"
}

// Uint64 returns an unsigned integer, written as a decimal string or as a bare
// JSON integer. Web3Signer takes both.
func (o *Object) Uint64(name string) uint64 {
	return o.uint64(name, o.find(name))
}

func (o *Object) uint64(name string, v *value) uint64 {
	if v.kind != number && !o.want(v, name, text) {
		return 0
	}
	n, err := parseUint64(v.text)
	if err != nil {
		o.Fail(name, "got %s, want a decimal integer below 2^64", quote(v.text))
	}
	return n
}

func parseUint64(s string) (uint64, error) {
	if s == "" || !isDigit(s[0]) { // ParseUint takes a sign
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseUint(s, 10, 64)
}

// Uint64s returns a list of unsigned integers, at most limit of them.
func (o *Object) Uint64s(name string, limit int) []uint64 {
	var values []uint64
	o.items(name, limit, func(holder *Object, index string, v *value) {
		values = append(values, holder.uint64(index, v))
	})
	return values
}

// Fixed fills out with hex bytes, with or without 0x, of exactly out's length.
func (o *Object) Fixed(name string, out []byte) {
	o.fixed(name, o.find(name), out)
}

func (o *Object) fixed(name string, v *value, out []byte) {
	digits, ok := o.digits(name, v)
	if !ok {
		return
	}
	if len(digits) != 2*len(out) {
		o.Fail(name, "has %d hex digits, want %d", len(digits), 2*len(out))
		return
	}
	if _, err := hex.Decode(out, []byte(digits)); err != nil {
		clear(out)
		o.Fail(name, "got %s, want hex", quote(v.text))
	}
}

// Root returns 32 bytes of hex.
func (o *Object) Root(name string) (root [32]byte) {
	o.Fixed(name, root[:])
	return root
}

// Roots returns a list of 32-byte values that must have exactly n elements.
func (o *Object) Roots(name string, n int) [][32]byte {
	var roots [][32]byte
	o.items(name, n, func(holder *Object, index string, v *value) {
		var root [32]byte
		holder.fixed(index, v, root[:])
		roots = append(roots, root)
	})
	if len(roots) != n {
		o.Fail(name, "has %d elements, want %d", len(roots), n)
	}
	return roots
}

// Hex returns hex bytes of any length up to limit.
func (o *Object) Hex(name string, limit int) []byte {
	return o.hex(name, o.find(name), limit)
}

// EachHex calls read for every element of a list of hex bytes, at most limit
// elements of at most size bytes.
func (o *Object) EachHex(name string, limit, size int, read func([]byte)) {
	o.items(name, limit, func(holder *Object, index string, v *value) {
		read(holder.hex(index, v, size))
	})
}

func (o *Object) hex(name string, v *value, limit int) []byte {
	digits, ok := o.digits(name, v)
	if !ok {
		return nil
	}
	if len(digits) > 2*limit {
		o.Fail(name, "has %d hex digits, limit %d", len(digits), 2*limit)
		return nil
	}
	data, err := hex.DecodeString(digits)
	if err != nil {
		o.Fail(name, "got %s, want hex", quote(v.text))
		return nil
	}
	return data
}

// digits returns a string field without its 0x.
func (o *Object) digits(name string, v *value) (string, bool) {
	if !o.want(v, name, text) {
		return "", false
	}
	if strings.HasPrefix(v.text, "0x") || strings.HasPrefix(v.text, "0X") {
		return v.text[2:], true
	}
	return v.text, true
}
