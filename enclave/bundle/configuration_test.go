package bundle_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/policy"
	"holdfast/enclave/ethereum/signing"
	"holdfast/enclave/secret"
)

const fingerprint = "02:D0:A8:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC"

const client = `{"name":"vc-1","fingerprints":["` + fingerprint + `"],"keys":"all"}`

const configuration = `{"network":{"name":"hoodi"},"clients":[` + client + `]}`

var publicKey = "0x" + strings.Repeat("ab", 48)

// whole has every field.
var whole = `{"version":1,"configuration":{
	"network": {"config": "PRESET_BASE: 'minimal' # \u00e9\nCONFIG_NAME: \"own\"\nGENESIS_FORK_VERSION: 0x10000038\nALTAIR_FORK_VERSION: 0x20000038\nALTAIR_FORK_EPOCH: 0\nBELLATRIX_FORK_VERSION: 0x30000038\nBELLATRIX_FORK_EPOCH: 0\nCAPELLA_FORK_VERSION: 0x40000038\nCAPELLA_FORK_EPOCH: 0\nDENEB_FORK_VERSION: 0x50000038\nDENEB_FORK_EPOCH: 0\nSECONDS_PER_SLOT: 6\n",
		"genesis_time": 1700000060, "genesis_validators_root": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"},
	"tls": {"names": ["signer.example", "*.signer.example", "10.0.0.7", "fd00::7"]},
	"clients": [
		{"name":"vc-1","fingerprints":["` + fingerprint + `","` + strings.Repeat("0a", 32) + `"],"keys":["` + publicKey + `"],
			"types":["duties","VOLUNTARY_EXIT"],"fee_recipients":["0xFe3B557E8Fb62b89F4916B721be55cEb828dBd73"],"keymanager":true},
		{"name":"prysm","any":true,"keys":"all","types":["ATTESTATION"],"keymanager":false}],
	"known_clients": "# from Web3Signer\r\n\nlighthouse ` + strings.Repeat("0B", 32) + `\n",
	"api": {"batch":true,"generic":true,"gloas":true,"keymanager":true},
	"limits": {"connections":64,"in_flight":100,"in_flight_per_client":10}
},
"tls": {"certificate":"-----BEGIN CERTIFICATE-----\n","key":"-----BEGIN PRIVATE KEY-----\n"},
"keymanager_token": "api-token-0x0123456789abcdef0123456789abcdef",
"validators":[{"public_key":"` + publicKey + `","keystore":{"version":4,"crypto":{"a":["}\"",1]}},"password":"pa\"ss\n\ud83d\udd11"},{"secret_key":"` + key(7) + `"}]}`

func TestAWholeFileIsRead(t *testing.T) {
	got, err := bundle.Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	c := got.Settings
	if c.Network.Name != "own" || c.Network.GenesisTime != 1700000060 || c.Network.GenesisValidatorsRoot[0] != 0x4b || c.Network.SlotsPerEpoch != 8 || c.Network.ForkAt(0) != network.Deneb {
		t.Errorf("got network %+v", c.Network)
	}
	if want := []string{"signer.example", "*.signer.example", "10.0.0.7", "fd00::7"}; !slices.Equal(c.Names, want) {
		t.Errorf("got names %q, want %q", c.Names, want)
	}
	if want := (bundle.API{Batch: true, Generic: true, Gloas: true, KeyManager: true}); c.API != want {
		t.Errorf("got %+v, want %+v", c.API, want)
	}
	if want := (bundle.Limits{Connections: 64, InFlight: 100, InFlightPerClient: 10}); c.Limits != want {
		t.Errorf("got %+v, want %+v", c.Limits, want)
	}
	if name, ok := c.Clients.Any(); !ok || name != "prysm" || c.Implied {
		t.Errorf("got %q, %t, implied %t; want the client that was named for everybody", name, ok, c.Implied)
	}
	if string(got.Identity.Key.Reveal()) != "-----BEGIN PRIVATE KEY-----\n" || string(got.Identity.Certificate) != "-----BEGIN CERTIFICATE-----\n" {
		t.Errorf("got identity %+v", got.Identity)
	}
	if token := string(got.Token.Reveal()); token != "api-token-0x0123456789abcdef0123456789abcdef" {
		t.Errorf("got token %q", token)
	}
	v := got.Validators[0]
	if string(v.Keystore) != `{"version":4,"crypto":{"a":["}\"",1]}}` || string(v.Password.Reveal()) != "pa\"ss\n🔑" || v.PublicKey.String() != publicKey || v.SecretKey.Len() != 0 {
		t.Errorf("got keystore %s, password %q, public key %v", v.Keystore, v.Password.Reveal(), v.PublicKey)
	}
	if got.Validators[1].SecretKey.Reveal()[31] != 7 || got.Validators[1].PublicKey != nil {
		t.Errorf("got %+v", got.Validators[1])
	}
}

