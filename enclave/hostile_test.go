package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/control/message"
	"holdfast/enclave/egress"
	"holdfast/internal/appliance"
	"holdfast/internal/kmstest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/channel"
	"holdfast/verify/envelope"
	"holdfast/verify/keypolicy"
	"holdfast/verify/live"
)

// What a parent can try that has the real bundle, credentials for the real KMS, every
// byte on the way and a KMS of its own: the tests of this file do it, and look for the
// reason why it gets nothing.

// holdsNothing wants an enclave that has no key.
func holdsNothing(t *testing.T, e *running) {
	t.Helper()
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != "[]" {
		t.Errorf("public keys: got %d %s, want none", status, body)
	}
	status, err := e.control.Status(t.Context())
	if err != nil || status.State == message.Serving || status.Bundle != nil || status.Slashing != nil {
		t.Errorf("got status %+v, %v, want that of an enclave with nothing open", status, err)
	}
}

// refusals are the rules that an enclave breaks for somebody who wants a bundle's
// configuration in it, as `verify release` and `verify live --bundle` do.
func (e *running) refusals(t *testing.T, configuration [48]byte) []string {
	t.Helper()
	c, err := channel.Open(e.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	evidence, err := live.Fetch(t.Context(), c, live.NewNonce())
	if err != nil {
		t.Fatal(err)
	}
	evidence.Configuration = configuration
	root := e.module.Root().Raw
	trust, err := chain.NewTrust(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), fmt.Sprintf("%x", sha256.Sum256(root)))
	if err != nil {
		t.Fatal(err)
	}
	result := evidence.Verify(attestation.Options{Trust: trust, Policy: judgement.Policy{
		Measurements: published, MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew,
	}})
	var broken []string
	for _, check := range result.Blocking() {
		broken = append(broken, check.ID)
	}
	if (result.Verdict == attestation.Good) != (len(broken) == 0) {
		t.Errorf("verdict %v with %q broken", result.Verdict, broken)
	}
	return broken
}

func TestAParentsOwnBundleShowsThatItIsNotTheHolders(t *testing.T) {
	e := startEnclave(t)
	real := newVault(t, e)
	holders := real.seal(t, with(real.configuration(t), bare(secretKey1), ""))
	configuration := holders.Envelope.ConfigurationDigest()
	real.allow(t, configuration)

	own := newVault(t, e)
	forged := own.seal(t, with(own.configuration(t), bare(secretKey2), ""))
	own.allow(t, forged.Envelope.ConfigurationDigest())
	if err := e.present(t, forged); err != nil {
		t.Fatal(err)
	}
	if err := e.control.PutCredentials(t.Context(), own.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving) // with keys that the parent knew before

	if broken := e.refusals(t, configuration); !slices.Equal(broken, []string{"E11", "E12"}) {
		t.Errorf("somebody who wants the holder's configuration is refused by %q, want E11 and E12 alone", broken)
	}
	if broken := e.refusals(t, forged.Envelope.ConfigurationDigest()); broken != nil {
		t.Errorf("the forged configuration: refused by %q", broken)
	}
	if err := e.present(t, holders); err == nil || !strings.Contains(err.Error(), "runs under configuration") {
		t.Errorf("the holder's bundle: got %v, want a conflict of configurations", err)
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != `["`+publicKey2+`"]` {
		t.Errorf("got %d %s, want the parent's key alone", status, body)
	}
	if calls := real.Calls(); len(calls) != 0 {
		t.Errorf("the real KMS was asked: %+v", calls)
	}
}

// A relay is a server of the parent's, which a forged configuration names as KMS. It
// passes requests on to the real one, perhaps changed.
type relay struct {
	server *httptest.Server
	change func(*http.Request, []byte) (*http.Request, []byte)
}

// newRelay carries the enclave's calls to a relay in front of a KMS.
func newRelay(t *testing.T, e *running, to http.Handler, change func(*http.Request, []byte) (*http.Request, []byte)) *relay {
	t.Helper()
	r := &relay{change: change}
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, asked *http.Request) {
		body, err := io.ReadAll(asked.Body)
		if err != nil {
			return
		}
		passed, body := r.change(asked, body)
		passed.Body = io.NopCloser(bytes.NewReader(body))
		to.ServeHTTP(w, passed)
	}))
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.server.StartTLS()
	t.Cleanup(r.server.Close)
	listener, err := e.ports.Listen(egress.KMSPort)
	if err != nil {
		t.Fatal(err)
	}
	appliance.Carry(t, listener, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", r.server.Listener.Addr().String())
	})
	return r
}

