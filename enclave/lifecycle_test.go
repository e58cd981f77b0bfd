package main

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/control/message"
	"holdfast/enclave/nsm"
	"holdfast/enclave/serve/access/accesstest"
	"holdfast/enclave/slashing"
	"holdfast/internal/appliance"
)

// versioned makes a described bundle of another version.
func versioned(version int, description string) string {
	return fmt.Sprintf(`{"version":%d,`, version) + description[1:]
}

func TestANewerBundleTakesTheOldOnesPlaceWithoutARestart(t *testing.T) {
	e := startEnclave(t)
	first := versioned(3, open(exampleNetwork, secretKey1))
	if _, err := e.give(t, first); err != nil {
		t.Fatal(err)
	}
	if keys, err := e.give(t, versioned(4, open(exampleNetwork, secretKey2))); err != nil || !slices.Equal(keys, []string{publicKey2}) {
		t.Fatalf("got %q, %v", keys, err)
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != `["`+publicKey2+`"]` {
		t.Errorf("got %d %s, want the new key alone", status, body)
	}
	if status := appliance.Wait(t, e.control, message.Serving); status.Bundle.Version != 4 || status.Pending != nil {
		t.Errorf("got status %+v", status)
	}
	for name, test := range map[string]struct{ description, want string }{
		"an older one":             {first, "want a higher one"},
		"another of its version":   {versioned(4, open(exampleNetwork, secretKey1)), "want a higher one"},
		"another's name":           {`{"name":"other",` + versioned(5, open(exampleNetwork, secretKey1))[1:], "takes a restart"},
		"another configuration":    {versioned(5, open(`{"name":"hoodi"}`, secretKey1)), "takes a restart"},
		"not of this slashing key": {strings.Replace(versioned(5, open(exampleNetwork, secretKey1)), "{", `{"slashing_key":"0x`+strings.Repeat("11", 32)+`",`, 1), "another slashing key"},
	} {
		if _, err := e.give(t, test.description); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != `["`+publicKey2+`"]` {
		t.Errorf("after the refusals: got %d %s", status, body)
	}
}

func TestANewerBundleBringsAnotherTLSKeyThatIsAttested(t *testing.T) {
	e := startEnclave(t)
	for version := 1; version <= 2; version++ {
		leaf := accesstest.NewAuthority(t, "root").Issue(t, "signer", accesstest.ForServers("signer.example"))
		certificate, key := accesstest.Encode(t, leaf)
		identity, err := json.Marshal(map[string]string{"certificate": certificate, "key": key})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.give(t, versioned(version, with(anyClient+`,"tls":{"names":["signer.example"]}`, bare(secretKey1), `,"tls":`+string(identity)))); err != nil {
			t.Fatal(err)
		}
		// verified compares what is attested with the connection's own key.
		if _, bound := e.verified(t); string(bound.TLSKey) != string(leaf.Leaf.RawSubjectPublicKeyInfo) {
			t.Errorf("version %d: the attestation binds another key than the bundle's", version)
		}
	}
}

func TestTheSameBundleMayBePresentedAgain(t *testing.T) {
	e := startEnclave(t)
	made := sealed(t, open(exampleNetwork, secretKey1))
	for range 2 {
		if err := e.present(t, made); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.unlock(t, made); err != nil {
		t.Fatal(err)
	}
	if err := e.present(t, made); err != nil {
		t.Errorf("the bundle in force: %v", err)
	}
	if status := appliance.Wait(t, e.control, message.Serving); status.Pending != nil {
		t.Errorf("got %+v pending", status.Pending)
	}
}

func TestAnOlderBundleIsRefusedAfterARestart(t *testing.T) {
	dir := t.TempDir()
	e := startOn(t, dir)
	if _, err := e.give(t, versioned(7, open(exampleNetwork, secretKey1))); err != nil {
		t.Fatal(err)
	}
	e.stop()
	e = startOn(t, dir)
	if _, err := e.give(t, versioned(6, open(exampleNetwork, secretKey1))); err == nil || !strings.Contains(err.Error(), "7") {
		t.Errorf("got %v, want that version 7 was seen", err)
	}
	if status := appliance.Wait(t, e.control, message.WaitingForKey); !strings.Contains(status.Problem, "7") {
		t.Errorf("got problem %q", status.Problem)
	}
	if _, err := e.give(t, versioned(8, open(exampleNetwork, secretKey1))); err != nil {
		t.Error(err)
	}
}

func TestWhatWasSignedIsRememberedAfterARestart(t *testing.T) {
	dir := t.TempDir()
	request, _ := readExample(t)
	last := strings.Repeat("0", 64)
	for range 2 {
		e := startOn(t, dir)
		if _, err := e.give(t, open(exampleNetwork, secretKey1)); err != nil {
			t.Fatal(err)
		}
		if head, err := e.control.Head(t.Context()); err != nil || head.Head != last {
			t.Errorf("got head %s, %v, want %s, which the enclave told before it ended", head.Head, err, last)
		}
		if status, body := e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, request); status != 200 {
			t.Errorf("got %d %s", status, body)
		}
		twin := strings.Replace(strings.ReplaceAll(request, "0xb2eedb01", "0xb2eedb02"), `"signingRoot"`, `"ignored"`, 1)
		if status, body := e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, twin); status != 412 || !strings.Contains(body, "was signed before") {
			t.Errorf("a double vote: got %d %s", status, body)
		}
		var told struct {
			Enclave message.Status
		}
		if _, body := e.call(t, "GET", "/status", ""); json.Unmarshal([]byte(body), &told) != nil || told.Enclave.Slashing == nil || told.Enclave.Slashing.Head == "" {
			t.Fatalf("got status %s", body)
		}
		last = told.Enclave.Slashing.Head
		e.stop()
	}
}

func TestTheConfigurationIsLockedIntoTheRegister(t *testing.T) {
	e := startEnclave(t)
	made := sealed(t, open(exampleNetwork, secretKey1))
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	module := e.module.Device()
	register, err := module.DescribePCR(t.Context(), 16)
	if err != nil || !register.Locked || register.Value == (nsm.Digest{}) {
		t.Errorf("got %+v, %v, want a locked register", register, err)
	}
}

// fastNetwork is one whose epochs pass in two seconds, begun so long ago that its
// epochs have room below.
func fastNetwork() string { return networkSince(time.Now().Add(-time.Hour)) }

func networkSince(genesis time.Time) string {
	return fmt.Sprintf(`{"name":"fast","genesis_time":%d,"genesis_fork_version":"0x10000000",
		"genesis_validators_root":"0x%064x","seconds_per_slot":1,"slots_per_epoch":2,"sync_committee_size":512,"max_committees_per_slot":64}`, genesis.Unix(), 7)
}

// vote asks for an attestation on the fast network.
func (e *running) vote(t *testing.T, source, target uint64, head int) (int, string) {
	t.Helper()
	root := fmt.Sprintf("0x%064x", head)
	return e.call(t, "POST", "/api/v1/eth2/sign/"+publicKey1, fmt.Sprintf(`{"type":"ATTESTATION",
		"fork_info":{"fork":{"previous_version":"0x10000000","current_version":"0x10000000","epoch":"0"},"genesis_validators_root":"0x%064x"},
		"attestation":{"slot":"%d","index":"0","beacon_block_root":"%[3]s","source":{"epoch":"%[4]d","root":"%[3]s"},"target":{"epoch":"%[5]d","root":"%[3]s"}}}`,
		7, 2*target, root, source, target))
}

func strict(description, operator string) string {
	return strings.Replace(description, believing, `"slashing":{`+operator+`}`, 1)
}

func TestInStrictFreshnessARestartWaitsForTheFloorToPass(t *testing.T) {
	network := fastNetwork()
	e := startEnclave(t)
	if _, err := e.give(t, strict(open(network, secretKey1), "")); err != nil {
		t.Fatal(err)
	}
	floor := appliance.Wait(t, e.control, message.Serving).Slashing.Floor
	if floor == nil {
		t.Fatal("got no floor")
	}
	if status, body := e.vote(t, floor.Epoch, floor.Epoch+500, 1); status != 412 || !strings.Contains(body, "beyond") {
		t.Errorf("of the far future: got %d %s, want 412", status, body)
	}
	if status, body := e.vote(t, floor.Epoch-101, floor.Epoch-100, 1); status != 412 || !strings.Contains(body, "before a start") {
		t.Errorf("below the floor: got %d %s, want 412", status, body)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		status, body := e.vote(t, floor.Epoch, floor.Epoch+1, 1)
		if status == http.StatusOK {
			break
		}
		if status != 412 || time.Now().After(deadline) {
			t.Fatalf("above the floor: got %d %s, want 200 once its time has come", status, body)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if status, body := e.vote(t, floor.Epoch-1, floor.Epoch, 1); status != 412 {
		t.Errorf("at the floor: got %d %s, want 412", status, body)
	}
	if status, body := e.vote(t, floor.Epoch, floor.Epoch+1, 2); status != 412 || !strings.Contains(body, "was signed before") {
		t.Errorf("a double vote: got %d %s, want 412", status, body)
	}
}

func TestBeforeGenesisThereIsNoFloor(t *testing.T) {
	e := startEnclave(t)
	if _, err := e.give(t, strict(open(networkSince(time.Now().Add(time.Hour)), secretKey1), "")); err != nil {
		t.Fatal(err)
	}
	if status := appliance.Wait(t, e.control, message.Serving); status.Slashing.Floor != nil {
		t.Errorf("got floor %+v", status.Slashing.Floor)
	}
	if status, body := e.vote(t, 0, 1, 1); status != 412 || !strings.Contains(body, "nothing is signed before") {
		t.Errorf("a vote before genesis: got %d %s, want 412", status, body)
	}
}

func TestTheOperatorsStatementLiftsTheFloor(t *testing.T) {
	network := fastNetwork()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	e := startEnclave(t)
	if _, err := e.give(t, strict(open(network, secretKey1), `"operator":"`+hex.EncodeToString(public)+`"`)); err != nil {
		t.Fatal(err)
	}
	head, err := e.control.Head(t.Context())
	if err != nil || head.Floor == nil {
		t.Fatalf("got %+v, %v", head, err)
	}
	statement := slashing.Statement{Configuration: [48]byte(unhex(t, head.Configuration)), Challenge: [32]byte(unhex(t, head.Challenge)), Head: [32]byte(unhex(t, head.Head))}
	_, stranger, _ := ed25519.GenerateKey(nil)
	for name, test := range map[string]struct {
		key       ed25519.PrivateKey
		challenge string
		want      string
	}{
		"a stranger's":     {stranger, head.Challenge, "does not hold"},
		"of another start": {private, strings.Repeat("00", 32), "another start"},
	} {
		signature, err := statement.Sign(test.key)
		if err != nil {
			t.Fatal(err)
		}
		err = e.control.Vouch(t.Context(), message.Statement{Challenge: test.challenge, Head: head.Head, Signature: hex.EncodeToString(signature)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
	past := head.Floor.Epoch - 100
	if status, _ := e.vote(t, past-1, past, 1); status != 412 {
		t.Errorf("before the statement: got %d, want 412", status)
	}
	signature, err := statement.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.control.Vouch(t.Context(), message.Statement{Challenge: head.Challenge, Head: head.Head, Signature: hex.EncodeToString(signature)}); err != nil {
		t.Fatal(err)
	}
	// That the journal is complete is signed, and cannot be added or taken away.
	statement.Complete = true
	whole, err := statement.Sign(private)
	if err != nil {
		t.Fatal(err)
	}
	for _, said := range []message.Statement{
		{Challenge: head.Challenge, Head: head.Head, Complete: true, Signature: hex.EncodeToString(signature)},
		{Challenge: head.Challenge, Head: head.Head, Signature: hex.EncodeToString(whole)},
	} {
		if err := e.control.Vouch(t.Context(), said); err == nil || !strings.Contains(err.Error(), "does not hold") {
			t.Errorf("complete %v under another statement's signature: got %v", said.Complete, err)
		}
	}
	if err := e.control.Vouch(t.Context(), message.Statement{Challenge: head.Challenge, Head: head.Head, Complete: true, Signature: hex.EncodeToString(whole)}); err != nil {
		t.Errorf("a complete journal: %v", err)
	}
	if status, body := e.vote(t, past-1, past, 1); status != 200 {
		t.Errorf("after the statement: got %d %s, want 200", status, body)
	}
	if floor := appliance.Wait(t, e.control, message.Serving).Slashing.Floor; floor != nil {
		t.Errorf("got floor %+v", floor)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
