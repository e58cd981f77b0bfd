package envelope_test

import (
	"strings"
	"testing"

	"holdfast/verify/envelope"
)

func TestJSONHasOneCanonicalForm(t *testing.T) {
	for text, want := range map[string]string{
		" { \"b\" : [ 1 , true ] ,\n\t\"a\" : \"\\u00e9\\/\\u0041\\u000a\\u001F\" } ": `{"a":"é/A\n\u001f","b":[1,true]}`,
		`{"B":1,"a":2,"A":3,"":4}`:                   `{"":4,"A":3,"B":1,"a":2}`,
		`{"a":"\ud83d\udd11\u007f"}`:                 "{\"a\":\"\U0001f511\x7f\"}",
		`{"n":18446744073709551615,"o":{},"p":[[]]}`: `{"n":18446744073709551615,"o":{},"p":[[]]}`,
	} {
		if got, err := envelope.Canonicalize([]byte(text)); err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestWhatAConfigurationDoesNotHoldHasNoCanonicalForm(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":null}`:       "no null",
		`{"a":1.5}`:        "unsigned integers",
		`{"a":-1}`:         "unsigned integers",
		`{"a":1e3}`:        "unsigned integers",
		`{"é":1}`:          "names of printable ASCII",
		`{"\u0022":1}`:     "names of printable ASCII",
		`{}{}`:             "nothing after",
		`{"a":`:            "want JSON",
		"{\"a\":\"\xff\"}": "valid Unicode",
		strings.Repeat("[", 40) + strings.Repeat("]", 40): "want canonical JSON",
	} {
		if got, err := envelope.Canonicalize([]byte(text)); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %s, %v, want %q", text, got, err, want)
		}
	}
}