// configuration names the relay in a KMS's place, with the parent's own root.
func (r *relay) configuration(t *testing.T, key string) string {
	t.Helper()
	roots, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.server.Certificate().Raw})))
	if err != nil {
		t.Fatal(err)
	}
	return `"kms":{"key":"` + key + `","endpoint":"https://example.com","roots":` + string(roots) + `},` + anyClient
}

func unchanged(r *http.Request, body []byte) (*http.Request, []byte) { return r, body }

// forge puts another configuration into a bundle, in its canonical form.
func forge(t *testing.T, from *bundletest.Sealed, description string) *bundletest.Sealed {
	t.Helper()
	forged := *from.Envelope
	forged.Configuration = sealed(t, description).Envelope.Configuration
	return &bundletest.Sealed{Envelope: &forged, DataKey: from.DataKey}
}

func TestTheRealKMSDeniesAnEnclaveUnderAForgedConfiguration(t *testing.T) {
	e := startEnclave(t)
	real := newVault(t, e)
	holders := real.seal(t, with(real.configuration(t), bare(secretKey1), ""))
	real.allow(t, holders.Envelope.ConfigurationDigest())
	between := newRelay(t, e, real, unchanged)
	forged := forge(t, holders, with(between.configuration(t, real.arn), bare(secretKey1), ""))
	if err := e.control.PutCredentials(t.Context(), real.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, forged); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "AccessDeniedException")
	holdsNothing(t, e)
	if calls := real.Calls(); len(calls) == 0 || calls[0].Error != "AccessDeniedException" || calls[0].Document == nil {
		t.Errorf("got calls %+v, want attested ones that were denied", calls)
	}
}

// Under a policy that does not name PCR16 the context holds: KMS has it from the
// enclave, which computes it. A parent that signs the request anew can put the real
// one into its place, and KMS then answers to the enclave, and to nobody else; there
// the sealed part does not open, since the configuration is its associated data.
func TestWithoutPCR16InThePolicyTheAssociatedDataHolds(t *testing.T) {
	e := startEnclave(t)
	real := newVault(t, e)
	holders := real.seal(t, with(real.configuration(t), bare(secretKey1), ""))
	lax, err := keypolicy.Generate(published, keypolicy.Parameters{
		ID: "test", Administrator: real.Role("admin"), Provisioner: real.Role("holder"), Parent: real.Role("parent"), Purpose: "holdfast-bundle",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := real.PutPolicy(real.arn, lax); err != nil {
		t.Fatal(err)
	}
	given := real.credentials(time.Hour)
	var resigned atomic.Bool
	between := newRelay(t, e, real, func(r *http.Request, body []byte) (*http.Request, []byte) {
		if !resigned.Load() {
			return r, body
		}
		return resign(t, r, body, given, holders.Envelope.Context())
	})
	forged := forge(t, holders, with(between.configuration(t, real.arn), bare(secretKey1), ""))
	if err := e.control.PutCredentials(t.Context(), given); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, forged); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "InvalidCiphertextException")
	holdsNothing(t, e)

	resigned.Store(true)
	waitForProblem(t, e, "was altered")
	holdsNothing(t, e)
	calls := real.Calls()
	if last := calls[len(calls)-1]; last.Operation != "Decrypt" || last.Error != "" {
		t.Errorf("got %+v, want that KMS has answered", last)
	}
}

// resign puts an encryption context into a request and signs it with the credentials
// that the parent has lent to the enclave.
func resign(t *testing.T, r *http.Request, body []byte, with message.Credentials, context map[string]string) (*http.Request, []byte) {
	var fields map[string]any
	if err := json.Unmarshal(body, &fields); err != nil {
		t.Error(err)
	}
	fields["EncryptionContext"] = context
	body, err := json.Marshal(fields)
	if err != nil {
		t.Error(err)
	}
	made := httptest.NewRequest(http.MethodPost, "https://"+r.Host+"/", nil)
	for _, name := range []string{"X-Amz-Target", "Content-Type"} {
		made.Header.Set(name, r.Header.Get(name))
	}
	sum := sha256.Sum256(body)
	lent := aws.Credentials{AccessKeyID: with.AccessKeyID, SecretAccessKey: with.SecretAccessKey, SessionToken: with.SessionToken}
	if err := v4.NewSigner().SignHTTP(r.Context(), lent, made, hex.EncodeToString(sum[:]), "kms", kmstest.DefaultRegion, time.Now()); err != nil {
		t.Error(err)
	}
	return made, body
}

