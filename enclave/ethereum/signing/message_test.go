package signing_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/slashing"
)

func find(t testing.TB, name string) example {
	t.Helper()
	for _, e := range examples(t) {
		if e.Name == name {
			return e
		}
	}
	t.Fatalf("no example %q", name)
	return example{}
}

// edit changes an example's request, without its signing root.
func edit(t *testing.T, name string, replacements ...string) []byte {
	t.Helper()
	body, _ := withoutRoot(t, find(t, name).Request)
	edited := strings.NewReplacer(replacements...).Replace(string(body))
	if edited == string(body) && len(replacements) > 0 {
		t.Fatalf("%s: nothing to replace with %q", name, replacements)
	}
	return []byte(edited)
}

func parse(t *testing.T, body []byte, n *network.Network) signing.Message {
	t.Helper()
	message, err := signing.Parse(body, n)
	if err != nil {
		t.Fatalf("%v\n%.300s", err, body)
	}
	return message
}

func TestOnlyBlocksAndAttestationsAreSlashable(t *testing.T) {
	for _, e := range examples(t) {
		message := parse(t, e.Request, exampleNetwork(forkOf(e.Name)))
		var want slashing.Duty
		switch message.Type {
		case signing.Block, signing.BlockV2:
			want = slashing.Block{Slot: 0, SigningRoot: message.SigningRoot}
		case signing.Attestation:
			want = slashing.Attestation{Source: 0, Target: 0, SigningRoot: message.SigningRoot}
		}
		if message.Duty != want {
			t.Errorf("%s: got duty %v, want %v", e.Name, message.Duty, want)
		}
	}
}

func TestADutyCarriesTheMessagesNumbers(t *testing.T) {
	n := exampleNetwork(network.Deneb)
	body := edit(t, "ATTESTATION", `"epoch":"0","root":"0x00`, `"epoch":"6","root":"0x00`, `"epoch":"0","root":"0xb2`, `"epoch":"7","root":"0xb2`)
	message := parse(t, body, n)
	if want := (slashing.Attestation{Source: 6, Target: 7, SigningRoot: message.SigningRoot}); message.Duty != want {
		t.Errorf("got %+v, want %+v", message.Duty, want)
	}
	body = edit(t, "BLOCK_V2 (DENEB)", `"slot":"0"`, `"slot":"77"`)
	message = parse(t, body, n)
	if want := (slashing.Block{Slot: 77, SigningRoot: message.SigningRoot}); message.Duty != want {
		t.Errorf("got %+v, want %+v", message.Duty, want)
	}
}

func TestADifferentSigningRootIsRefused(t *testing.T) {
	for _, e := range examples(t) {
		n := exampleNetwork(forkOf(e.Name))
		_, want := withoutRoot(t, e.Request)
		wrong := "0x" + strings.Repeat("11", 32)
		for _, field := range []string{"signingRoot", "signing_root"} {
			for root, ok := range map[string]bool{want: true, strings.ToUpper(want): true, wrong: false, "0x11": false} {
				body := strings.Replace(compact(t, e.Request), `"signingRoot":"`+want, `"`+field+`":"`+root, 1)
				if _, err := signing.Parse([]byte(body), n); (err == nil) != ok {
					t.Errorf("%s with %s %s: got %v", e.Name, field, root, err)
				}
			}
		}
	}
}

func compact(t *testing.T, data json.RawMessage) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestAnAbsentOrNullSigningRootIsFine(t *testing.T) {
	body := edit(t, "RANDAO_REVEAL")
	n := exampleNetwork(network.Phase0)
	parse(t, body, n)
	parse(t, []byte(`{"signingRoot":null,`+string(body[1:])), n)
}

