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
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/nsm"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/verify/attestation"
	"holdfast/verify/attestation/chain"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/binding"
	"holdfast/verify/channel"
	"holdfast/verify/live"
	"holdfast/verify/pcrs"
	"holdfast/verify/release"
)

// enclave is the application on loopback, with a module in memory.
type enclave struct {
	url    string
	module *nsmtest.Module
	log    *bytes.Buffer // read it after stop
	stop   func()
}

// measured are the registers of the image that the tests publish.
var measured = map[int]nsm.Digest{0: {0: 1}, 1: {0: 2}, 2: {0: 3}}

func startEnclave(t *testing.T) *enclave {
	t.Helper()
	module, err := nsmtest.New(nsmtest.Options{PCRs: measured, Indefinite: true})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	server, err := assemble(t.Context(), module.Device(), time.Now(), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return &enclave{"https://" + listener.Addr().String(), module, &log, stop}
}

// verified opens a channel to the enclave and verifies it as `verify` does.
func (e *enclave) verified(t *testing.T) (*channel.Channel, binding.Binding) {
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
	root := e.module.Root().Raw
	trust, err := chain.NewTrust(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root}), fmt.Sprintf("%x", sha256.Sum256(root)))
	if err != nil {
		t.Fatal(err)
	}
	result := evidence.Verify(attestation.Options{Trust: trust, Policy: judgement.Policy{
		Measurements: &pcrs.File{Releases: []pcrs.Release{{Version: "v1.0.0", Status: pcrs.Active, Images: []pcrs.Image{{
			Architecture: pcrs.X8664, Size: 1, PCR0: pcrs.PCR(measured[0]), PCR1: pcrs.PCR(measured[1]), PCR2: pcrs.PCR(measured[2]),
		}}}}},
		MaxAge: judgement.DefaultMaxAge, Skew: judgement.DefaultSkew,
	}})
	if result.Verdict != attestation.Good {
		t.Fatalf("got verdict %v: %+v", result.Verdict, result.Report)
	}
	return c, result.Judgement.Binding
}

// call asks the signer's interface, on a connection of its own.
func (e *enclave) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "application/json")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}
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

func keyFile(network string, keys ...string) release.KeyFile {
	validators := make([]string, len(keys))
	for i, key := range keys {
		validators[i] = `{"secret_key":"` + key + `"}`
	}
	return release.KeyFile(`{"version":1,"network":` + network + `,"validators":[` + strings.Join(validators, ",") + `]}`)
}

func send(t *testing.T, c *channel.Channel, b binding.Binding, file release.KeyFile) ([]string, error) {
	t.Helper()
	sealed, err := release.Seal(file, b)
	if err != nil {
		t.Fatal(err)
	}
	return release.Send(t.Context(), c, sealed)
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

func TestFromAttestationOverReleaseToASignature(t *testing.T) {
	e := startEnclave(t)
	request, root := readExample(t)

	if status, body := e.call(t, "GET", "/upcheck", ""); status != 200 || body != `{"status":"OK"}` {
		t.Errorf("got %d %q", status, body)
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != "[]" {
		t.Errorf("before the release: got %d %s, want none", status, body)
	}
	if status, body := e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, request); status != 404 {
		t.Errorf("before the release: got %d %s, want 404", status, body)
	}

	c, bound := e.verified(t)
	keys, err := send(t, c, bound, keyFile(exampleNetwork, secretKey1))
	if err != nil || !slices.Equal(keys, []string{publicKey1}) {
		t.Fatalf("got %q, %v, want %q", keys, err, publicKey1)
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != `["`+publicKey1+`"]` {
		t.Errorf("got %d %s", status, body)
	}

	status, body := e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, request)
	var answer struct{ Signature string }
	if err := json.Unmarshal([]byte(body), &answer); status != 200 || err != nil {
		t.Fatalf("got %d %s, %v", status, body, err)
	}
	public, err := bls.ParsePublicKey(publicKey1)
	if err != nil {
		t.Fatal(err)
	}
	var signature bls.Signature
	if _, err := hex.Decode(signature[:], []byte(strings.TrimPrefix(answer.Signature, "0x"))); err != nil {
		t.Fatal(err)
	}
	if !bls.Verify(public, root, signature) {
		t.Error("the signature does not verify")
	}

	// The same target with another block is a double vote.
	twin := strings.ReplaceAll(request, "0xb2eedb01", "0xb2eedb02")
	twin = strings.Replace(twin, `"signingRoot"`, `"ignored"`, 1)
	if status, body := e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, twin); status != 412 {
		t.Errorf("a double vote: got %d %s, want 412", status, body)
	}

	if _, err := send(t, c, bound, keyFile(exampleNetwork, secretKey1)); err != release.ErrReleased {
		t.Errorf("a second release: got %v, want %v", err, release.ErrReleased)
	}
	e.stop()
	if log := e.log.String(); strings.Contains(log, secretKey1[2:12]) || !strings.Contains(log, "keys were released") {
		t.Errorf("got log %s", log)
	}
}