func TestNoPartOfABundleCanBeSwapped(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	description := with(v.configuration(t), bare(secretKey1, secretKey2), "")
	real, twin := v.seal(t, description), v.seal(t, description) // with data keys of their own
	newer, parents := v.seal(t, versioned(2, description)), sealed(t, open(exampleNetwork, secretKey2))
	v.allow(t, real.Envelope.ConfigurationDigest())
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		swap func(*envelope.Envelope)
		want string
	}{
		{"a foreign data key", func(e *envelope.Envelope) { e.KMS = twin.Envelope.KMS }, "not the data key of this bundle"},
		{"another version's data key", func(e *envelope.Envelope) { e.KMS = newer.Envelope.KMS }, "InvalidCiphertextException"},
		{"a foreign data key with its commitment", func(e *envelope.Envelope) {
			e.KMS, e.Commitment = twin.Envelope.KMS, twin.Envelope.Commitment
		}, "was altered"},
		{"a foreign sealed part", func(e *envelope.Envelope) { e.Sealed = twin.Envelope.Sealed }, "was altered"},
		{"everything of another version but the version", func(e *envelope.Envelope) {
			version := e.Version
			*e = *newer.Envelope
			e.Version = version
		}, "InvalidCiphertextException"},
		{"a higher version", func(e *envelope.Envelope) { e.Version = 9 }, "InvalidCiphertextException"},
		{"another name", func(e *envelope.Envelope) { e.Name = "other" }, "InvalidCiphertextException"},
		{"a row less", func(e *envelope.Envelope) { e.PublicKeys = e.PublicKeys[1:] }, "was altered"},
		{"another row", func(e *envelope.Envelope) { e.PublicKeys[0][1] ^= 1 }, "was altered"},
		{"the parent's own age file besides", func(e *envelope.Envelope) { e.Age = parents.Envelope.Age }, "was altered"},
	} {
		swapped := *real.Envelope
		swapped.PublicKeys = slices.Clone(real.Envelope.PublicKeys)
		test.swap(&swapped)
		if err := e.present(t, &bundletest.Sealed{Envelope: &swapped}); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		waitForProblem(t, e, test.want)
		holdsNothing(t, e)
	}
	t.Run("what cannot be a bundle is refused at once", func(t *testing.T) { refusedAtOnce(t, e, real) })
	if err := e.present(t, real); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving)
}

// refusedAtOnce presents what the enclave need not ask anybody about.
func refusedAtOnce(t *testing.T, e *running, real *bundletest.Sealed) {
	data := real.Bytes()
	elsewhere := *real.Envelope
	elsewhere.KMS = &envelope.KMSWrap{Key: strings.Replace(real.Envelope.KMS.Key, "eu-central-1", "eu-central-2", 1), Ciphertext: real.Envelope.KMS.Ciphertext}
	before, err := e.control.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"half":             {data[:len(data)/2], "envelope"},
		"without its end":  {data[:len(data)-1], "envelope"},
		"with a byte more": {append(slices.Clone(data), 0), "envelope"},
		"nothing":          {nil, "envelope"},
		"another key's":    {elsewhere.Bytes(), "the configuration names"},
	} {
		if _, err := e.control.PutBundle(t.Context(), test.data); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	after, err := e.control.Status(t.Context())
	if err != nil || after.Pending == nil || *after.Pending != *before.Pending {
		t.Errorf("got %+v, %v pending, want %+v as before", after.Pending, err, before.Pending)
	}
}

func TestAServerThatCannotProveTheEndpointIsNotAskedForTheKey(t *testing.T) {
	e := startEnclave(t)
	real := newVault(t, e)
	made := real.seal(t, with(real.configuration(t), bare(secretKey1), ""))
	real.allow(t, made.Envelope.ConfigurationDigest())
	other := newVault(t, e) // where egress leads now: the same name below another root
	if err := e.control.PutCredentials(t.Context(), real.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "egress: TLS with kms.test")
	holdsNothing(t, e)
	if calls := append(real.Calls(), other.Calls()...); len(calls) != 0 {
		t.Errorf("a KMS was asked: %+v", calls)
	}
	real.lead(t, e)
	appliance.Wait(t, e.control, message.Serving)
}

// A parent may keep what KMS answered and give it again, by a server that it controls
// or by an AWS that has gone bad. Every call has an RSA key of its own.
func TestAnAnswerOfAnEarlierCallOpensNothing(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	made := v.seal(t, with(v.configuration(t), bare(secretKey1), ""))
	v.allow(t, made.Envelope.ConfigurationDigest())
	var mu sync.Mutex
	var recorded []byte
	replayed := 0
	v.SetFaults(kmstest.Faults{Rewrite: func(answer []byte) []byte {
		mu.Lock()
		defer mu.Unlock()
		if recorded == nil {
			recorded = answer
			return []byte("lost on the way")
		}
		replayed++
		return recorded
	}})
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "cms: got recipient")
	holdsNothing(t, e)
	mu.Lock()
	if replayed == 0 {
		t.Error("nothing was replayed")
	}
	mu.Unlock()
	v.SetFaults(kmstest.Faults{})
	appliance.Wait(t, e.control, message.Serving)
}

