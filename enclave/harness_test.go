package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/bundle/bundletest"
	controlport "holdfast/enclave/control"
	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/internal/appliance"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/live"
	"holdfast/verify/release"
)

// running is an enclave as a process, on loopback, with a module in memory and a
// parent that keeps its journal in a folder.
type running struct {
	url     string
	module  *nsmtest.Module
	ports   *appliance.Loopback
	control *client.Client
	log     *lockedBuffer
	stop    func()
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// measured are the registers of the image that the tests publish.
var measured = map[int]nsm.Digest{0: {0: 1}, 1: {0: 2}, 2: {0: 3}}

// startEnclave starts an enclave with an empty journal.
func startEnclave(t *testing.T) *running {
	t.Helper()
	return startOn(t, t.TempDir())
}

// startOn starts an enclave whose parent keeps its journal in a folder.
func startOn(t *testing.T, dir string) *running {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{PCRs: measured, Indefinite: true})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{module: module, ports: appliance.NewLoopback(), log: new(lockedBuffer)}
	closeJournal := appliance.KeepJournal(t, r.ports, dir)
	logs := new(controlport.Ring)
	made, err := assemble(t.Context(), platform{
		module: module.Device(), dial: r.ports.DialOut, started: time.Now(),
		log: slog.New(slog.NewTextHandler(io.MultiWriter(r.log, logs), nil)),
	}, logs)
	if err != nil {
		t.Fatal(err)
	}
	clients, err := r.ports.ListenInside(port)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := r.ports.ListenInside(message.Port)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- made.serve(ctx, clients, parent) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		closeJournal()
	})
	t.Cleanup(r.stop)
	r.url, r.control = "https://"+clients.Addr().String(), appliance.Control(t, r.ports)
	return r
}

// verified opens a channel to the enclave and verifies it as `verify live` does.
func (e *running) verified(t *testing.T) (*channel.Channel, binding.Binding) {
	t.Helper()
	c, judged := e.verifiedWith(t, [48]byte{})
	return c, judged.Binding
}

// verifiedWith demands a bundle's configuration besides, as `verify release` does.
func (e *running) verifiedWith(t *testing.T, configuration [48]byte) (*channel.Channel, judgement.Judgement) {
	t.Helper()
	c, err := channel.Open(e.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
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
	if result.Verdict != attestation.Good {
		t.Fatalf("got verdict %v: %+v", result.Verdict, result.Report)
	}
	return c, *result.Judgement
}

// certificate is what the enclave presents.
func (e *running) certificate(t *testing.T) []byte {
	t.Helper()
	c, _ := e.verified(t)
	return c.Peer().Raw
}

// call asks the signer's interface for JSON, on a connection of its own.
func (e *running) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	request := newRequest(t, method, e.url+path, body)
	request.Header.Set("Accept", "application/json")
	return exchange(t, &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, request)
}

func newRequest(t *testing.T, method, url, body string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// exchange sends a request on a connection of its own and returns status and body.
func exchange(t *testing.T, transport *http.Transport, request *http.Request) (int, string) {
	t.Helper()
	transport.DisableKeepAlives = true
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

const (
	// secretKey1 is key 0 of the consensus layer's mocked start
	// (ethereum/eth2.0-pm, interop/mocked_start), and publicKey1 what it makes.
	secretKey1 = "0x25295f0d1d592a90b333e26e85149708208e9f8e8bc18f6c77bd62f8ad7a6866"
	publicKey1 = "0xa99a76ed7796f7be22d5b7e85deeb7c5677e88e511e0b337618f8c4eb61349b4bf2d153f649f7b53359fe8b94a38e44c"
)

// exampleNetwork is the network of Web3Signer's examples.
const exampleNetwork = `{"name":"example","genesis_time":1606824023,"genesis_fork_version":"0x00000001",
	"genesis_validators_root":"0x04700007fabc8282644aed6d1c7c9e21d38a03a0c4ba193f3afe428824b3a673",
	"seconds_per_slot":12,"slots_per_epoch":32,"sync_committee_size":512,"max_committees_per_slot":64}`

// believing is a configuration's word that the journal is current, for duties of
// the past that tests ask for.
const believing = `"slashing":{"freshness":"journal"}`

// anyClient lets everybody have ordinary duties signed.
const anyClient = `"clients":[{"name":"any","any":true,"keys":"all"}]`

// describeBundle describes a bundle of a configuration's fields, of validators, and of
// what stands beside them.
func describeBundle(network, fields, validators, beside string) string {
	return `{"configuration":{"network":` + network + `,` + believing + `,` + fields + `},"validators":[` + validators + `]` + beside + `}`
}

// with describes a bundle for the example's network.
func with(fields, validators, beside string) string {
	return describeBundle(exampleNetwork, fields, validators, beside)
}

// open describes a bundle of which any client may ask.
func open(network string, keys ...string) string {
	return describeBundle(network, anyClient, bare(keys...), "")
}

func bare(keys ...string) string {
	validators := make([]string, len(keys))
	for i, key := range keys {
		validators[i] = `{"secret_key":"` + key + `"}`
	}
	return strings.Join(validators, ",")
}

func sealed(t *testing.T, description string) *bundletest.Sealed {
	t.Helper()
	made, err := bundletest.Seal([]byte(description))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// give presents a described bundle and releases its data key, as parent and key
// holder do.
func (e *running) give(t *testing.T, description string) ([]string, error) {
	t.Helper()
	made := sealed(t, description)
	if err := e.present(t, made); err != nil {
		return nil, err
	}
	return e.unlock(t, made)
}

func (e *running) present(t *testing.T, made *bundletest.Sealed) error {
	t.Helper()
	_, err := e.control.PutBundle(t.Context(), made.Bytes())
	return err
}

// unlock verifies the enclave and releases a bundle's data key to it.
func (e *running) unlock(t *testing.T, made *bundletest.Sealed) ([]string, error) {
	t.Helper()
	c, judged := e.verifiedWith(t, made.Envelope.ConfigurationDigest())
	return unlockUnder(t, c, judged, made)
}

func unlockUnder(t *testing.T, c *channel.Channel, judged judgement.Judgement, made *bundletest.Sealed) ([]string, error) {
	t.Helper()
	wrapped, err := release.Seal(release.DataKey(made.DataKey.Reveal()), made.Envelope, judged)
	if err != nil {
		t.Fatal(err)
	}
	return release.Send(t.Context(), c, wrapped)
}

// post sends a message to the control port.
func (e *running) post(t *testing.T, path string, body []byte) (int, string) {
	t.Helper()
	return exchange(t, &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return e.ports.Dial(ctx, message.Port)
	}}, newRequest(t, http.MethodPost, "http://enclave"+path, string(body)))
}

// readExample returns Web3Signer's example of an attestation and the signing
// root it must give.
func readExample(t *testing.T) (request string, root [32]byte) {
	t.Helper()
	raw, err := os.ReadFile("testdata/attestation.json")
	if err != nil {
		t.Fatal(err)
	}
	var example struct{ SigningRoot string }
	if err := json.Unmarshal(raw, &example); err != nil {
		t.Fatal(err)
	}
	if n, err := hex.Decode(root[:], []byte(strings.TrimPrefix(example.SigningRoot, "0x"))); err != nil || n != len(root) {
		t.Fatalf("signing root %q: %v", example.SigningRoot, err)
	}
	return string(raw), root
}
