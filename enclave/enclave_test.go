package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/enclave/bundle/bundletest"
	controlport "holdfast/enclave/control"
	"holdfast/enclave/control/message"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/nsm/nsmtest"
	"holdfast/internal/appliance"
	"holdfast/verify/attestation/judgement"
	"holdfast/verify/channel"
	"holdfast/verify/release"
)

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

	if status := appliance.Wait(t, e.control, message.WaitingForBundle); status.Bundle != nil || status.Slashing != nil {
		t.Errorf("before the bundle: got status %+v", status)
	}
	first := sealed(t, open(exampleNetwork, secretKey1))
	if err := e.present(t, first); err != nil {
		t.Fatal(err)
	}
	if status := appliance.Wait(t, e.control, message.WaitingForKey); status.Pending == nil || status.Pending.Keys != 1 || !status.Pending.Age {
		t.Errorf("before the data key: got status %+v", status)
	}
	keys, err := e.unlock(t, first)
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

	if _, err := e.unlock(t, first); !errors.Is(err, release.ErrReleased) {
		t.Errorf("a second release: got %v, want %v", err, release.ErrReleased)
	}
	status2 := appliance.Wait(t, e.control, message.Serving)
	if status2.Slashing == nil || status2.Slashing.Store != "journal" || status2.Slashing.Problem != "" || status2.Bundle.Keys != 1 {
		t.Errorf("got status %+v", status2)
	}
	e.stop()
	if log := e.log.String(); strings.Contains(log, secretKey1[2:12]) || !strings.Contains(log, "msg=serving") {
		t.Errorf("got log %s", log)
	}
}

func TestWhatIsSealedToAnEarlierStartDoesNotOpen(t *testing.T) {
	made := sealed(t, open(exampleNetwork, secretKey1))
	judge := func() (*channel.Channel, judgement.Judgement) {
		e := startEnclave(t)
		if err := e.present(t, made); err != nil {
			t.Fatal(err)
		}
		c, judged := e.verifiedWith(t, made.Envelope.ConfigurationDigest())
		return c, judged
	}
	_, earlier := judge()
	c, now := judge()
	if bytes.Equal(earlier.Binding.HPKEKey, now.Binding.HPKEKey) || bytes.Equal(earlier.Binding.TLSKey, now.Binding.TLSKey) {
		t.Fatal("two starts have one key")
	}
	if _, err := unlockUnder(t, c, earlier, made); err == nil || !strings.Contains(err.Error(), "earlier start") {
		t.Errorf("got %v, want the hint", err)
	}
	// The right key in another context.
	swapped := now
	swapped.Binding.TLSKey = earlier.Binding.TLSKey
	if _, err := unlockUnder(t, c, swapped, made); err == nil {
		t.Error("what was sealed under another binding opened")
	}
}

func TestADataKeyOfAnotherBundleIsRefused(t *testing.T) {
	e := startEnclave(t)
	made, other := sealed(t, open(exampleNetwork, secretKey1)), sealed(t, open(exampleNetwork, secretKey1))
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	if _, err := e.unlock(t, other); err == nil || !strings.Contains(err.Error(), "the bundle that waits here") {
		t.Errorf("got %v, want that it is of another bundle", err)
	}
	mixed := &bundletest.Sealed{Envelope: made.Envelope, DataKey: other.DataKey}
	if _, err := e.unlock(t, mixed); err == nil || !strings.Contains(err.Error(), "not the data key of this bundle") {
		t.Errorf("got %v, want that it is not the data key", err)
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != "[]" {
		t.Errorf("got %d %s, want no keys", status, body)
	}
	if keys, err := e.unlock(t, made); err != nil || !slices.Equal(keys, []string{publicKey1}) {
		t.Errorf("got %q, %v", keys, err)
	}
}

func TestManyReleasesAtOnceOpenTheBundleOnce(t *testing.T) {
	e := startEnclave(t)
	made := sealed(t, open(`{"name":"hoodi"}`, secretKey1))
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	won := make(chan []string, 8)
	var group sync.WaitGroup
	for range cap(won) {
		c, judged := e.verifiedWith(t, made.Envelope.ConfigurationDigest())
		group.Go(func() {
			keys, err := unlockUnder(t, c, judged, made)
			if err == nil {
				won <- keys
			} else if !errors.Is(err, release.ErrReleased) {
				t.Errorf("got %v, want %v", err, release.ErrReleased)
			}
		})
	}
	group.Wait()
	if len(won) != 1 {
		t.Fatalf("got %d successes, want 1", len(won))
	}
}

func TestAModuleThatIsBrokenIsNoEnclave(t *testing.T) {
	module, err := nsmtest.New(nsmtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = module.Close()
	p := platform{module: module.Device(), dial: appliance.NewLoopback().DialOut, started: time.Now(), log: slog.New(slog.DiscardHandler)}
	if _, err := assemble(t.Context(), p, new(controlport.Ring)); err == nil {
		t.Error("got a server without a module")
	}
}
