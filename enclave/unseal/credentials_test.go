package unseal_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/unseal"
)

const (
	id    = "ASIA0123456789ABCDEF"
	key   = "planted/secret+access/key00000000000000="
	token = "planted-session-token.of_some~length+/="
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestCredentialsAreHeldUntilTheyExpire(t *testing.T) {
	now := noon
	c := unseal.NewCredentials(func() time.Time { return now })
	if _, held := c.Expiration(); held {
		t.Error("credentials out of nowhere")
	}
	if _, err := c.Retrieve(t.Context()); !errors.Is(err, unseal.ErrCredentials) {
		t.Errorf("got %v", err)
	}
	check(t, c.Set(id, key, token, noon.Add(time.Hour)))
	now = noon.Add(time.Hour - 1)
	got, err := c.Retrieve(t.Context())
	if err != nil || got.AccessKeyID != id || got.SecretAccessKey != key || got.SessionToken != token || !got.Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("got other credentials, or %v", err)
	}
	now = noon.Add(time.Hour)
	if _, err := c.Retrieve(t.Context()); !errors.Is(err, unseal.ErrCredentials) || !strings.Contains(err.Error(), "2026-11-22T13:00:00Z") {
		t.Errorf("got %v", err)
	}
	if until, held := c.Expiration(); !held || !until.Equal(noon.Add(time.Hour)) {
		t.Errorf("got %v, %v", until, held)
	}
}

func TestMalformedCredentialsAreRefusedAndTheOldOnesStay(t *testing.T) {
	c := unseal.NewCredentials(func() time.Time { return noon })
	check(t, c.Set(id, key, token, noon.Add(time.Hour)))
	in := func(d time.Duration) time.Time { return noon.Add(d) }
	for name, test := range map[string]struct {
		id, key, token string
		expiration     time.Time
		want           string
	}{
		"no id":              {"", key, token, in(1), "access key id: got 0 bytes, want 16 to 128"},
		"a small letter":     {"asia0123456789ABCDEF", key, token, in(1), "access key id: got a character"},
		"a line in the id":   {id + "\n", key, token, in(1), "access key id: got a character"},
		"a long id":          {strings.Repeat("A", 129), key, token, in(1), "got 129 bytes"},
		"no key":             {id, "", token, in(1), "secret access key: got 0 bytes"},
		"a space in the key": {id, "planted " + key, token, in(1), "secret access key: got a character"},
		"no token":           {id, key, "", in(1), "session token: got 0 bytes"},
		"a header":           {id, key, token + "\r\nX-Evil: planted", in(1), "session token: got a character"},
		"a long token":       {id, key, strings.Repeat("a", 8193), in(1), "session token: got 8193 bytes"},
		"expired":            {id, key, token, in(0), "got expiration 2026-11-22T12:00:00Z"},
		"no expiration":      {id, key, token, time.Time{}, "got expiration 0001-01-01"},
		"for ever":           {id, key, token, in(36*time.Hour + 1), "want one within 36h0m0s"},
	} {
		err := c.Set(test.id, test.key, test.token, test.expiration)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v, want it to say %q", name, err, test.want)
		}
		if got, err := c.Retrieve(t.Context()); err != nil || got.SessionToken != token {
			t.Errorf("%s: the old credentials are gone: %v", name, err)
		}
	}
}

func TestCredentialsAreNeverShown(t *testing.T) {
	c := unseal.NewCredentials(func() time.Time { return noon })
	check(t, c.Set(id, key, token, noon.Add(time.Hour)))
	var out bytes.Buffer
	inside := struct{ hidden *unseal.Credentials }{c}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+verb+verb, c, inside, []any{c})
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("held", "credentials", c, "inside", inside)
	slog.New(slog.NewTextHandler(&out, nil)).Info("held", "credentials", c)
	for _, planted := range []string{id, key, token, "planted"} {
		if strings.Contains(out.String(), planted) {
			t.Errorf("%q shows in %s", planted, &out)
		}
	}
	if c.String() != "[redacted]" || !strings.Contains(out.String(), "[redacted]") {
		t.Errorf("got %q", c.String())
	}
}

func TestCredentialsAreRenewedWhileTheyAreUsed(t *testing.T) {
	c := unseal.NewCredentials(func() time.Time { return noon })
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			value := strings.Repeat(fmt.Sprint(i), 40)
			check(t, c.Set(id, value, value, noon.Add(time.Hour)))
			got, err := c.Retrieve(t.Context())
			if err != nil || got.SecretAccessKey != got.SessionToken {
				t.Errorf("half of two credentials, or %v", err)
			}
		})
	}
	group.Wait()
}
