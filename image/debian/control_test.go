package debian

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func readAll(text string) ([]paragraph, error) {
	c := newControlReader(strings.NewReader(text))
	var all []paragraph
	for {
		p, err := c.next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
}

func TestControlData(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want []paragraph
	}{
		"nothing":            {"", nil},
		"blank lines":        {"\n \n\t\n", nil},
		"one field":          {"Package: bc\n", []paragraph{{"package": "bc"}}},
		"no newline at end":  {"Package: bc", []paragraph{{"package": "bc"}}},
		"colon in the value": {"Version: 1:2\n", []paragraph{{"version": "1:2"}}},
		"any case":           {"PACKAGE: bc\n", []paragraph{{"package": "bc"}}},
		"space around":       {"Package:\t bc \r\n", []paragraph{{"package": "bc"}}},
		"empty value":        {"Depends:\n", []paragraph{{"depends": ""}}},
		"two paragraphs":     {"A: 1\n\n\nB: 2\n\n", []paragraph{{"a": "1"}, {"b": "2"}}},
		"continuation":       {"Files:\n a\n  b\n\tc\nD: 1\n", []paragraph{{"files": "\na\n b\nc", "d": "1"}}},
		"comment":            {"# x\nA: 1\n# y\n b\n", []paragraph{{"a": "1\nb"}}},
	} {
		got, err := readAll(row.text)
		if err != nil || !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %q (%v), want %q", name, got, err, row.want)
		}
	}
}

func TestOddControlDataIsRefusedWithItsLine(t *testing.T) {
	for name, row := range map[string]struct{ text, want string }{
		"no colon":             {"A: 1\nB\n", "line 2: want a field"},
		"no name":              {": 1\n", "line 1: want a field"},
		"name with a space":    {"A b: 1\n", "line 1: want a field"},
		"name with a hyphen":   {"-a: 1\n", "line 1: want a field"},
		"continuation first":   {"A: 1\n\n b\n", "line 3: continuation"},
		"duplicate field":      {"A: 1\na: 2\n", `line 2: duplicate field "a"`},
		"enormous line":        {"A: " + strings.Repeat("x", maxControlLine), "line 1: bufio.Scanner: token too long"},
		"enormous paragraph":   {"A:\n" + strings.Repeat(" "+strings.Repeat("x", 1<<20)+"\n", 17), "paragraph of more than"},
		"name beyond ASCII":    {"Ä: 1\n", "line 1: want a field"},
		"name with a control":  {"A\x00: 1\n", "line 1: want a field"},
		"binary":               {"\x1f\x8b\x08\x00", "line 1: want a field"},
		"a signature in place": {"-----BEGIN PGP SIGNED MESSAGE-----\n", "line 1: want a field"},
	} {
		if _, err := readAll(row.text); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, row.want)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add("Package: bc\nVersion: 1.0-1\n\nPackage: make\nDepends: libc6 (>= 2.27)\n")
	f.Add("Files:\n a\n  b\n# comment\n")
	f.Add("A:\n .\n b\n\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readAll(text)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, p := range all {
			if len(p) == 0 {
				t.Fatal("a paragraph without fields")
			}
			for _, name := range slices.Sorted(maps.Keys(p)) {
				fmt.Fprintf(&b, "%s: %s\n", name, strings.ReplaceAll(p[name], "\n", "\n "))
			}
			b.WriteByte('\n')
		}
		again, err := readAll(b.String())
		if err != nil || !reflect.DeepEqual(again, all) {
			t.Errorf("%q read as %q, and that written as %q read as %q (%v)", text, all, b.String(), again, err)
		}
	})
}

func TestRelations(t *testing.T) {
	got, err := parseDependencies("libc6 (>= 2.36), gcc:any | clang (<<1:16~), perl:amd64 ( = 5 ),")
	want := []dependency{
		{{name: "libc6", op: ">=", version: "2.36"}},
		{{name: "gcc"}, {name: "clang", op: "<<", version: "1:16~"}},
		{{name: "perl", op: "=", version: "5"}},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
	for _, odd := range []string{"a b", "gcc (> 1)", "gcc (>= )", "gcc (>= x)", "gcc | ", "Gcc", "gcc [amd64]", "gcc (>= 1", "gcc (>= 1) x"} {
		if d, err := parseDependencies(odd); err == nil {
			t.Errorf("%q was read as %v", odd, d)
		}
	}
}

func TestVersionConditions(t *testing.T) {
	for _, row := range []struct {
		relation string
		allowed  string // of the versions 1, 2, 3
	}{
		{"bc", "123"}, {"bc (<< 2)", "1"}, {"bc (<= 2)", "12"}, {"bc (= 2)", "2"}, {"bc (>= 2)", "23"}, {"bc (>> 2)", "3"},
	} {
		r, err := parseRelation(row.relation)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, v := range []string{"1", "2", "3"} {
			if r.allows(v) {
				got += v
			}
		}
		if got != row.allowed || r.String() != row.relation {
			t.Errorf("%s (%s) allows %s, want %s", row.relation, r, got, row.allowed)
		}
	}
}
