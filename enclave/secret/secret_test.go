package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"holdfast/enclave/secret"
)

const planted = "planted-secret"

// forms are the ways in which a byte slice can reach a text.
var forms = []string{
	planted,
	fmt.Sprintf("%x", planted),
	fmt.Sprintf("%X", planted),
	strings.Trim(fmt.Sprint([]byte(planted)), "[]"),
	"cGxhbnRlZC1zZWNyZXQ",
	"0x70, 0x6c",
}

func assertNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("%q shows the secret", text)
		}
	}
}

func TestEveryVerbPrintsRedacted(t *testing.T) {
	b := secret.New([]byte(planted))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%30s"} {
		if got := fmt.Sprintf(verb, b); got != secret.Redacted {
			t.Errorf("%s: got %q, want %q", verb, got, secret.Redacted)
		}
	}
	for _, got := range []string{b.String(), b.GoString(), fmt.Sprint(b)} {
		if got != secret.Redacted {
			t.Errorf("got %q, want %q", got, secret.Redacted)
		}
	}
}

func TestAnEnclosingStructureDoesNotShowTheSecret(t *testing.T) {
	inner := struct {
		Shown  secret.Bytes
		hidden secret.Bytes
		list   []secret.Bytes
	}{secret.New([]byte(planted)), secret.New([]byte(planted)), []secret.Bytes{secret.New([]byte(planted))}}
	outer := struct {
		inner any
		ptr   *secret.Bytes
	}{inner, &inner.hidden}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		assertNoSecret(t, fmt.Sprintf(verb, inner))
		assertNoSecret(t, fmt.Sprintf(verb, &inner))
		assertNoSecret(t, fmt.Sprintf(verb, outer))
	}
}

func TestLogsShowRedacted(t *testing.T) {
	var out bytes.Buffer
	b := secret.New([]byte(planted))
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		log := slog.New(handler)
		log.Info("direct", "key", b)
		log.Info("nested", "value", struct{ Key secret.Bytes }{b})
		log.Info("list", "value", []secret.Bytes{b})
	}
	assertNoSecret(t, out.String())
	if got := strings.Count(out.String(), secret.Redacted); got < 2 {
		t.Errorf("got %d redactions in the log, want at least 2:\n%s", got, out.String())
	}
}

func TestEncodingFails(t *testing.T) {
	b := secret.New([]byte(planted))
	for name, value := range map[string]any{
		"value": b, "pointer": &b, "field": struct{ Key secret.Bytes }{b}, "map": map[string]secret.Bytes{"key": b},
	} {
		if out, err := json.Marshal(value); err == nil {
			t.Errorf("%s: got %s, want an error", name, out)
		}
	}
	if out, err := b.MarshalText(); err == nil {
		t.Errorf("text: got %s, want an error", out)
	}
}

func TestWipeOverwritesTheBytesThatNewTookOver(t *testing.T) {
	raw := []byte(planted)
	b := secret.New(raw)
	other := b
	if got := string(b.Reveal()); got != planted {
		t.Fatalf("got %q, want %q", got, planted)
	}
	b.Wipe()
	zeros := make([]byte, len(planted))
	if !bytes.Equal(raw, zeros) || !bytes.Equal(other.Reveal(), zeros) {
		t.Errorf("got %x and %x after the wipe, want zeros", raw, other.Reveal())
	}
	if b.Len() != len(planted) {
		t.Errorf("got length %d, want %d", b.Len(), len(planted))
	}
}

func TestTheZeroValueIsEmpty(t *testing.T) {
	var b secret.Bytes
	b.Wipe()
	if b.Len() != 0 || b.Reveal() != nil {
		t.Errorf("got %d bytes, want none", b.Len())
	}
}