// identified returns the policy of whoever presents a certificate.
func identified(t *testing.T, b *bundle.Bundle, certificates ...*x509.Certificate) policy.Client {
	t.Helper()
	found, refusal := b.Settings.Clients.Identify(certificates, time.Now())
	if refusal != nil {
		t.Fatal(refusal)
	}
	return found.Client.Policy
}

func TestAClientMayDoWhatItsEntrySays(t *testing.T) {
	got, err := bundle.Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if p := identified(t, got); p.Name != "prysm" || !slices.Equal(p.Types, []signing.Type{signing.Attestation}) || !p.AnyKey || !p.AnyFeeRecipient {
		t.Errorf("got %+v", p)
	}
	leaf, text := certificate(t, "vc", false)
	named := strings.Replace(whole, fingerprint, fmt.Sprintf("%X", sha(leaf)), 1)
	if got, err = bundle.Parse([]byte(named)); err != nil {
		t.Fatal(err)
	}
	p := identified(t, got, leaf)
	want := policy.Duties("vc-1")
	want.AnyKey, want.AnyFeeRecipient = false, false
	want.Types = append(want.Types, signing.VoluntaryExit)
	want.FeeRecipients = [][20]byte{{0xfe, 0x3b, 0x55, 0x7e, 0x8f, 0xb6, 0x2b, 0x89, 0xf4, 0x91, 0x6b, 0x72, 0x1b, 0xe5, 0x5c, 0xeb, 0x82, 0x8d, 0xbd, 0x73}}
	want.Keys = append(want.Keys, *got.Validators[0].PublicKey)
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}

	// Without types an entry allows the ordinary duties; a line of known_clients
	// too, for the common name it names.
	lines := strings.Replace(configuration, `"clients"`, fmt.Sprintf(`"known_clients":"vc %x","clients"`, sha(leaf)), 1)
	if got, err = bundle.Parse([]byte(configured(lines))); err != nil {
		t.Fatal(err)
	}
	if p, want := identified(t, got, leaf), beforeGloas("vc"); !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}

	// An authority's PEM, in a string.
	_, authority := certificate(t, "authority", true)
	encoded, err := json.Marshal(authority)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Parse([]byte(configured(clients(`{"name":"a","keys":"all","ca":` + string(encoded) + `}`)))); err != nil {
		t.Error(err)
	}
	encoded, err = json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.Parse([]byte(configured(clients(`{"name":"a","keys":"all","ca":` + string(encoded) + `}`)))); err == nil || !strings.Contains(err.Error(), "not an authority's") {
		t.Errorf("a client's own certificate as an authority: got %v", err)
	}
}

// beforeGloas is the policy of ordinary duties where the types of Gloas are off.
func beforeGloas(name string) policy.Client {
	p := policy.Duties(name)
	p.Types = slices.DeleteFunc(p.Types, func(t signing.Type) bool {
		return slices.Contains([]signing.Type{"BUILDER_REQUEST_AUTH", "EXECUTION_PAYLOAD_BID", "EXECUTION_PAYLOAD_ENVELOPE", "PAYLOAD_ATTESTATION_MESSAGE", "PROPOSER_PREFERENCES"}, t)
	})
	return p
}

