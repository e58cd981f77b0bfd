package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/bundle/bundletest"
	"holdfast/enclave/control/message"
	"holdfast/internal/appliance"
	"holdfast/verify/attestation/document"
	"holdfast/verify/binding"
	"holdfast/verify/envelope"
	"holdfast/verify/report"
)

// ask speaks to the control port as a parent does that wants keys made or moved.
func ask[T any](t *testing.T, e *running, path string, asked any) (answer T, refusal string) {
	t.Helper()
	body, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	status, raw := e.post(t, path, body)
	if status != 200 {
		return answer, raw
	}
	if err := json.Unmarshal([]byte(raw), &answer); err != nil {
		t.Fatal(err)
	}
	return answer, ""
}

const nonce = "abababababababababababababababababababababababababababababababab"

func ceremonyConfiguration(t *testing.T, v *vault) string {
	return `{"network":` + exampleNetwork + `,` + believing + `,` + v.configuration(t) + `}`
}

// checkGeneration holds what an enclave says that it made to what it attested.
func checkGeneration(t *testing.T, v *vault, made message.Generated) *envelope.Envelope {
	t.Helper()
	doc, err := document.Parse(made.Document, new(report.Report))
	if err != nil {
		t.Fatal(err)
	}
	g, err := binding.ParseGeneration(made.Bound)
	if err != nil {
		t.Fatal(err)
	}
	digest := g.Digest()
	if string(doc.UserData) != string(digest[:]) || hex.EncodeToString(doc.Nonce) != nonce {
		t.Errorf("got user data %x and nonce %x, want %x and %s", doc.UserData, doc.Nonce, digest, nonce)
	}
	sealed, err := envelope.Parse(made.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	if g.Bundle != sealed.Digest() || g.KMSKey != v.arn || g.Configuration != sealed.ConfigurationDigest() || len(g.PublicKeys) != len(made.PublicKeys) {
		t.Errorf("got %+v for a bundle with digest %x", g, sealed.Digest())
	}
	return sealed
}

func TestKeysMadeInsideLeaveOnlySealedAndAttested(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	configuration := ceremonyConfiguration(t, v)
	v.allow(t, sealed(t, `{"configuration":`+configuration+`,"validators":[{"secret_key":"`+secretKey1+`"}]}`).Envelope.ConfigurationDigest())
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	made, refusal := ask[message.Generated](t, e, "/keys", message.Generate{Nonce: nonce, Name: "made", Version: 1, Configuration: []byte(configuration), Count: 3})
	if refusal != "" || len(made.PublicKeys) != 3 {
		t.Fatalf("got %d keys, %s", len(made.PublicKeys), refusal)
	}
	bundle := checkGeneration(t, v, made)
	// The enclave opens what it sealed, like any other bundle.
	if err := e.present(t, &bundletest.Sealed{Envelope: bundle}); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving)
	if status, body := e.call(t, "GET", "/api/v1/eth2/publicKeys", ""); status != 200 || body != `["`+strings.Join(made.PublicKeys, `","`)+`"]` {
		t.Errorf("got %d %s, want %q", status, body, made.PublicKeys)
	}
}

func TestACeremonyThatIsAskedWronglyIsRefused(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	good := message.Generate{Nonce: nonce, Name: "made", Version: 1, Configuration: []byte(ceremonyConfiguration(t, v)), Count: 1}
	for name, change := range map[string]struct {
		change func(*message.Generate)
		want   string
	}{
		"no keys":         {func(g *message.Generate) { g.Count = 0 }, "want 1 to"},
		"too many keys":   {func(g *message.Generate) { g.Count = 1 << 20 }, "want 1 to"},
		"a short nonce":   {func(g *message.Generate) { g.Nonce = nonce[:62] }, "nonce"},
		"no nonce":        {func(g *message.Generate) { g.Nonce = "" }, "nonce"},
		"no KMS key":      {func(g *message.Generate) { g.Configuration = []byte(`{"network":{"name":"hoodi"},` + anyClient + `}`) }, "KMS key"},
		"no credentials":  {func(*message.Generate) {}, "credentials"},
		"a bad name":      {func(g *message.Generate) { g.Name = "NO" }, "name"},
		"not a structure": {func(g *message.Generate) { g.Configuration = []byte(`{`) }, "configuration"},
	} {
		asked := good
		change.change(&asked)
		if _, refusal := ask[message.Generated](t, e, "/keys", asked); !strings.Contains(refusal, change.want) {
			t.Errorf("%s: got %s, want %q in it", name, refusal, change.want)
		}
	}
}

// validatorRow makes a row as the sample writes it.
func (v *vault) validatorRow(t *testing.T, publicKey string, active bool) message.ValidatorRow {
	t.Helper()
	encode := base64.StdEncoding.EncodeToString
	plaintext := fmt.Sprintf(`{"keystore_b64":%q,"password_b64":%q,"mnemonic_b64":%q}`,
		encode([]byte(pbkdf2Keystore(t))), encode([]byte(keystorePassword)), encode([]byte("planted mnemonic")))
	sealed, err := v.Encrypt(v.arn, []byte(plaintext), nil)
	if err != nil {
		t.Fatal(err)
	}
	return message.ValidatorRow{UUID: "stack", PublicKey: publicKey[2:], Active: active, Encrypted: encode(sealed)}
}

func TestThePredecessorsTablesBecomeABundleInside(t *testing.T) {
	e := startEnclave(t)
	v := newVault(t, e)
	configuration := ceremonyConfiguration(t, v)
	v.allowTables(t, sealed(t, `{"configuration":`+configuration+`,"validators":[{"secret_key":"`+secretKey1+`"}]}`).Envelope.ConfigurationDigest())
	if err := e.control.PutCredentials(t.Context(), v.credentials(time.Hour)); err != nil {
		t.Fatal(err)
	}
	rows := message.Tables{Nonce: nonce, Name: "moved", Version: 1, Configuration: []byte(configuration),
		Validators: []message.ValidatorRow{v.validatorRow(t, publicKey2, true), v.validatorRow(t, publicKey1, false)}}
	made, refusal := ask[message.Generated](t, e, "/tables", rows)
	if refusal != "" || len(made.PublicKeys) != 1 || made.PublicKeys[0] != publicKey2 || made.Skipped[publicKey1[2:]] != "inactive" {
		t.Fatalf("got %q, skipped %q, %s", made.PublicKeys, made.Skipped, refusal)
	}
	bundle := checkGeneration(t, v, made)
	if err := e.present(t, &bundletest.Sealed{Envelope: bundle}); err != nil {
		t.Fatal(err)
	}
	appliance.Wait(t, e.control, message.Serving)

	rows.Validators = []message.ValidatorRow{v.validatorRow(t, publicKey1, true)}
	if _, refusal := ask[message.Generated](t, e, "/tables", rows); !strings.Contains(refusal, "swapped") {
		t.Errorf("a swapped row: got %s", refusal)
	}
	rows.Validators = nil
	if _, refusal := ask[message.Generated](t, e, "/tables", rows); !strings.Contains(refusal, "want 1 to") {
		t.Errorf("no row: got %s", refusal)
	}
	e.stop()
	for _, planted := range []string{keystorePassword, secretKey2[2:12], "mnemonic"} {
		if strings.Contains(e.log.String(), planted) {
			t.Errorf("the log shows %q", planted)
		}
	}
}
