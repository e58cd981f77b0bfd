package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/enclave/serve/access/accesstest"
)

// secretKey2 is key 1 of the mocked start, and publicKey2 what it makes.
const (
	secretKey2 = "0x51d0b65185db6989ab0b560d6deed19c7ead0e24b9b6372cbecb1f26bdfad000"
	publicKey2 = "0xb89bebc699769726a318c8e9971bd3171297c61aea4a6578a7a4f94b547dcba5bac16a89108b6b6a1fe3695d1a874a0b"
)

// callAs asks on a connection of its own, with a certificate or none.
func (e *running) callAs(t *testing.T, certificate *tls.Certificate, method, path, body string) (int, string) {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return exchange(t, &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, newRequest(t, method, e.url+path, body))
}

func entry(name string, certificate tls.Certificate, more string) string {
	return fmt.Sprintf(`{"name":%q,"fingerprints":["%v"],%s}`, name, accesstest.Fingerprint(certificate), more)
}

func TestAClientHasSignedWhatTheConfigurationSays(t *testing.T) {
	e := startEnclave(t)
	attester, proposer, stranger := accesstest.SelfSigned(t, "attester"), accesstest.SelfSigned(t, "proposer"), accesstest.SelfSigned(t, "stranger")
	file := with(`"clients":[`+
		entry("attester", attester, `"keys":["`+publicKey1+`"],"types":["ATTESTATION"]`)+`,`+
		entry("proposer", proposer, `"keys":"all","types":["BLOCK_V2","VOLUNTARY_EXIT"]`)+`]`, bare(secretKey1, secretKey2), "")
	if _, err := e.give(t, file); err != nil {
		t.Fatal(err)
	}
	attestation, _ := readExample(t)
	exit := strings.Replace(`{"type":"VOLUNTARY_EXIT","fork_info":{"fork":{"previous_version":"0x00000001","current_version":"0x00000001","epoch":"0"},
		"genesis_validators_root":"ROOT"},"voluntary_exit":{"epoch":"119","validator_index":"0"}}`, "ROOT", "0x04700007fabc8282644aed6d1c7c9e21d38a03a0c4ba193f3afe428824b3a673", 1)
	for name, test := range map[string]struct {
		certificate *tls.Certificate
		key, body   string
		status      int
		mention     string
	}{
		"its type with its key":      {&attester, publicKey1, attestation, 200, "0x"},
		"another's key":              {&attester, publicKey2, attestation, 403, "may not use key"},
		"another type":               {&attester, publicKey1, exit, 403, "may not have type VOLUNTARY_EXIT"},
		"an exit by name":            {&proposer, publicKey2, exit, 200, "0x"},
		"a duty that is not named":   {&proposer, publicKey1, attestation, 403, "may not have type ATTESTATION"},
		"a stranger":                 {&stranger, publicKey1, attestation, 403, "client_unknown: "},
		"nobody":                     {nil, publicKey1, attestation, 403, "client_certificate: "},
		"nobody, who asks for a key": {nil, "0x00", attestation, 403, "client_certificate: "},
	} {
		status, body := e.callAs(t, test.certificate, "POST", "/api/v1/eth2/sign/"+test.key, test.body)
		if status != test.status || !strings.Contains(body, test.mention) {
			t.Errorf("%s: got %d %s, want %d with %q", name, status, body, test.status, test.mention)
		}
	}
	if status, _ := e.callAs(t, nil, "GET", "/api/v1/eth2/publicKeys", ""); status != 403 {
		t.Errorf("nobody sees the keys: got %d", status)
	}
	e.stop()
	log := e.log.String()
	if strings.Contains(log, "ANY CLIENT") || !strings.Contains(log, "msg=configuration") {
		t.Errorf("got log %s", log)
	}
}

func TestABundleThatLetsAnybodyAskSaysSo(t *testing.T) {
	e := startEnclave(t)
	if _, err := e.give(t, open(exampleNetwork, secretKey1)); err != nil {
		t.Fatal(err)
	}
	attestation, _ := readExample(t)
	if status, body := e.callAs(t, nil, "POST", "/api/v1/eth2/sign/"+publicKey1, attestation); status != 200 || !strings.HasPrefix(body, "0x") {
		t.Errorf("got %d %s", status, body)
	}
	if status, body := e.callAs(t, nil, "GET", "/status", ""); status != 200 || !strings.Contains(body, `"any_client":"any"`) {
		t.Errorf("got %d %s", status, body)
	}
	e.stop()
	if log := e.log.String(); !strings.Contains(log, "ANY CLIENT MAY ASK") {
		t.Errorf("got log %s", log)
	}
}