func TestTheTypesOfGloasAreOffUnlessTurnedOn(t *testing.T) {
	everybody := clients(`{"name":"any","any":true,"keys":"all"}`)
	for api, want := range map[string]policy.Client{
		`"api":{"gloas":false},`: beforeGloas("any"), `"api":{"gloas":true},`: policy.Duties("any"),
	} {
		got, err := bundle.Parse([]byte(configured("{" + api + everybody[1:])))
		if err != nil {
			t.Fatal(err)
		}
		if p := identified(t, got); !reflect.DeepEqual(p, want) {
			t.Errorf("%s: got %+v, want %+v", api, p, want)
		}
	}
	byName := clients(`{"name":"any","any":true,"keys":"all","types":["duties","EXECUTION_PAYLOAD_BID"]}`)
	if _, err := bundle.Parse([]byte(configured(byName))); err == nil || !strings.Contains(err.Error(), "but they are off") {
		t.Errorf("got %v", err)
	}
	got, err := bundle.Parse([]byte(configured(`{"api":{"gloas":true},` + byName[1:])))
	if err != nil || !slices.Contains(identified(t, got).Types, signing.ExecutionPayloadBid) {
		t.Errorf("got %v", err)
	}
}

func configured(c string) string {
	return `{"version":1,"configuration":` + c + `,"validators":` + one + `}`
}

func clients(entries string) string {
	return `{"network":{"name":"hoodi"},"clients":[` + entries + `]}`
}