func TestCredentialsThatAreNoneOpenNothing(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	made := v.seal(t, with(v.configuration(t), bare(secretKey1), ""))
	v.allow(t, made.Envelope.ConfigurationDigest())
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	good := v.credentials(time.Hour)
	for name, test := range map[string]struct {
		change func(*message.Credentials)
		want   string
	}{
		"expired":          {func(c *message.Credentials) { c.Expiration = time.Now().Add(-time.Second) }, "expir"},
		"for ever":         {func(c *message.Credentials) { c.Expiration = time.Now().AddDate(1, 0, 0) }, "expir"},
		"another header":   {func(c *message.Credentials) { c.SessionToken = "token-0123456789\r\nX-Amz-Target: x" }, "session token"},
		"no session token": {func(c *message.Credentials) { c.SessionToken = "" }, "session token"},
	} {
		bad := good
		test.change(&bad)
		if err := e.control.PutCredentials(t.Context(), bad); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	waitForProblem(t, e, "no valid AWS credentials")
	for _, test := range []struct {
		name   string
		change func(*message.Credentials)
		want   string
	}{
		{"made up", func(c *message.Credentials) { c.AccessKeyID = "ASIAMADEUPMADEUP" }, "UnrecognizedClientException"},
		{"another secret", func(c *message.Credentials) { c.SecretAccessKey = strings.Repeat("0", 40) }, "InvalidSignatureException"},
		{"another role's", func(c *message.Credentials) {
			o := v.Issue(v.Role("somebody"), time.Hour)
			c.AccessKeyID, c.SecretAccessKey, c.SessionToken = o.AccessKeyID, o.SecretAccessKey, o.SessionToken
		}, "AccessDeniedException"},
	} {
		bad := good
		test.change(&bad)
		if err := e.control.PutCredentials(t.Context(), bad); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		waitForProblem(t, e, test.want)
		holdsNothing(t, e)
	}
	// Those that expire while they wait are said to be, and renewed ones go on.
	v.SetFaults(kmstest.Faults{Down: true})
	short := v.credentials(2 * time.Second)
	if err := e.control.PutCredentials(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "Decrypt")
	time.Sleep(time.Until(short.Expiration))
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "no valid AWS credentials")
	holdsNothing(t, e)
	v.SetFaults(kmstest.Faults{})
	if err := e.control.PutCredentials(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving)
}

// A cable is egress that a parent can cut.
type cable struct {
	dial func(context.Context) (net.Conn, error)

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (c *cable) Dial(ctx context.Context) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut {
		return nil, net.ErrClosed
	}
	conn, err := c.dial(ctx)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

// set cuts the cable, with everything on it, or joins it.
func (c *cable) set(cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = cut
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cable) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

func TestAKMSThatDiesInTheMiddleOfItsAnswerIsAskedAgain(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	made := v.seal(t, with(v.configuration(t), bare(secretKey1), ""))
	v.allow(t, made.Envelope.ConfigurationDigest())
	link := &cable{dial: v.server.Dial}
	listener, err := e.ports.Listen(egress.KMSPort)
	if err != nil {
		t.Fatal(err)
	}
	appliance.Carry(t, listener, link.Dial)
	v.SetFaults(kmstest.Faults{Delay: 5 * time.Second})
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); link.open() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("KMS is not asked")
		}
	}
	time.Sleep(200 * time.Millisecond) // the request is on its way
	link.set(true)
	waitForProblem(t, e, "Decrypt")
	holdsNothing(t, e)
	v.SetFaults(kmstest.Faults{})
	link.set(false)
	appliance.Wait(t, e.control, message.Serving)
}

// The version lies in the journal, under a key of the bundle: a parent that has an
// older bundle, and a KMS that would open it, gets it refused by the store.
func TestAnOlderBundleThatKMSOpensIsRefusedByTheStore(t *testing.T) {
	e, before := startEnclave(t), t.TempDir()
	v := newVault(t, e) // for the documents of this start
	description := with(v.configuration(t), bare(secretKey1), "")
	newer, older := v.seal(t, versioned(7, description)), v.seal(t, versioned(6, description))
	first := startOn(t, before)
	if err := first.present(t, newer); err != nil {
		t.Fatal(err)
	}
	if _, err := first.unlock(t, newer); err != nil {
		t.Fatal(err)
	}
	first.stop()

	v.allow(t, older.Envelope.ConfigurationDigest())
	appliance.KeepJournal(t, e.ports, before)
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, older); err != nil {
		t.Fatal(err)
	}
	waitForProblem(t, e, "has version 6, but version 7 was seen before")
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != "[]" {
		t.Errorf("got %d %s, want no key", status, body)
	}
	if err := e.present(t, newer); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving)
}
