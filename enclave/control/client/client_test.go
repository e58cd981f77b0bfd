package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
	"holdfast/parent/control/controltest"
)

// reach returns a client of a handler.
func reach(t *testing.T, h http.Handler) *client.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	client := client.New(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", server.Listener.Addr().String())
	})
	t.Cleanup(client.Close)
	return client
}

func TestEveryRouteIsSpoken(t *testing.T) {
	enclave := controltest.New()
	enclave.Head = message.Head{Challenge: "c", Head: "h", Sequence: 3, Keys: 1}
	enclave.Log("a line")
	c, ctx := reach(t, enclave), t.Context()

	if s, err := c.Status(ctx); err != nil || s.State != message.WaitingForBundle {
		t.Errorf("status %+v, %v", s, err)
	}
	if s, err := c.PutBundle(ctx, controltest.Bundle("one", 1, "{}")); err != nil || s.Bundle == nil || s.Bundle.Name != "one" {
		t.Errorf("bundle: %+v, %v", s, err)
	}
	given := message.Credentials{AccessKeyID: "A", SecretAccessKey: "S", SessionToken: "T", Expiration: time.Now().Add(time.Hour).UTC()}
	if err := c.PutCredentials(ctx, given); err != nil || *enclave.Credentials() != given {
		t.Errorf("credentials: %v", err)
	}
	if l, err := c.Logs(ctx, 0); err != nil || len(l.Lines) != 1 || l.Next != 1 {
		t.Errorf("logs %+v, %v", l, err)
	}
	if m, err := c.Metrics(ctx); err != nil || !strings.Contains(string(m), "holdfast_signatures_total") {
		t.Errorf("metrics %q, %v", m, err)
	}
	if h, err := c.Head(ctx); err != nil || h != enclave.Head {
		t.Errorf("head %+v, %v", h, err)
	}
	if err := c.Vouch(ctx, message.Statement{Challenge: "c", Head: "h"}); err != nil {
		t.Error(err)
	}
	document, err := slashing.Interchange{
		GenesisValidatorsRoot: enclave.Network,
		States:                map[slashing.PublicKey]slashing.State{{7}: {Block: slashing.BlockMark{Signed: true, Slot: 5}}},
	}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Import(ctx, document); err != nil || len(r.Keys) != 1 {
		t.Errorf("import %+v, %v", r, err)
	}
	if back, err := c.Interchange(ctx); err != nil || strings.TrimSpace(string(back)) != string(document) {
		t.Errorf("export %s, %v; want %s", back, err, document)
	}
	slot := uint64(9)
	raised, err := c.Raise(ctx, message.Raise{Slot: &slot})
	if err != nil || len(raised) != 1 || *raised[0].Slot != 9 {
		t.Errorf("raise %+v, %v", raised, err)
	}
	if marks, err := c.Watermarks(ctx); err != nil || len(marks) != 1 || *marks[0].Slot != 9 || marks[0].Target != nil {
		t.Errorf("watermarks %+v, %v", marks, err)
	}
}

func TestACeremonysAnswerComesAsItWas(t *testing.T) {
	enclave := controltest.New()
	enclave.Make = func(asked message.Generate) (message.Generated, error) {
		return message.Generated{PublicKeys: []string{asked.Name}}, nil
	}
	enclave.Move = func(asked message.Tables) (message.Generated, error) {
		return message.Generated{PublicKeys: []string{asked.Validators[0].PublicKey}}, nil
	}
	c := reach(t, enclave)
	if answer, err := c.Generate(t.Context(), message.Generate{Name: "made"}); err != nil || !strings.Contains(string(answer), `"pubkeys":["made"]`) {
		t.Errorf("got %s, %v", answer, err)
	}
	// More than other messages may have.
	tables := message.Tables{Validators: []message.ValidatorRow{{PublicKey: "moved", Encrypted: strings.Repeat("A", message.MaxSize)}}}
	if answer, err := c.ImportTables(t.Context(), tables); err != nil || !strings.Contains(string(answer), `"pubkeys":["moved"]`) {
		t.Errorf("got %s, %v", answer, err)
	}
	tables.Validators[0].Encrypted = strings.Repeat("A", message.MaxBundleSize)
	if _, err := c.ImportTables(t.Context(), tables); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v, want the bound", err)
	}
}

func TestARefusalCarriesTheEnclavesReason(t *testing.T) {
	c := reach(t, controltest.New())
	_, err := c.PutBundle(t.Context(), []byte("broken"))
	var refused *client.RefusedError
	if !errors.As(err, &refused) || refused.Code != http.StatusBadRequest || !strings.Contains(refused.Reason, "envelope") {
		t.Errorf("got %v, want the enclave's reason", err)
	}
	plain := reach(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	if _, err := plain.Status(t.Context()); !errors.As(err, &refused) || refused.Reason != "I'm a teapot" {
		t.Errorf("got %v, want the status", err)
	}
	moved := reach(t, http.RedirectHandler("http://elsewhere.invalid/", http.StatusFound))
	if _, err := moved.Status(t.Context()); !errors.As(err, &refused) || refused.Code != http.StatusFound {
		t.Errorf("got %v, want a redirection refused", err)
	}
}

func TestABadAnswerIsAnError(t *testing.T) {
	for name, body := range map[string]string{
		"nothing":       "",
		"no JSON":       "hello",
		"trailing data": `{"state":"serving"}{}`,
		"another kind":  `[]`,
		"too long":      `{"state":"` + strings.Repeat("x", message.MaxSize) + `"}`,
	} {
		c := reach(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, body) }))
		if s, err := c.Status(t.Context()); err == nil || s.State != "" {
			t.Errorf("%s: got %.40v, %v; want an error", name, s.State, err)
		}
	}
	cut := reach(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{}`)
	}))
	if _, err := cut.Status(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut answer: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestAnUnknownFieldOfANewerEnclaveIsNoError(t *testing.T) {
	c := reach(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"state":"serving","more":1}`)
	}))
	if s, err := c.Status(t.Context()); err != nil || s.State != message.Serving {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestAnAbsentSocketIsSaidPlainly(t *testing.T) {
	_, err := client.Unix(t.TempDir() + "/none").Status(t.Context())
	if err == nil || strings.Contains(err.Error(), "http://") || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v, want the socket's error alone", err)
	}
}

func TestALargeInterchangeIsRefusedBeforeItIsSent(t *testing.T) {
	c := client.New(func(context.Context) (net.Conn, error) { return nil, errors.New("dialled") })
	if _, err := c.Import(t.Context(), make([]byte, message.MaxInterchangeSize+1)); err == nil || !strings.Contains(err.Error(), "want at most") {
		t.Errorf("got %v, want the bound", err)
	}
}