func TestTheAttestationBindsTheKeyInUse(t *testing.T) {
	root := accesstest.NewAuthority(t, "root")
	leaf := root.Issue(t, "signer", accesstest.ForServers("signer.example"))
	certificate, key := accesstest.Encode(t, leaf)
	encoded, err := json.Marshal(map[string]string{"certificate": certificate, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	const clients = anyClient + `,"tls":{"names":["signer.example"]}`
	wrong := strings.Replace(clients, "signer.example", "other.example", 1)
	if _, err := startEnclave(t).give(t, with(wrong, bare(secretKey1), `,"tls":`+string(encoded))); err == nil || !strings.Contains(err.Error(), "other.example") {
		t.Errorf("a certificate for another name: got %v", err)
	}
	e := startEnclave(t)
	_, before := e.verified(t)
	made := sealed(t, with(clients, bare(secretKey1), `,"tls":`+string(encoded)))
	if err := e.present(t, made); err != nil {
		t.Fatal(err)
	}
	// verified compares the binding with the key of its own connection.
	_, pinned := e.verified(t)
	if _, err := e.unlock(t, made); err != nil {
		t.Fatal(err)
	}
	_, after := e.verified(t)
	want := made.Envelope.ConfigurationDigest()
	if before.Configuration != ([48]byte{}) || pinned.Configuration != want || after.Configuration != want {
		t.Errorf("got configurations %x, %x and %x, want none and then %x", before.Configuration, pinned.Configuration, after.Configuration, want)
	}
	if string(pinned.TLSKey) != string(before.TLSKey) || string(after.TLSKey) != string(leaf.Leaf.RawSubjectPublicKeyInfo) || string(after.HPKEKey) != string(before.HPKEKey) {
		t.Errorf("got binding %+v, then %+v", before, after)
	}
	e.stop()
	if strings.Contains(e.log.String(), strings.Split(key, "\n")[1][:20]) {
		t.Error("the log shows the key")
	}
}

func TestTheInterfacesAreOnThatTheConfigurationTurnsOn(t *testing.T) {
	const clients = `"clients":[{"name":"any","any":true,"keys":"all","types":["duties","GENERIC"]}]`
	const token = "0123456789abcdef0123456789abcdef"
	generic := `{"type":"GENERIC","object_root":"` + soakRoot + `","domain":"0x07000000` + strings.Repeat("00", 28) + `"}`
	off, on := startEnclave(t), startEnclave(t)
	for e, file := range map[*running]string{
		off: with(clients, bare(secretKey1), ""),
		on:  with(clients+`,"api":{"batch":true,"generic":true,"keymanager":true}`, bare(secretKey1), `,"keymanager_token":"`+token+`"`),
	} {
		if _, err := e.give(t, file); err != nil {
			t.Fatal(err)
		}
	}
	batch := `{"identifiers":["` + publicKey1 + `"],"signing_request":` + generic + `}`
	for name, test := range map[string]struct {
		method, path, body string
		off, on            int
	}{
		"GENERIC":     {"POST", "/api/v1/eth2/sign/" + publicKey1, generic, 400, 200},
		"batch":       {"POST", "/api/v1/eth2/sign", batch, 404, 200},
		"key manager": {"GET", "/eth/v1/keystores", "", 404, 401},
		"description": {"GET", "/api/v1/eth2/openapi.json", "", 200, 200},
		"health":      {"GET", "/healthcheck", "", 200, 200},
		"metrics":     {"GET", "/metrics", "", 200, 200},
		"reload":      {"POST", "/reload", "", 202, 202},
	} {
		if status, body := off.callAs(t, nil, test.method, test.path, test.body); status != test.off {
			t.Errorf("%s, off: got %d %.200s, want %d", name, status, body, test.off)
		}
		if status, body := on.callAs(t, nil, test.method, test.path, test.body); status != test.on {
			t.Errorf("%s, on: got %d %.200s, want %d", name, status, body, test.on)
		}
	}
}
