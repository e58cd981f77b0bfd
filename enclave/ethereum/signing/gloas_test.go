package signing_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/signing"
)

// gloasAt is a network whose Gloas begins at an epoch.
func gloasAt(epoch uint64) *network.Network {
	n := exampleNetwork(network.Fulu)
	n.Forks[network.Gloas].Epoch = epoch
	return n
}

func hexDigits(bytes int) string { return "0x" + strings.Repeat("5a", bytes) }

const exampleForkInfo = `"fork_info":{"fork":{"previous_version":"0x06000001","current_version":"0x07000001","epoch":"10"},
	"genesis_validators_root":"0x0400000000000000000000000000000000000000000000000000000000000000"}`

// gloasMessages are a message of each type at slot 320, by type, as JSON.
var gloasMessages = map[signing.Type]string{
	signing.PayloadAttestationMessage: `{"beacon_block_root":"` + hexDigits(32) + `","slot":"320","payload_present":true,"blob_data_available":false}`,
	signing.ProposerPreferences: `{"dependent_root":"` + hexDigits(32) + `","proposal_slot":"320","validator_index":"7","fee_recipient":"` +
		hexDigits(20) + `","target_gas_limit":"60000000"}`,
	signing.BuilderRequestAuth: `{"data":"0x68747470733a2f2f6275696c6465722e6578616d706c652e636f6d","slot":"320"}`,
	signing.ExecutionPayloadBid: `{"parent_block_hash":"` + hexDigits(32) + `","parent_block_root":"` + hexDigits(32) + `","block_hash":"` + hexDigits(32) +
		`","prev_randao":"` + hexDigits(32) + `","fee_recipient":"` + hexDigits(20) + `","gas_limit":"1","builder_index":"2","slot":"320","value":"3",
		"execution_payment":"4","blob_kzg_commitments":["` + hexDigits(48) + `"],"execution_requests_root":"` + hexDigits(32) + `"}`,
	signing.ExecutionPayloadEnvelope: `{"payload":{"parent_hash":"` + hexDigits(32) + `","fee_recipient":"` + hexDigits(20) + `","state_root":"` + hexDigits(32) +
		`","receipts_root":"` + hexDigits(32) + `","logs_bloom":"` + hexDigits(256) + `","prev_randao":"` + hexDigits(32) + `","block_number":"1","gas_limit":"2",
		"gas_used":"3","timestamp":"4","extra_data":"0x","base_fee_per_gas":"7","block_hash":"` + hexDigits(32) + `","transactions":["0x01","0x"],
		"withdrawals":[],"blob_gas_used":"0","excess_blob_gas":"0","block_access_list":"0xc0","slot_number":"320"},
		"execution_requests":{"deposits":[],"withdrawals":[],"consolidations":[],"builder_deposits":[],"builder_exits":[]},
		"builder_index":"5","beacon_block_root":"` + hexDigits(32) + `","parent_beacon_block_root":"` + hexDigits(32) + `"}`,
}

func gloasRequest(name, key, message string) []byte {
	return fmt.Appendf(nil, `{"type":"%s",%s,"%s":%s}`, name, exampleForkInfo, key, message)
}

func TestGloasMessagesComeWrappedAndBareAndUnderOldNames(t *testing.T) {
	n := gloasAt(10)
	for name, message := range gloasMessages {
		key := strings.ToLower(string(name))
		want := parse(t, gloasRequest(string(name), key, message), n)
		if want.Type != name || want.Duty != nil {
			t.Errorf("%s: got %+v", name, want)
		}
		wrapped := `{"version":"GLOAS","data":` + message + `}`
		if got := parse(t, gloasRequest(string(name), key, wrapped), n); got != want {
			t.Errorf("%s wrapped: got %+v, want %+v", name, got, want)
		}
		for _, old := range map[signing.Type][][2]string{
			signing.PayloadAttestationMessage: {{"PAYLOAD_ATTESTATION", "payload_attestation_data"}, {"PAYLOAD_ATTESTATION", "payload_attestation"}},
			signing.BuilderRequestAuth:        {{"REQUEST_AUTH", "request_auth"}},
		}[name] {
			if got := parse(t, gloasRequest(old[0], old[1], message), n); got != want {
				t.Errorf("%s as %s: got %+v, want %+v", name, old, got, want)
			}
		}
	}
}

func TestGloasMessagesAreRefusedWhereTheForkIsNotScheduled(t *testing.T) {
	for name, message := range gloasMessages {
		body := gloasRequest(string(name), strings.ToLower(string(name)), message)
		if _, err := signing.Parse(body, exampleNetwork(network.Fulu)); err == nil || !strings.Contains(err.Error(), "does not schedule") {
			t.Errorf("%s: got %v", name, err)
		}
		_, err := signing.Parse(body, gloasAt(11))
		if before := err != nil && strings.Contains(err.Error(), "before GLOAS"); before != (name != signing.BuilderRequestAuth) {
			t.Errorf("%s in the last epoch of Fulu: got %v", name, err)
		}
	}
}

func TestMisshapenGloasMessagesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name     signing.Type
		old, new string
	}{
		{signing.PayloadAttestationMessage, "true", `"true"`},
		{signing.PayloadAttestationMessage, `"payload_present":true,`, ""},
		{signing.ProposerPreferences, "target_gas_limit", "gas_limit"},
		{signing.BuilderRequestAuth, "0x68", "0x68" + strings.Repeat("00", 4096)},
		{signing.ExecutionPayloadBid, hexDigits(48), hexDigits(47)},
		{signing.ExecutionPayloadBid, hexDigits(48), hexDigits(49)},
		{signing.ExecutionPayloadBid, `["` + hexDigits(48) + `"]`, `"` + hexDigits(48) + `"`},
		{signing.ExecutionPayloadEnvelope, hexDigits(256), hexDigits(255)},
		{signing.ExecutionPayloadEnvelope, `"extra_data":"0x"`, `"extra_data":"` + hexDigits(33) + `"`},
		{signing.ExecutionPayloadEnvelope, `"base_fee_per_gas":"7"`, `"base_fee_per_gas":"-7"`},
		{signing.ExecutionPayloadEnvelope, `"base_fee_per_gas":"7"`, `"base_fee_per_gas":"+7"`},
		{signing.ExecutionPayloadEnvelope, `"base_fee_per_gas":"7"`, `"base_fee_per_gas":"0x7"`},
		{signing.ExecutionPayloadEnvelope, `"base_fee_per_gas":"7"`, `"base_fee_per_gas":""`},
		{signing.ExecutionPayloadEnvelope, `"base_fee_per_gas":"7"`, `"base_fee_per_gas":"1` + strings.Repeat("0", 78) + `"`},
		{signing.ExecutionPayloadEnvelope, `"0x01"`, `"0x1"`},
		{signing.ExecutionPayloadEnvelope, `"builder_exits":[]`, `"builder_exits":[{}]`},
		{signing.ExecutionPayloadEnvelope, "parent_beacon_block_root", "other"},
	} {
		message := strings.Replace(gloasMessages[c.name], c.old, c.new, 1)
		if message == gloasMessages[c.name] {
			t.Fatalf("%s: nothing to replace with %s", c.name, c.old)
		}
		if _, err := signing.Parse(gloasRequest(string(c.name), strings.ToLower(string(c.name)), message), gloasAt(0)); err == nil {
			t.Errorf("%s with %.60s: taken", c.name, c.new)
		}
	}
}

func TestAPreferencesFeeRecipientIsKnown(t *testing.T) {
	message := parse(t, gloasRequest("PROPOSER_PREFERENCES", "proposer_preferences", gloasMessages[signing.ProposerPreferences]), gloasAt(0))
	if message.FeeRecipient[0] != 0x5a || message.FeeRecipient[19] != 0x5a {
		t.Errorf("got %x", message.FeeRecipient)
	}
}

func genericRequest(rootName, domain string) []byte {
	return fmt.Appendf(nil, `{"type":"generic","%s":"%s","domain":"%s"}`, rootName, hexDigits(32), domain+strings.Repeat("00", 28))
}

func TestAGenericRequestSignsItsRootUnderItsDomain(t *testing.T) {
	n := exampleNetwork(network.Fulu)
	// compute_signing_root: the hash of the object's root and the domain.
	root, domain := bytes.Repeat([]byte{0x5a}, 32), append([]byte{2}, make([]byte, 31)...)
	want := sha256.Sum256(append(root, domain...))
	for _, name := range []string{"object_root", "merkle_root"} {
		got := parse(t, genericRequest(name, "0x02000000"), n)
		if got.SigningRoot != want || got.Type != signing.Generic || got.ForkInfo || got.Duty != nil {
			t.Errorf("%s: got %+v, want root %x", name, got, want)
		}
	}
}

func TestGenericRequestsForSlashableDomainsAreRefused(t *testing.T) {
	n := exampleNetwork(network.Fulu)
	for _, domain := range []string{"0x00000000", "0x01000000"} {
		if _, err := signing.Parse(genericRequest("object_root", domain), n); err == nil || !strings.Contains(err.Error(), "slashable") {
			t.Errorf("%s: got %v", domain, err)
		}
	}
	for domain, guarded := range map[string]signing.Type{
		"0x03000000": signing.Deposit, "0x04000000": signing.VoluntaryExit, "0x00000001": signing.ValidatorRegistration,
		"0x0b000000": signing.ExecutionPayloadBid, "0x0d000000": signing.ProposerPreferences, "0x02000000": "", "0xff000000": "",
	} {
		if got := parse(t, genericRequest("object_root", domain), n).Guarded; got != guarded {
			t.Errorf("%s: got guarded %q, want %q", domain, got, guarded)
		}
	}
	both := strings.Replace(string(genericRequest("object_root", "0x02000000")), `"domain"`, `"merkle_root":"`+hexDigits(32)+`","domain"`, 1)
	for _, body := range []string{both, `{"type":"GENERIC","domain":"` + hexDigits(32) + `"}`, `{"type":"GENERIC","object_root":"` + hexDigits(32) + `"}`} {
		if _, err := signing.Parse([]byte(body), n); err == nil {
			t.Errorf("taken: %s", body)
		}
	}
}
