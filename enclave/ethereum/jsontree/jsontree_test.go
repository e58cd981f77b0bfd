package jsontree_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/jsontree"
)

func parse(t *testing.T, data string) jsontree.Object {
	t.Helper()
	o, err := jsontree.Parse([]byte(data))
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return o
}

func TestFieldsAreFoundInEitherSpelling(t *testing.T) {
	for _, name := range []string{"signing_root", "signingRoot", "SIGNING_ROOT"} {
		o := parse(t, `{"other":1,"`+name+`":"x"}`)
		if got := o.Text("signing_root"); got != "x" || o.Err() != nil {
			t.Errorf("%s: got %q, %v", name, got, o.Err())
		}
	}
	o := parse(t, `{"signing_roots":"x","signing":"y"}`)
	if o.Has("signing_root") {
		t.Error("found a field of another name")
	}
}

func TestNullIsAbsent(t *testing.T) {
	o := parse(t, `{"a":null}`)
	if o.Has("a") || o.Has("b") {
		t.Error("null or missing field is there")
	}
}

func TestIntegersAreDecimalStringsOrBare(t *testing.T) {
	for literal, want := range map[string]uint64{
		`"0"`: 0, `0`: 0, `"18446744073709551615"`: 1<<64 - 1, `18446744073709551615`: 1<<64 - 1, `"007"`: 7,
	} {
		o := parse(t, `{"n":`+literal+`}`)
		if got := o.Uint64("n"); got != want || o.Err() != nil {
			t.Errorf("%s: got %d, %v; want %d", literal, got, o.Err(), want)
		}
	}
	for _, literal := range []string{`""`, `"-1"`, `-1`, `"+1"`, `1.0`, `1e3`, `"0x10"`, `"18446744073709551616"`, `true`, `[]`, `" 1"`, `"1_0"`} {
		o := parse(t, `{"n":`+literal+`}`)
		if got := o.Uint64("n"); o.Err() == nil {
			t.Errorf("%s was taken for %d", literal, got)
		}
	}
}

func TestHexHasTheWantedLength(t *testing.T) {
	root := strings.Repeat("aB", 32)
	for _, s := range []string{root, "0x" + root, "0X" + root} {
		o := parse(t, `{"r":"`+s+`"}`)
		if got := o.Root("r"); o.Err() != nil || got[0] != 0xab {
			t.Errorf("%s: got %x, %v", s, got, o.Err())
		}
	}
	for _, s := range []string{"", "0x", root[2:], root + "00", "0x0x" + root[4:], strings.Repeat("zz", 32)} {
		o := parse(t, `{"r":"`+s+`"}`)
		if got := o.Root("r"); o.Err() == nil || got != [32]byte{} {
			t.Errorf("%q: got %x, %v; want zero and an error", s, got, o.Err())
		}
	}
	o := parse(t, `{"h":"0x0102"}`)
	if got := o.Hex("h", 2); o.Err() != nil || len(got) != 2 {
		t.Errorf("got %x, %v", got, o.Err())
	}
	for _, c := range []struct {
		text  string
		limit int
	}{{"0x010203", 2}, {"0x01020", 3}, {"xy", 3}} {
		o := parse(t, `{"h":"`+c.text+`"}`)
		if got := o.Hex("h", c.limit); o.Err() == nil {
			t.Errorf("%s: got %x, want an error", c.text, got)
		}
	}
}

func TestTheFirstFailureNamesItsPath(t *testing.T) {
	o := parse(t, `{"a":{"list":[{"n":"1"},{"n":"x"}]}}`)
	var sum uint64
	o.Object("a").Each("list", 5, func(item *jsontree.Object) { sum += item.Uint64("n") })
	o.Object("b").Uint64("later")
	if o.Err() == nil || !strings.HasPrefix(o.Err().Error(), "a.list[1].n: ") {
		t.Errorf("got %v, want the path a.list[1].n", o.Err())
	}
	if sum != 1 {
		t.Errorf("got sum %d, want 1", sum)
	}
}

func TestWrongKindsAreNamed(t *testing.T) {
	for name, read := range map[string]func(*jsontree.Object){
		"text": func(o *jsontree.Object) { o.Text("f") },
		"hex":  func(o *jsontree.Object) { o.Hex("f", 9) },
		"list": func(o *jsontree.Object) { o.Uint64s("f", 9) },
		"root": func(o *jsontree.Object) { o.Roots("f", 1) },
	} {
		for literal, kind := range map[string]string{`true`: "a boolean", `{}`: "an object", `null`: "missing"} {
			o := parse(t, `{"f":`+literal+`}`)
			if read(&o); o.Err() == nil || !strings.Contains(o.Err().Error(), kind) {
				t.Errorf("%s of %s: got %v, want it to say %s", name, literal, o.Err(), kind)
			}
		}
	}
}

func TestListsAreBounded(t *testing.T) {
	o := parse(t, `{"l":["1","2","3"]}`)
	if got := o.Uint64s("l", 3); o.Err() != nil || fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("got %v, %v", got, o.Err())
	}
	if o.Uint64s("l", 2); o.Err() == nil {
		t.Error("a list over its limit was taken")
	}
	root := `"` + strings.Repeat("11", 32) + `"`
	o = parse(t, `{"l":[`+root+`,`+root+`]}`)
	if got := o.Roots("l", 2); o.Err() != nil || len(got) != 2 {
		t.Errorf("got %v, %v", got, o.Err())
	}
	if o.Roots("l", 3); o.Err() == nil {
		t.Error("a vector that is too short was taken")
	}
}

