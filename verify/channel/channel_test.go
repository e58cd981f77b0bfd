package channel_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"holdfast/verify/channel"
	"holdfast/verify/enclavetest"
)

func open(t *testing.T, options enclavetest.Options) (*enclavetest.Enclave, *channel.Channel) {
	t.Helper()
	e, err := enclavetest.Start(func([]byte, []byte) ([]byte, error) { return nil, errors.New("no documents here") }, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	c, err := channel.Open(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return e, c
}

// answering makes an enclave that gives one answer to everything.
func answering(body string) enclavetest.Options {
	return enclavetest.Options{Handle: func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(body))
		return true
	}}
}

func TestTheFirstConnectionShowsThePeer(t *testing.T) {
	e, c := open(t, answering("hello"))
	if c.Peer() != nil {
		t.Error("a peer before any connection")
	}
	status, body, err := c.Get(t.Context(), "/", 5)
	if err != nil || status != http.StatusOK || string(body) != "hello" {
		t.Fatalf("got %d %q %v", status, body, err)
	}
	if !bytes.Equal(c.Peer().RawSubjectPublicKeyInfo, e.Binding().TLSKey) {
		t.Error("the peer has another key than the server")
	}
}

func TestALaterConnectionMustShowTheSameKey(t *testing.T) {
	options := answering("hello")
	options.SecondKey = true
	e, c := open(t, options)
	if _, _, err := c.Get(t.Context(), "/", 5); err != nil {
		t.Fatal(err)
	}
	e.CloseConnections()
	_, _, err := c.Post(t.Context(), "/release", []byte("secret"), 5)
	if err == nil || !strings.Contains(err.Error(), "changed its TLS key") {
		t.Errorf("got %v, want a changed key", err)
	}
}

func TestALaterConnectionWithTheSameKeyIsAccepted(t *testing.T) {
	e, c := open(t, answering("hello"))
	for range 3 {
		if _, _, err := c.Get(t.Context(), "/", 5); err != nil {
			t.Fatal(err)
		}
		e.CloseConnections()
	}
}

func TestAnAnswerBeyondItsBoundIsAnError(t *testing.T) {
	_, c := open(t, answering("hello"))
	if _, body, err := c.Get(t.Context(), "/", 4); err == nil || body != nil {
		t.Errorf("got %q and error %v", body, err)
	}
}

func TestOlderTLSIsRefused(t *testing.T) {
	_, c := open(t, enclavetest.Options{TLS12: true})
	if _, _, err := c.Get(t.Context(), "/", 5); err == nil {
		t.Error("connected with TLS 1.2")
	}
}

func TestARedirectIsAnError(t *testing.T) {
	_, c := open(t, enclavetest.Options{Handle: func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		return true
	}})
	if _, _, err := c.Get(t.Context(), "/", 5); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("got %v", err)
	}
}

func TestTheContextEndsAnExchange(t *testing.T) {
	_, c := open(t, enclavetest.Options{Handle: func(_ http.ResponseWriter, r *http.Request) bool {
		<-r.Context().Done()
		return true
	}})
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, _, err := c.Get(ctx, "/", 5); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
}

func TestOpenTakesAnOriginAndNothingElse(t *testing.T) {
	for _, url := range []string{"https://a", "https://a:9000", "https://[::1]:9000/"} {
		if _, err := channel.Open(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{"", "a:9000", "http://a", "https://", "https://a/path", "https://a?x=1", "https://a#f", "https://user@a", "https://a:b:c"} {
		if _, err := channel.Open(url); err == nil {
			t.Errorf("accepted %q", url)
		}
	}
}
