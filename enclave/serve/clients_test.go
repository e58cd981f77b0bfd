package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/enclave/attest"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/secret"
	"holdfast/enclave/serve"
	"holdfast/enclave/serve/access"
	"holdfast/enclave/serve/access/accesstest"
)

// whoami is a signer that says for whom it would judge a request.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	_, _ = io.WriteString(w, serve.Policy(r).Name)
})

const asking = "/api/v1/eth2/publicKeys"

func named(name string) policy.Client { return policy.Client{Name: name} }

func newList(t testing.TB, clients ...access.Client) *access.List {
	t.Helper()
	list, err := access.NewList(clients)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func closedTo(t testing.TB, clients ...access.Client) serve.Config {
	return serve.Config{Settings: serve.Settings{Clients: newList(t, clients...)}, Signer: whoami}
}

func listed(name string, certificate tls.Certificate) access.Client {
	return access.Client{Policy: named(name), Fingerprints: []access.Fingerprint{accesstest.Fingerprint(certificate)}}
}

// as returns a client with a certificate, or none, and a way to speak.
func (r *running) as(t testing.TB, certificate *tls.Certificate, speak ...func(*http.Transport)) *http.Client {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		// Whatever authorities a server would name.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 64}
	for _, change := range speak {
		change(transport)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

func http1(transport *http.Transport) { transport.ForceAttemptHTTP2 = false }
func tls12(transport *http.Transport) { transport.TLSClientConfig.MaxVersion = tls.VersionTLS12 }

// ask has a client send a request and reads the answer.
func ask(t testing.TB, client *http.Client, method, url, body string, header ...string) answer {
	t.Helper()
	got, err := try(t.Context(), client, method, url, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func try(ctx context.Context, client *http.Client, method, url, body string, header ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(raw), response.Close}, err
}

func TestEveryKindOfClientIsToldFromTheOthersInEveryKindOfTLS(t *testing.T) {
	vc1, stranger := accesstest.SelfSigned(t, "vc-1"), accesstest.SelfSigned(t, "vc-1")
	root := accesstest.NewAuthority(t, "root")
	signed, expired := root.Issue(t, "vc-2"), root.Issue(t, "vc-2", accesstest.Until(time.Now().Add(-time.Minute)))
	clients := []access.Client{listed("vc-1", vc1), {Policy: named("vc-2"), Authorities: root.Certificates()}}
	closed := start(t, closedTo(t, clients...))
	open := start(t, closedTo(t, append(clients, access.Client{Policy: named("everybody"), Any: true})...))
	for speech, speak := range map[string][]func(*http.Transport){
		"TLS 1.3, HTTP/2": nil, "TLS 1.3, HTTP/1.1": {http1}, "TLS 1.2, HTTP/2": {tls12}, "TLS 1.2, HTTP/1.1": {tls12, http1},
	} {
		for name, test := range map[string]struct {
			certificate *tls.Certificate
			client      string
			rule        string
		}{
			"no certificate":        {nil, "", "client_certificate: "},
			"known":                 {&vc1, "vc-1", ""},
			"unknown":               {&stranger, "", "client_unknown: the certificate with SHA-256 fingerprint " + accesstest.Fingerprint(stranger).String()},
			"of an authority":       {&signed, "vc-2", ""},
			"of one, and it is out": {&expired, "", "client_expired: "},
		} {
			t.Run(speech+"/"+name, func(t *testing.T) {
				client := closed.as(t, test.certificate, speak...)
				got := ask(t, client, "GET", closed.url+asking, "")
				if test.client != "" && (got.status != 200 || got.body != test.client) {
					t.Errorf("got %+v, want %s", got, test.client)
				}
				if test.client == "" {
					assertError(t, got, 403, test.rule)
				}
				// Whoever it is may look at the server and at what vouches for it.
				for _, path := range []string{"/upcheck", "/healthcheck", "/metrics", "/attestation?nonce=" + nonce} {
					if got := ask(t, client, "GET", closed.url+path, ""); got.status != 200 {
						t.Errorf("%s: got %+v", path, got)
					}
				}
				want := test.client
				if want == "" {
					want = "everybody"
				}
				if got := ask(t, open.as(t, test.certificate, speak...), "GET", open.url+asking, ""); got.status != 200 || got.body != want {
					t.Errorf("where anybody may ask: got %+v, want %s", got, want)
				}
			})
		}
	}
	if log := closed.log.String(); !strings.Contains(log, "rule=client_unknown") || strings.Contains(log, "ANY CLIENT") {
		t.Errorf("got log %s", log)
	}
}

func TestAClientWithoutTheKeyOfItsCertificateIsCutOff(t *testing.T) {
	vc1, other := accesstest.SelfSigned(t, "vc-1"), accesstest.SelfSigned(t, "vc-1")
	r := start(t, closedTo(t, listed("vc-1", vc1)))
	stolen := tls.Certificate{Certificate: vc1.Certificate, PrivateKey: other.PrivateKey}
	if got, err := try(t.Context(), r.as(t, &stolen), "GET", r.url+asking, ""); err == nil {
		t.Errorf("got %+v with another's certificate", got)
	}
}

func TestWhoeverIsNoClientKeepsNoConnection(t *testing.T) {
	vc1 := accesstest.SelfSigned(t, "vc-1")
	r := start(t, closedTo(t, listed("vc-1", vc1)))
	for _, path := range []string{"/upcheck", asking, "/eth/v1/keystores"} {
		if got := ask(t, r.as(t, nil, http1), "GET", r.url+path, ""); !got.closes {
			t.Errorf("%s: got %+v", path, got)
		}
	}
	if got := ask(t, r.as(t, &vc1, http1), "GET", r.url+asking, ""); got.closes {
		t.Errorf("a client: got %+v", got)
	}
}

func TestUpcheckIsJSONWhereOnlyJSONIsAccepted(t *testing.T) {
	r := start(t, serve.Config{})
	for accept, json := range map[string]bool{
		"application/json": true, "Application/JSON; q=0.9": true, "application/json, application/problem+json": true, "application/*": true,
		"*/*": false, "text/plain": false, "application/json, text/plain, */*": false, "text/html": false, "": false,
	} {
		got := ask(t, r.client, "GET", r.url+"/upcheck", "", "Accept", accept)
		want := "OK"
		if json {
			want = `{"status":"OK"}`
		}
		if got.status != 200 || got.body != want || strings.HasPrefix(got.header.Get("Content-Type"), "application/json") != json {
			t.Errorf("%q: got %+v, want %s", accept, got, want)
		}
	}
}

const token = "0123456789abcdef0123456789abcdef"

func TestTheKeyManagerIsForThoseWhoMayUseIt(t *testing.T) {
	vc1, operator := accesstest.SelfSigned(t, "vc-1"), accesstest.SelfSigned(t, "operator")
	manager := listed("operator", operator)
	manager.KeyManager = true
	config := closedTo(t, listed("vc-1", vc1), manager)
	config.Settings.KeyManager, config.Settings.Token = true, secret.New([]byte(token))
	config.KeyManager = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+" "+string(body))
	})
	r := start(t, config)
	config.Settings.Token.Wipe() // the server keeps a digest
	const path = "/eth/v1/keystores"
	for name, test := range map[string]struct {
		certificate   *tls.Certificate
		authorization string
		status        int
		mention       string
	}{
		"nothing":                    {nil, "", 401, "keymanager: "},
		"a client without the right": {&vc1, "", 401, "keymanager: "},
		"a client with the right":    {&operator, "", 200, ""},
		"the token":                  {nil, "Bearer " + token, 200, ""},
		"the token in lower case":    {nil, "bearer  " + token, 200, ""},
		"the token of a client":      {&vc1, "Bearer " + token, 200, ""},
		"another token":              {nil, "Bearer " + token[1:] + "0", 403, "keymanager_token: "},
		"a part of the token":        {nil, "Bearer " + token[1:], 403, "keymanager_token: "},
		"an empty token":             {nil, "Bearer ", 403, "keymanager_token: "},
		"another scheme":             {nil, "Basic " + token, 401, "keymanager: "},
		"the right and a wrong one":  {&operator, "Bearer x", 200, ""},
	} {
		header := []string{"Authorization", test.authorization}
		if test.authorization == "" {
			header = nil
		}
		got := ask(t, r.as(t, test.certificate), "DELETE", r.url+path, "keys", header...)
		if test.status == 200 && (got.status != 200 || got.body != "DELETE keys") {
			t.Errorf("%s: got %+v", name, got)
		}
		if test.status != 200 {
			assertError(t, got, test.status, test.mention)
		}
		if challenge := got.header.Get("WWW-Authenticate"); (challenge == "Bearer") != (test.status == 401) {
			t.Errorf("%s: got WWW-Authenticate %q", name, challenge)
		}
	}
	if strings.Contains(r.log.String(), token[:8]) {
		t.Errorf("the log shows the token: %s", r.log)
	}

	// Off, no token opens it; without a token, an empty one does not.
	settings := r.settings
	settings.KeyManager, settings.Token = false, secret.New([]byte(token))
	r.apply(t, settings)
	assertError(t, ask(t, r.as(t, &operator), "GET", r.url+path, "", "Authorization", "Bearer "+token), 404, "is off")
	settings.KeyManager, settings.Token = true, secret.Bytes{}
	r.apply(t, settings)
	assertError(t, ask(t, r.as(t, nil), "GET", r.url+path, "", "Authorization", "Bearer "), 403, "keymanager_token: ")
	assertError(t, ask(t, r.as(t, nil), "GET", r.url+path, "", "Authorization", "Bearer "+token), 403, "keymanager_token: ")
}

func (r *running) apply(t testing.TB, settings serve.Settings) {
	t.Helper()
	if err := r.server.Apply(settings); err != nil {
		t.Fatal(err)
	}
}

func TestAListForAnybodyIsSaidLoudlyAndInTheStatus(t *testing.T) {
	vc1 := accesstest.SelfSigned(t, "vc-1")
	r := start(t, closedTo(t, listed("vc-1", vc1)))
	assertError(t, ask(t, r.as(t, nil), "GET", r.url+"/status", ""), 403, "client_certificate: ")
	status := func() (got serve.Status) {
		t.Helper()
		if err := json.Unmarshal([]byte(ask(t, r.as(t, &vc1), "GET", r.url+"/status", "").body), &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := status(); got.AnyClient != "" || len(got.Warnings) != 0 || got.InFlight != 1 || got.Connections < 1 || got.Refused["client_certificate"] != 1 {
		t.Errorf("got %+v", got)
	}
	settings := r.settings
	settings.Clients = newList(t, listed("vc-1", vc1), access.Client{Policy: policy.Duties("prysm"), Any: true})
	r.apply(t, settings)
	if got := status(); got.AnyClient != "prysm" || len(got.Warnings) != 1 {
		t.Errorf("got %+v", got)
	}
	if log := r.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "ANY CLIENT MAY ASK") || !strings.Contains(log, "client=prysm") {
		t.Errorf("got log %s", log)
	}
}

func TestSettingsThatAreIncompleteChangeNothing(t *testing.T) {
	r := start(t, serve.Config{Signer: whoami})
	for name, settings := range map[string]serve.Settings{
		"nothing": {}, "no attester": {Identity: r.identity, Clients: anybody(t)},
		"no clients": {Identity: r.identity, Attester: attesterFunc(nil)},
	} {
		if err := r.server.Apply(settings); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if got := r.get(t, asking); got.body != "any" {
		t.Errorf("got %+v", got)
	}
}

// generationOf makes settings with an identity of their own, whose attester says
// its public key.
func generationOf(t testing.TB, clients *access.List) serve.Settings {
	t.Helper()
	identity, err := serve.NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return serve.Settings{Identity: identity, Clients: clients,
		Attester: attesterFunc(func(context.Context, [attest.NonceSize]byte) (attest.Evidence, error) {
			return attest.Evidence{Binding: identity.PublicKey()}, nil
		})}
}

func TestAConnectionIsJudgedByTheListInForceAndAttestedByTheKeyItSaw(t *testing.T) {
	vc1, vc2 := accesstest.SelfSigned(t, "vc-1"), accesstest.SelfSigned(t, "vc-2")
	for _, speak := range [][]func(*http.Transport){nil, {http1}} {
		first := generationOf(t, newList(t, listed("vc-1", vc1)))
		r := start(t, serve.Config{Settings: first, Signer: whoami})
		var saw [][]byte
		client := r.as(t, &vc1, append(speak, func(transport *http.Transport) {
			transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
				saw = append(saw, state.PeerCertificates[0].RawSubjectPublicKeyInfo)
				return nil
			}
		})...)
		if got := ask(t, client, "GET", r.url+asking, ""); got.body != "vc-1" {
			t.Fatalf("got %+v", got)
		}
		second := generationOf(t, newList(t, listed("vc-2", vc2)))
		r.apply(t, second)

		// The old connection shows what it always showed, for one more request.
		attested := func() (evidence struct{ Binding []byte }) {
			t.Helper()
			if err := json.Unmarshal([]byte(ask(t, client, "GET", r.url+"/attestation?nonce="+nonce, "").body), &evidence); err != nil {
				t.Fatal(err)
			}
			return evidence
		}
		if got := attested(); !bytes.Equal(got.Binding, first.Identity.PublicKey()) || len(saw) != 1 {
			t.Errorf("got another key than the connection's, or %d connections", len(saw))
		}
		assertError(t, ask(t, client, "GET", r.url+asking, ""), 403, "client_unknown: ")
		if got := attested(); !bytes.Equal(got.Binding, second.Identity.PublicKey()) || !bytes.Equal(saw[len(saw)-1], got.Binding) {
			t.Error("a new connection did not see the new key")
		}
		if got := ask(t, r.as(t, &vc2, speak...), "GET", r.url+asking, ""); got.body != "vc-2" {
			t.Errorf("got %+v", got)
		}
	}
}

func TestSettingsChangeUnderLoadWithoutLosingARequest(t *testing.T) {
	vc1 := accesstest.SelfSigned(t, "vc-1")
	r := start(t, serve.Config{Settings: generationOf(t, newList(t, listed("vc-1", vc1))), Signer: whoami})
	var seen sync.Map // public keys
	var served atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for i := range 16 {
		speak := []func(*http.Transport){func(transport *http.Transport) {
			transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
				seen.Store(string(state.PeerCertificates[0].RawSubjectPublicKeyInfo), true)
				return nil
			}
		}}
		if i%2 == 0 {
			speak = append(speak, http1)
		}
		client := r.as(t, &vc1, speak...)
		group.Go(func() {
			for !isClosed(stop) {
				if got, err := try(t.Context(), client, "POST", r.url+asking, "body"); err != nil || got.status != 200 || got.body != "vc-1" {
					t.Errorf("got %+v, %v", got, err)
					return
				}
				served.Add(1)
			}
		})
	}
	for range 20 {
		time.Sleep(50 * time.Millisecond)
		next := generationOf(t, newList(t, listed("vc-1", vc1)))
		r.apply(t, next)
		eventually(t, func() bool { _, ok := seen.Load(string(next.Identity.PublicKey())); return ok })
	}
	close(stop)
	group.Wait()
	if served.Load() < 100 {
		t.Errorf("got %d requests, want many", served.Load())
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// eventually waits for a condition for as long as a busy machine may need.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for range 2000 {
		if holds() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it did not come to hold")
}

func TestAnIdentityMayBeTheOperators(t *testing.T) {
	root := accesstest.NewAuthority(t, "root")
	leaf := root.Authority(t, "below").Issue(t, "signer", accesstest.ForServers("signer.example", "127.0.0.1", "*.eu.example"))
	certificate, key := accesstest.Encode(t, leaf)
	names := []string{"signer.example", "127.0.0.1", "a.eu.example", "*.eu.example"}
	identity, err := serve.ParseIdentity([]byte(certificate), secret.New([]byte(key)), names, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, serve.Config{Settings: serve.Settings{Identity: identity}})
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificates()[0])
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	if got := ask(t, &http.Client{Transport: transport}, "GET", r.url+"/upcheck", ""); got.body != "OK" {
		t.Errorf("got %+v", got)
	}

	_, foreign := accesstest.Encode(t, root.Issue(t, "signer"))
	expired, expiredKey := accesstest.Encode(t, root.Issue(t, "signer", accesstest.Until(time.Now().Add(-time.Hour))))
	for name, test := range map[string]struct {
		certificate, key string
		names            []string
		want             string
	}{
		"another key":   {certificate, foreign, nil, "does not match"},
		"no key":        {certificate, "", nil, "failed to find any PEM data"},
		"another name":  {certificate, key, []string{"other.example"}, "other.example"},
		"another range": {certificate, key, []string{"a.us.example"}, "a.us.example"},
		"expired":       {expired, expiredKey, nil, "it is valid from"},
	} {
		_, err := serve.ParseIdentity([]byte(test.certificate), secret.New([]byte(test.key)), test.names, time.Now())
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
		if line := strings.Split(key, "\n")[1]; err != nil && strings.Contains(err.Error(), line[:16]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func TestTheKeyOfAStartMayGetOtherNames(t *testing.T) {
	identity, err := serve.NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	renamed, err := identity.WithNames([]string{"signer.example", "10.0.0.7"}, time.Now())
	if err != nil || !bytes.Equal(renamed.PublicKey(), identity.PublicKey()) {
		t.Fatalf("got %v, or another key", err)
	}
	r := start(t, serve.Config{Settings: serve.Settings{Identity: renamed}})
	var names []string
	client := r.as(t, nil, func(transport *http.Transport) {
		transport.TLSClientConfig.VerifyConnection = func(state tls.ConnectionState) error {
			leaf := state.PeerCertificates[0]
			names = append(slices.Clone(leaf.DNSNames), leaf.IPAddresses[0].String())
			return leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature)
		}
	})
	if got := ask(t, client, "GET", r.url+"/upcheck", ""); got.body != "OK" || !slices.Equal(names, []string{"signer.example", "10.0.0.7"}) {
		t.Errorf("got %+v, names %q", got, names)
	}
	if _, err := identity.WithNames(nil, time.Now()); err == nil {
		t.Error("got a certificate for nothing")
	}
}