func TestWhatIsNotStrictJSONIsRefused(t *testing.T) {
	for name, data := range map[string]string{
		"empty":               "",
		"not an object":       `["a"]`,
		"trailing data":       `{} {}`,
		"repeated field":      `{"a":1,"a":2}`,
		"two spellings":       `{"signing_root":1,"signingRoot":2}`,
		"repeated by escape":  `{"a":1,"\u0061":2}`,
		"not UTF-8":           "{\"a\":\"\xff\"}",
		"trailing comma":      `{"a":1,}`,
		"leading comma":       `{,"a":1}`,
		"no colon":            `{"a" 1}`,
		"no comma":            `{"a":1 "b":2}`,
		"list without comma":  `{"a":[1 2]}`,
		"open list":           `{"a":[1`,
		"open object":         `{"a":1`,
		"open string":         `{"a":"`,
		"open escape":         `{"a":"\`,
		"bad escape":          `{"a":"\x41"}`,
		"control character":   "{\"a\":\"\n\"}",
		"leading zero":        `{"a":01}`,
		"lone minus":          `{"a":-}`,
		"two points":          `{"a":1.2.3}`,
		"unknown word":        `{"a":nil}`,
		"single quotes":       `{'a':1}`,
		"bare name":           `{a:1}`,
		"comment":             `{/**/}`,
		"missing value":       `{"a":}`,
		"too deep":            strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40),
		"deep and open":       strings.Repeat(`{"a":[`, 4000000),
		"too many values":     `{"a":[` + strings.Repeat("1,", 70000) + `1]}`,
		"too many fields":     manyFields(65),
		"byte order mark":     "\ufeff{}",
		"number then letters": `{"a":1x}`,
	} {
		if _, err := jsontree.Parse([]byte(data)); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := jsontree.Parse([]byte(manyFields(64))); err != nil {
		t.Errorf("64 fields: %v", err)
	}
}

func manyFields(n int) string {
	fields := make([]string, n)
	for i := range fields {
		fields[i] = fmt.Sprintf(`"f%d":1`, i)
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func TestEscapesAreDecoded(t *testing.T) {
	o := parse(t, `{"t\u0079pe":"A\u0042\n\ud83d\ude00"}`)
	if got := o.Text("type"); got != "AB\n😀" || o.Err() != nil {
		t.Errorf("got %q, %v", got, o.Err())
	}
}

func TestAHostileBodyCostsBoundedMemory(t *testing.T) {
	const size = 8 << 20
	for name, body := range map[string]string{
		"empty lists":  `{"a":[` + strings.Repeat("[],", size/3) + `[]]}`,
		"numbers":      `{"a":[` + strings.Repeat("1,", size/2) + `1]}`,
		"open lists":   strings.Repeat(`[`, size),
		"long string":  `{"a":"` + strings.Repeat("x", size) + `"}`,
		"many objects": `{"a":[` + strings.Repeat(`{"a":1},`, size/8) + `{}]}`,
	} {
		var before, after runtime.MemStats
		data := []byte(body)
		runtime.ReadMemStats(&before)
		jsontree.Parse(data)
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; cost > 48<<20 {
			t.Errorf("%s: parsing %d bytes allocated %d", name, len(data), cost)
		}
	}
}

// FuzzParse holds the parser to encoding/json: what it takes is valid JSON, and a
// valid object that it refuses breaks one of its own further rules.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":[1,-2.5e+7,"x\u0020",null,true,{"b":{}}]}`, `{"a":1,"A":2}`, `{"a":"\ud800"}`, "{\"\":\"\u2028\"}", `{"a":1}}`, ` { } `,
	} {
		f.Add([]byte(seed))
	}
	ownRules := []string{"comes twice", "nested more than", "more than", "not UTF-8", "want an object"}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := jsontree.Parse(data)
		if err == nil {
			if !json.Valid(data) {
				t.Fatalf("%q was taken but is not JSON", data)
			}
			o.Object("a").Uint64("b")
			o.Uint64s("a", 3)
			o.Root("a")
			return
		}
		for _, rule := range ownRules {
			if strings.Contains(err.Error(), rule) {
				return
			}
		}
		if json.Valid(data) {
			t.Fatalf("%q is JSON but was refused: %v", data, err)
		}
	})
}

func TestListsOfTextAndHexAndBooleans(t *testing.T) {
	o, err := jsontree.Parse([]byte(`{"names":["a","b"],"blobs":["0x","0x0102"],"yes":true,"no":false}`))
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int
	o.EachHex("blobs", 2, 2, func(data []byte) { sizes = append(sizes, len(data)) })
	names := o.Texts("names", 2)
	if len(names) != 2 || names[1] != "b" || len(sizes) != 2 || sizes[1] != 2 || !o.Bool("yes") || o.Bool("no") || o.Err() != nil {
		t.Errorf("got %v, %v, %v", names, sizes, o.Err())
	}
	for _, read := range []func(*jsontree.Object){
		func(o *jsontree.Object) { o.Texts("names", 1) },
		func(o *jsontree.Object) { o.Texts("yes", 1) },
		func(o *jsontree.Object) { o.Texts("missing", 1) },
		func(o *jsontree.Object) { o.EachHex("blobs", 1, 2, func([]byte) {}) },
		func(o *jsontree.Object) { o.EachHex("blobs", 2, 1, func([]byte) {}) },
		func(o *jsontree.Object) { o.EachHex("names", 2, 9, func([]byte) {}) },
		func(o *jsontree.Object) { o.Bool("names") },
		func(o *jsontree.Object) { o.Bool("missing") },
	} {
		o, err := jsontree.Parse([]byte(`{"names":["a","b"],"blobs":["0x","0x0102"],"yes":true}`))
		if err != nil {
			t.Fatal(err)
		}
		if read(&o); o.Err() == nil {
			t.Error("a misfit was taken")
		}
	}
}
