package sandbox

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestAnOrderSurvivesThePipe(t *testing.T) {
	want := order{
		Layout: []step{{Kind: kindBind, Source: "/a b", Target: "/é\n", Writable: true, Device: true}},
		Dir:    "/", Env: []string{"A=<&>"}, Args: []string{"cc", "-DX=\"\\\u2028\""},
	}
	var b bytes.Buffer
	if err := writeOrder(&b, want); err != nil {
		t.Fatal(err)
	}
	got, err := readOrder(&b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestOddMessagesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"truncated":      {`{"dir":"/`, "unexpected EOF"},
		"unknown field":  {`{"dir":"/","shell":true}`, "unknown field"},
		"trailing data":  {`{"dir":"/"}{}`, "data after its end"},
		"trailing junk":  {`{"dir":"/"}x`, "invalid character"},
		"wrong type":     {`{"dir":1}`, "cannot unmarshal"},
		"not JSON":       {"dir=/", "invalid character"},
		"nothing at all": {"", errEmpty.Error()},
		"only space":     {"\n", errEmpty.Error()},
	} {
		if _, err := readOrder(strings.NewReader(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestAMessageMayNotBeTooLong(t *testing.T) {
	text := `{"step":"` + strings.Repeat("x", maxOutcome) + `"}`
	if _, err := readOutcome(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("got %v, want a refusal of more than %d bytes", err, maxOutcome)
	}
	fits := `{"code":1,"signal":0}`
	padded := fits + strings.Repeat(" ", maxOutcome-len(fits))
	if out, err := readOutcome(strings.NewReader(padded)); err != nil || out.Code != 1 {
		t.Errorf("got %v, %v, want code 1 from a message of the greatest length", out, err)
	}
}

func TestAnOutcomeAlwaysFitsThePipe(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("\x00", maxOutcome), strings.Repeat("\xff", maxOutcome)} {
		var b bytes.Buffer
		if err := writeOutcome(&b, outcome{Step: stepStart, Error: text}); err != nil {
			t.Fatal(err)
		}
		if out, err := readOutcome(&b); err != nil || out.Step != stepStart {
			t.Errorf("%d bytes of error: got %v, %v", len(text), out, err)
		}
	}
}

func FuzzMessagesAreReadAsTheyWereWritten(f *testing.F) {
	f.Add([]byte(`{"layout":[{"kind":"proc","target":"/proc"}],"dir":"/","env":["A=b"],"args":["cc"]}`))
	f.Add([]byte(`{"layout":null,"dir":"","env":null,"args":null}`))
	f.Add([]byte(`{"dir":"/"} {}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := readOrder(bytes.NewReader(b))
		if err != nil {
			if !reflect.DeepEqual(o, order{}) && errors.Is(err, io.EOF) {
				t.Errorf("got %+v beside %v", o, err)
			}
			return
		}
		var again bytes.Buffer
		if err := writeOrder(&again, o); err != nil {
			t.Fatal(err)
		}
		if o2, err := readOrder(&again); err != nil || !reflect.DeepEqual(o, o2) {
			t.Errorf("got %+v, %v, want %+v", o2, err, o)
		}
	})
}