func TestTheShorterFormLetsAnybodyAsk(t *testing.T) {
	got, err := bundle.Parse([]byte(file(hoodi, one)))
	if err != nil {
		t.Fatal(err)
	}
	name, open := got.Settings.Clients.Any()
	if !open || name != "any" || !got.Settings.Implied {
		t.Errorf("got %q, %t, implied %t", name, open, got.Settings.Implied)
	}
	if p := identified(t, got); !reflect.DeepEqual(p, beforeGloas("any")) {
		t.Errorf("got %+v, want ordinary duties", p)
	}
	explicit, err := bundle.Parse([]byte(configured(`{"network":` + hoodi + `,"clients":[{"name":"any","keys":"all","any":true}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if explicit.Configuration() != got.Configuration() || explicit.Settings.Implied {
		t.Errorf("got digests %x and %x, want one", got.Configuration(), explicit.Configuration())
	}
}

func TestAMisshapenConfigurationIsRefused(t *testing.T) {
	with := func(field string) string {
		return strings.Replace(configuration, `"network"`, field+`,"network"`, 1)
	}
	entry := func(fields string) string {
		return clients(`{"name":"a","keys":"all",` + fields + `}`)
	}
	for name, test := range map[string]struct{ configuration, want string }{
		"nobody may ask":         {`{"network":{"name":"hoodi"}}`, "clients: got 0 clients"},
		"empty list of clients":  {clients(""), "clients: got 0 clients"},
		"no network":             {`{"clients":[` + client + `]}`, `"network" is missing`},
		"unknown field":          {with(`"store":{}`), `unknown field "store"`},
		"client without name":    {clients(`{"keys":"all","any":true}`), `"name" is missing`},
		"client without keys":    {clients(`{"name":"a","any":true}`), `"keys" is missing`},
		"client of no way":       {clients(`{"name":"a","keys":"all"}`), "identified in 0 ways"},
		"client of two ways":     {entry(`"any":true,"fingerprints":["` + fingerprint + `"]`), "identified in 2 ways"},
		"any, said false":        {entry(`"any":false`), "identified in 0 ways"},
		"any, twice":             {clients(`{"name":"a","keys":"all","any":true},{"name":"b","keys":"all","any":true}`), `client "a" is for everybody else`},
		"any as text":            {entry(`"any":"true"`), "want true or false"},
		"name twice":             {clients(client + "," + strings.Replace(client, "02:", "03:", 1)), `"vc-1" comes twice`},
		"fingerprint twice":      {clients(client + "," + strings.Replace(client, "vc-1", "vc-2", 1)), `is client "vc-1"'s`},
		"fingerprint too short":  {entry(`"fingerprints":["02:D0"]`), "64 hexadecimal digits"},
		"keys of another word":   {clients(`{"name":"a","keys":"some","any":true}`), `want "all" or a list`},
		"short key":              {clients(`{"name":"a","keys":["0xab"],"any":true}`), "want 0x and 96"},
		"unknown type":           {entry(`"any":true,"types":["MAYBE"]`), "want a type that this signer knows"},
		"type in lower case":     {entry(`"any":true,"types":["attestation"]`), "in upper case"},
		"short address":          {entry(`"any":true,"fee_recipients":["0xab"]`), "40 hexadecimal digits"},
		"address without 0x":     {entry(`"any":true,"fee_recipients":["` + strings.Repeat("ab", 20) + `"]`), "0x and 40"},
		"anybody manages keys":   {entry(`"any":true,"keymanager":true`), "may not manage keys"},
		"key manager off":        {entry(`"fingerprints":["` + fingerprint + `"],"keymanager":true`), "it is off"},
		"key manager of nobody":  {with(`"api":{"keymanager":true}`), "neither"},
		"authority not PEM":      {entry(`"ca":"authority"`), "whole PEM"},
		"authority cut short":    {entry(`"ca":"-----BEGIN CERTIFICATE-----\nAAAA"`), "whole PEM"},
		"key as authority":       {entry(`"ca":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"`), "want CERTIFICATE"},
		"known_clients":          {with(`"known_clients":"lighthouse"`), "line 1: got 1 columns"},
		"known_clients twice":    {with(`"known_clients":"a ` + strings.Repeat("0b", 32) + `\na ` + strings.Repeat("0c", 32) + `"`), "line 2: common name"},
		"names without list":     {with(`"tls":{}`), `"names" is missing`},
		"name in upper case":     {with(`"tls":{"names":["Signer"]}`), "host name in lower case"},
		"name with a path":       {with(`"tls":{"names":["a/b"]}`), "host name"},
		"name that ends in dot":  {with(`"tls":{"names":["a.b."]}`), "host name"},
		"name of a hyphen":       {with(`"tls":{"names":["-a"]}`), "host name"},
		"limit zero":             {with(`"limits":{"in_flight":0}`), "want 1 to 16384"},
		"limit too large":        {with(`"limits":{"connections":16385}`), "want 1 to 16384"},
		"api as a list":          {with(`"api":["batch"]`), `want '{'`},
		"config without genesis": {strings.Replace(configuration, `{"name":"hoodi"}`, `{"config":"PRESET_BASE: mainnet"}`, 1), "/eth/v1/beacon/genesis"},
		"config and name":        {strings.Replace(configuration, `{"name":"hoodi"}`, `{"config":"PRESET_BASE: mainnet","name":"hoodi"}`, 1), "no other field goes with it"},
		"config without fork": {strings.Replace(whole[strings.Index(whole, `{
	"network"`):strings.Index(whole, `,
"tls": {"cert`)], "DENEB_FORK_EPOCH: 0", "", 1), "DENEB_FORK_EPOCH"},
	} {
		if _, err := bundle.Parse([]byte(configured(test.configuration))); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

func TestAMisshapenValidatorOrSecretIsRefused(t *testing.T) {
	replace := func(old, with string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("nothing to replace with %q", old)
		}
		return strings.Replace(whole, old, with, 1)
	}
	for name, test := range map[string]struct{ file, want string }{
		"no password":              {replace(`,"password":"pa\"ss\n\ud83d\udd11"`, ""), `want "password" with "keystore"`},
		"empty password":           {replace(`pa\"ss\n\ud83d\udd11`, ""), "password: got nothing"},
		"half a surrogate":         {replace(`\ud83d\udd11`, `\ud83d`), "valid Unicode"},
		"surrogates turned":        {replace(`\ud83d\udd11`, `\udd11\ud83d`), "valid Unicode"},
		"unknown escape":           {replace(`\ud83d\udd11`, `\x41`), "valid Unicode"},
		"escape of three digits":   {replace(`\ud83d\udd11`, `\u004`), "valid Unicode"},
		"invalid UTF-8":            {replace(`\ud83d\udd11`, "\xff"), "valid Unicode"},
		"control character":        {replace(`\ud83d\udd11`, "\n"), "valid Unicode"},
		"long password":            {replace(`pa\"ss`, strings.Repeat("p", 1025)), "want at most 1024"},
		"password beside bare key": {replace(`{"secret_key"`, `{"password":"x","secret_key"`), `not otherwise`},
		"both kinds of key":        {replace(`{"public_key"`, `{"secret_key":"`+key(1)+`","public_key"`), "want one of"},
		"keystore as text":         {replace(`{"version":4,`, `"version",{`), `keystore: want '{'`},
		"keystore not JSON":        {replace(`"a":[`, `"a":{[`), "want JSON"},
		"keystore without end":     {`{"version":1,"configuration":` + configuration + `,"validators":[{"keystore":{"a":"`, "want JSON"},
		"keystore too large":       {replace(`"}\""`, `"`+strings.Repeat("x", 16<<10)+`"`), "want at most 16384"},
		"short token":              {replace(`api-token-0x0123456789abcdef`, ""), "want 32 to 256"},
		"token with space":         {replace(`api-token`, "api token"), "no space"},
		"certificate without key":  {replace(`,"key":"-----BEGIN PRIVATE KEY-----\n"`, ""), `"key" is missing`},
		"short public key":         {replace(`{"public_key":"0xab`, `{"public_key":"0x`), "want 0x and 96"},
	} {
		got, err := bundle.Parse([]byte(test.file))
		if err == nil || got != nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

func TestNoSecretOfAWholeFileIsShown(t *testing.T) {
	got, err := bundle.Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %v", got, *got, got.Validators, got.Identity)
	for _, planted := range []string{"api-token", "pa\"ss", "BEGIN PRIVATE", "112 97 34 115"} {
		if strings.Contains(shown, planted) {
			t.Errorf("got %q in %s", planted, shown)
		}
	}
	if !strings.Contains(shown, secret.Redacted) {
		t.Errorf("got %s", shown)
	}
	secrets := [][]byte{got.Token.Reveal(), got.Identity.Key.Reveal(), got.Validators[0].Password.Reveal(), got.Validators[1].SecretKey.Reveal()}
	got.Wipe()
	for i, s := range secrets {
		if len(s) == 0 || !bytes.Equal(s, make([]byte, len(s))) {
			t.Errorf("secret %d: got %q after it was wiped", i, s)
		}
	}
}

// TestTheDigestIsThatOfTheCanonicalForm holds Configuration to what anybody can
// compute: the fixed digest is of `jq -cjS .configuration FILE | sha384sum`.
func TestTheDigestIsThatOfTheCanonicalForm(t *testing.T) {
	got, err := bundle.Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	const fromJQ = "515bf4a8ac2703056e1c1f8624782e067c6c9cc80e4913ca9ff032289cc8e24eb00097f8e631445b51457c8de874f2d2"
	if digest := fmt.Sprintf("%x", got.Configuration()); digest != fromJQ {
		t.Errorf("got %s, want %s", digest, fromJQ)
	}

	canonical := `{"clients":[{"fingerprints":["` + fingerprint + `"],"keys":"all","name":"vc-1"}],"network":{"name":"hoodi"}}`
	want := sha512.Sum384([]byte(canonical))
	for _, form := range []string{
		canonical,
		configuration,
		" " + strings.ReplaceAll(configuration, ":{", " : {\n\t ") + "\n",
		strings.Replace(configuration, `"name":"vc-1","fingerprints":["`+fingerprint+`"]`, `"fingerprints":["`+fingerprint+`"],"name":"vc-1"`, 1),
	} {
		got, err := bundle.Parse([]byte(configured(form)))
		if err != nil || got.Configuration() != want {
			t.Errorf("%s: got %v, want %x", form, err, want)
		}
	}

	// Keys, identity and token are not part of it; everything within is.
	changed, err := bundle.Parse([]byte(configured(strings.Replace(configuration, "02:", "03:", 1))))
	if err != nil || changed.Configuration() == want {
		t.Errorf("another fingerprint: got the same digest, %v", err)
	}
	rekeyed := strings.Replace(strings.Replace(whole, key(7), key(8), 1), "api-token", "APITOKEN1", 1)
	other, err := bundle.Parse([]byte(rekeyed))
	if err != nil || other.Configuration() != got.Configuration() {
		t.Errorf("other secrets: got another digest, %v", err)
	}
}

func TestEveryEscapeIsReadAsJSONReadsIt(t *testing.T) {
	for _, literal := range []string{
		`"\"\\\/\b\f\n\r\t"`, `"\u0041\u00e9\u20ac\uD83D\uDD11"`, `"é€🔑"`, `"\u0000"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(literal), &want); err != nil {
			t.Fatal(err)
		}
		got, err := bundle.Parse([]byte(strings.Replace(whole, `"pa\"ss\n\ud83d\udd11"`, literal, 1)))
		if err != nil || string(got.Validators[0].Password.Reveal()) != want {
			t.Errorf("%s: got %v, want %q", literal, err, want)
		}
	}
}

func sha(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

// certificate makes one that signs itself.
func certificate(t *testing.T, name string, authority bool) (*x509.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: authority,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