func TestTypesAreReadInAnyCase(t *testing.T) {
	n := exampleNetwork(network.Phase0)
	want := parse(t, edit(t, "RANDAO_REVEAL"), n)
	for _, name := range []string{"randao_reveal", "Randao_Reveal"} {
		if got := parse(t, edit(t, "RANDAO_REVEAL", `"RANDAO_REVEAL"`, `"`+name+`"`), n); got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
	if got := parse(t, edit(t, "BLOCK_V2 (DENEB)", "DENEB", "deneb"), n); got.Type != signing.BlockV2 {
		t.Errorf("got %v", got.Type)
	}
	for _, name := range []string{"", "RANDAO", "GENERIC", "PROOF_OF_VALIDATION"} {
		if _, err := signing.Parse(edit(t, "RANDAO_REVEAL", `"RANDAO_REVEAL"`, `"`+name+`"`), n); err == nil {
			t.Errorf("type %q was taken", name)
		}
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	// Nimbus adds proofs to its blocks and fork_info to its registrations.
	n := exampleNetwork(network.Phase0)
	plain := parse(t, edit(t, "BLOCK_V2 (DENEB)"), n)
	proofs := parse(t, edit(t, "BLOCK_V2 (DENEB)", `"version"`, `"proofs":[{"index":"801","proof":["0x00"]}],"version"`), n)
	if plain != proofs {
		t.Errorf("with proofs: got %+v, want %+v", proofs, plain)
	}
	plain = parse(t, edit(t, "VALIDATOR_REGISTRATION"), n)
	body := edit(t, "VALIDATOR_REGISTRATION")
	withFork := parse(t, []byte(`{"fork_info":{"fork":{}},`+string(body[1:])), n)
	if plain != withFork {
		t.Errorf("with fork_info: got %+v, want %+v", withFork, plain)
	}
}

func TestEveryNeededFieldIsNeeded(t *testing.T) {
	for _, e := range examples(t) {
		n := exampleNetwork(forkOf(e.Name))
		body, _ := withoutRoot(t, e.Request)
		var request any
		if err := json.Unmarshal(body, &request); err != nil {
			t.Fatal(err)
		}
		eachField(request, "", func(path string, remove func(), restore func()) {
			if optional(e.Name, path) {
				return
			}
			remove()
			defer restore()
			data, err := json.Marshal(request)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := signing.Parse(data, n); err == nil {
				t.Errorf("%s was taken without %s", e.Name, path)
			}
		})
	}
}

// optional says which field of the examples nobody needs: an aggregate's version.
func optional(name, path string) bool {
	return strings.HasPrefix(name, "AGGREGATE") && path == ".aggregate_and_proof.version"
}

// eachField visits every field of every object, at most the first element of a list.
func eachField(v any, path string, visit func(path string, remove, restore func())) {
	switch v := v.(type) {
	case map[string]any:
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		for _, name := range names {
			value := v[name]
			visit(path+"."+name, func() { delete(v, name) }, func() { v[name] = value })
			eachField(value, path+"."+name, visit)
		}
	case []any:
		if len(v) > 0 {
			eachField(v[0], path+"[0]", visit)
		}
	}
}

func TestTheForkAtTheSlotDecidesTheAggregate(t *testing.T) {
	n := exampleNetwork(network.Deneb)
	n.Forks[network.Electra].Epoch = 10
	electra := edit(t, "AGGREGATE_AND_PROOF_V2 (ELECTRA)")
	before := parse(t, electra, n)
	at := func(slot int) []byte {
		return []byte(strings.Replace(string(electra), `"slot":"0"`, fmt.Sprintf(`"slot":"%d"`, slot), 1))
	}
	if got := parse(t, at(10*32-1), n).SigningRoot; got == before.SigningRoot {
		t.Error("the slot is not hashed")
	}
	after, deneb := parse(t, at(10*32), n), exampleNetwork(network.Deneb)
	if got := parse(t, at(10*32), deneb).SigningRoot; got == after.SigningRoot {
		t.Error("an Electra aggregate is hashed as a Deneb one")
	}
	// The version that comes with it decides nothing.
	relabelled := []byte(strings.Replace(string(electra), `"ELECTRA"`, `"PHASE0"`, 1))
	if got := parse(t, relabelled, n); got != before {
		t.Error("the version field changed the root")
	}
	// Before Electra there are no committee bits; from it on they are needed.
	plain := edit(t, "AGGREGATE_AND_PROOF_V2 (DENEB)")
	if _, err := signing.Parse(bytes.Replace(plain, []byte(`"slot":"0"`), []byte(`"slot":"320"`), 1), n); err == nil {
		t.Error("an Electra aggregate without committee bits was taken")
	}
}

func TestBareAndVersionedAggregatesAreTheSame(t *testing.T) {
	// Lighthouse sends every fork's aggregate bare and as AGGREGATE_AND_PROOF.
	n := exampleNetwork(network.Electra)
	versioned := edit(t, "AGGREGATE_AND_PROOF_V2 (ELECTRA)")
	var request map[string]any
	if err := json.Unmarshal(versioned, &request); err != nil {
		t.Fatal(err)
	}
	request["aggregate_and_proof"] = request["aggregate_and_proof"].(map[string]any)["data"]
	want := parse(t, versioned, n).SigningRoot
	for _, name := range []string{"AGGREGATE_AND_PROOF", "AGGREGATE_AND_PROOF_V2"} {
		request["type"] = name
		bare, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		if got := parse(t, bare, n).SigningRoot; got != want {
			t.Errorf("%s bare: got %x, want %x", name, got, want)
		}
	}
}

func TestAGloasAggregateHasItsOwnRoot(t *testing.T) {
	n := exampleNetwork(network.Fulu)
	n.Forks[network.Gloas].Epoch = 10
	body := edit(t, "AGGREGATE_AND_PROOF_V2 (FULU)", `"slot":"0"`, `"slot":"320"`)
	gloas, fulu := parse(t, body, n).SigningRoot, parse(t, body, exampleNetwork(network.Fulu)).SigningRoot
	if gloas == fulu {
		t.Error("a Gloas aggregate is hashed as a Fulu one")
	}
	before := []byte(strings.Replace(string(body), `"slot":"320"`, `"slot":"319"`, 1))
	if got, want := parse(t, before, n).SigningRoot, parse(t, before, exampleNetwork(network.Fulu)).SigningRoot; got != want {
		t.Error("the last aggregate of Fulu is hashed as a Gloas one")
	}
}

func TestABodyOfAnotherForkIsRefused(t *testing.T) {
	for name, fork := range map[string]network.Fork{
		"BLOCK_V2 (PHASE 0)": network.Altair,
		"BLOCK_V2 (ALTAIR)":  network.Phase0,
		"BLOCK (DEPRECATED)": network.Deneb,
	} {
		if _, err := signing.Parse(edit(t, name), exampleNetwork(fork)); err == nil || !strings.Contains(err.Error(), fork.String()) {
			t.Errorf("%s at a slot of %v: got %v", name, fork, err)
		}
	}
}

func TestUnknownBlockVersionsAreRefused(t *testing.T) {
	for _, version := range []string{"", "BYZANTIUM", "FORK 9"} {
		if _, err := signing.Parse(edit(t, "BLOCK_V2 (FULU)", "FULU", version), exampleNetwork(network.Fulu)); err == nil {
			t.Errorf("version %q was taken", version)
		}
	}
	for _, version := range []string{"GLOAS", "HEZE"} {
		parse(t, edit(t, "BLOCK_V2 (FULU)", "FULU", version), exampleNetwork(network.Fulu))
	}
}

func TestExitsAreSignedUnderCapellaOnceDenebIsActive(t *testing.T) {
	n := exampleNetwork(network.Capella)
	n.Forks[network.Deneb].Epoch = 100
	capella := func(exit, forkEpoch string) [32]byte {
		return parse(t, edit(t, "VOLUNTARY_EXIT", `"epoch":"119"`, `"epoch":"`+exit+`"`,
			`"current_version":"0x00000001","epoch":"1"`, `"current_version":"0x03000001","epoch":"`+forkEpoch+`"`,
			`"previous_version":"0x00000001"`, `"previous_version":"0x03000001"`), n).SigningRoot
	}
	other := func(exit, forkEpoch string) [32]byte {
		return parse(t, edit(t, "VOLUNTARY_EXIT", `"epoch":"119"`, `"epoch":"`+exit+`"`,
			`"current_version":"0x00000001","epoch":"1"`, `"current_version":"0x05000001","epoch":"`+forkEpoch+`"`), n).SigningRoot
	}
	for _, c := range []struct {
		name, exit, forkEpoch string
		same                  bool
	}{
		{"exit in Deneb, old fork", "100", "50", true},
		{"exit before Deneb, fork of Deneb", "99", "100", true},
		{"both in Deneb", "119", "119", true},
		{"both before Deneb", "99", "99", false},
	} {
		if got := capella(c.exit, c.forkEpoch) == other(c.exit, c.forkEpoch); got != c.same {
			t.Errorf("%s: signed under Capella's version: %v, want %v", c.name, got, c.same)
		}
	}
}

func TestTheForksEpochSelectsItsVersion(t *testing.T) {
	n := exampleNetwork(network.Deneb)
	at := func(previous, current, forkEpoch string) [32]byte {
		return parse(t, edit(t, "RANDAO_REVEAL",
			`"current_version":"0x00000001","epoch":"1"`, `"current_version":"`+current+`","epoch":"`+forkEpoch+`"`,
			`"previous_version":"0x00000001"`, `"previous_version":"`+previous+`"`), n).SigningRoot
	}
	const a, b = "0x0000000a", "0x0000000b"
	if at(a, b, "3") != at(b, b, "3") {
		t.Error("at the fork's epoch the current version counts")
	}
	if at(a, b, "4") != at(a, a, "4") {
		t.Error("before the fork's epoch the previous version counts")
	}
	if at(a, b, "18446744073709551615") != at(a, a, "4") {
		t.Error("FAR_FUTURE_EPOCH is a number like others")
	}
}

func TestTheAttestationsIndexIsHashed(t *testing.T) {
	n := exampleNetwork(network.Deneb)
	zero := parse(t, edit(t, "ATTESTATION"), n).SigningRoot
	one := parse(t, edit(t, "ATTESTATION", `"index":"0"`, `"index":"1"`), n).SigningRoot
	if zero == one {
		t.Error("the index is not hashed")
	}
}

func TestNumbersMayBeBare(t *testing.T) {
	n := exampleNetwork(network.Deneb)
	want := parse(t, edit(t, "ATTESTATION"), n)
	if got := parse(t, edit(t, "ATTESTATION", `"slot":"32"`, `"slot":32`, `"epoch":"0"`, `"epoch":0`), n); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestARegistrationsFeeRecipientIsKnown(t *testing.T) {
	message := parse(t, edit(t, "VALIDATOR_REGISTRATION"), exampleNetwork(network.Phase0))
	if message.FeeRecipient[0] != 0x6f || message.FeeRecipient[19] != 0xa9 {
		t.Errorf("got %x", message.FeeRecipient)
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range examples(f) {
		f.Add([]byte(e.Request), uint8(forkOf(e.Name)))
	}
	for name, message := range gloasMessages {
		f.Add(gloasRequest(string(name), strings.ToLower(string(name)), message), uint8(network.Gloas))
	}
	f.Add(genericRequest("object_root", "0x02000000"), uint8(6))
	f.Add([]byte(`{"type":"ATTESTATION"}`), uint8(5))
	f.Fuzz(func(t *testing.T, body []byte, fork uint8) {
		n := exampleNetwork(network.Fork(fork) % (network.Gloas + 1))
		message, err := signing.Parse(body, n)
		if err != nil {
			return
		}
		if again, err := signing.Parse(body, n); err != nil || again != message {
			t.Fatalf("the second time: got %+v, %v; want %+v", again, err, message)
		}
		slashable := message.Type == signing.Attestation || message.Type == signing.Block || message.Type == signing.BlockV2
		if slashable != (message.Duty != nil) {
			t.Fatalf("%v with duty %v", message.Type, message.Duty)
		}
	})
}