func TestAReleaseThatTheSignerDoesNotTakeLeavesTheSlotOpen(t *testing.T) {
	e := startEnclave(t)
	c, bound := e.verified(t)
	const order = "0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001"
	zero := "0x" + strings.Repeat("0", 64)
	for name, test := range map[string]struct {
		file release.KeyFile
		want string
	}{
		"not a bundle":     {release.KeyFile("0x" + secretKey1), "bundle: want"},
		"unknown network":  {keyFile(`{"name":"nowhere"}`, secretKey1), "not one that is known"},
		"unknown fork":     {keyFile(`{"name":"hoodi","forks":[{"name":"osaka","version":"0x11223344","epoch":1}]}`, secretKey1), `fork \"osaka\"`},
		"unsound network":  {keyFile(strings.Replace(exampleNetwork, `"slots_per_epoch":32`, `"slots_per_epoch":0`, 1), secretKey1), "slots per epoch"},
		"zero key":         {keyFile(exampleNetwork, secretKey1, zero), "validator 2"},
		"key out of range": {keyFile(exampleNetwork, order), "validator 1"},
		"key twice":        {keyFile(exampleNetwork, secretKey1, secretKey1), "number 2 has the key of number 1"},
	} {
		keys, err := send(t, c, bound, test.file)
		if err == nil || keys != nil || !strings.Contains(err.Error(), "status 400") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %q, %v, want %q", name, keys, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), secretKey1[2:12]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != "[]" {
		t.Errorf("got %d %s, want no keys", status, body)
	}
	if keys, err := send(t, c, bound, keyFile(`{"name":"hoodi"}`, secretKey1)); err != nil || !slices.Equal(keys, []string{publicKey1}) {
		t.Errorf("got %q, %v", keys, err)
	}
}

func TestWhatIsSealedToAnEarlierStartDoesNotOpen(t *testing.T) {
	_, earlier := startEnclave(t).verified(t)
	c, bound := startEnclave(t).verified(t)
	if bytes.Equal(earlier.HPKEKey, bound.HPKEKey) || bytes.Equal(earlier.TLSKey, bound.TLSKey) {
		t.Fatal("two starts have one key")
	}
	if _, err := send(t, c, earlier, keyFile(exampleNetwork, secretKey1)); err == nil || !strings.Contains(err.Error(), "earlier start") {
		t.Errorf("got %v, want the hint", err)
	}
	// The right key in another context.
	swapped := bound
	swapped.TLSKey = earlier.TLSKey
	if _, err := send(t, c, swapped, keyFile(exampleNetwork, secretKey1)); err == nil {
		t.Error("what was sealed under another binding opened")
	}
}

func TestManyReleasesAtOnceMakeOneSigner(t *testing.T) {
	e := startEnclave(t)
	c, bound := e.verified(t)
	sealed := make([][]byte, 8)
	for i := range sealed {
		var err error
		if sealed[i], err = release.Seal(keyFile(`{"name":"hoodi"}`, fmt.Sprintf("0x%064x", i+1)), bound); err != nil {
			t.Fatal(err)
		}
	}
	winners := make(chan string, len(sealed))
	var group sync.WaitGroup
	for _, s := range sealed {
		group.Go(func() {
			keys, err := release.Send(t.Context(), c, s)
			if err == nil {
				winners <- keys[0]
			} else if err != release.ErrReleased {
				t.Errorf("got %v, want %v", err, release.ErrReleased)
			}
		})
	}
	group.Wait()
	if len(winners) != 1 {
		t.Fatalf("got %d successes, want 1", len(winners))
	}
	winner := <-winners
	if _, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); body != `["`+winner+`"]` {
		t.Errorf("got %s, want %s", body, winner)
	}
}

func TestAModuleThatIsBrokenIsNoEnclave(t *testing.T) {
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = module.Close()
	if _, err := assemble(t.Context(), module.Device(), time.Now(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("got a server without a module")
	}
}
