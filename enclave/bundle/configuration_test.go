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
	"math"
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
)

const fingerprint = "02:D0:A8:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC"

const client = `{"name":"vc-1","fingerprints":["` + fingerprint + `"],"keys":"all"}`

const configuration = `{"network":{"name":"hoodi"},"clients":[` + client + `]}`

var publicKey = "0x" + strings.Repeat("ab", 48)

// whole has every field.
var whole = `{
	"network": {"config": "PRESET_BASE: 'minimal' # \u00e9\nCONFIG_NAME: \"own\"\nGENESIS_FORK_VERSION: 0x10000038\nALTAIR_FORK_VERSION: 0x20000038\nALTAIR_FORK_EPOCH: 0\nBELLATRIX_FORK_VERSION: 0x30000038\nBELLATRIX_FORK_EPOCH: 0\nCAPELLA_FORK_VERSION: 0x40000038\nCAPELLA_FORK_EPOCH: 0\nDENEB_FORK_VERSION: 0x50000038\nDENEB_FORK_EPOCH: 0\nSECONDS_PER_SLOT: 6\n",
		"genesis_time": 1700000060, "genesis_validators_root": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"},
	"tls": {"names": ["signer.example", "*.signer.example", "10.0.0.7", "fd00::7"]},
	"clients": [
		{"name":"vc-1","fingerprints":["` + fingerprint + `","` + strings.Repeat("0a", 32) + `"],"keys":["` + publicKey + `"],
			"types":["duties","VOLUNTARY_EXIT"],"fee_recipients":["0xFe3B557E8Fb62b89F4916B721be55cEb828dBd73"],"keymanager":true},
		{"name":"prysm","any":true,"keys":"all","types":["ATTESTATION"],"keymanager":false}],
	"known_clients": "# from Web3Signer\r\n\nlighthouse ` + strings.Repeat("0B", 32) + `\n",
	"api": {"batch":true,"generic":true,"gloas":true,"keymanager":true},
	"limits": {"connections":64,"in_flight":100,"in_flight_per_client":10},
	"kms": {"key": "` + keyARN + `", "endpoint": "https://kms.example:8443", "roots": ` + roots + `},
	"slashing": {"store": "dynamodb", "table": "` + tableARN + `", "endpoint": "https://[fd00::7]", "roots": ` + roots + `, "high_watermark": {"epoch": "7", "slot": "18446744073709551615"}}
}`

const (
	keyARN   = "arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"
	tableARN = "arn:aws-us-gov:dynamodb:us-gov-west-1:123456789012:table/slashing_Records.v1"
)

// roots is an authority's PEM as a JSON string.
var roots = func() string {
	_, text := makeCertificate("authority", true)
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}()

func parse(t *testing.T, text string) *bundle.Configuration {
	t.Helper()
	got, err := bundle.ParseConfiguration([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAWholeConfigurationIsRead(t *testing.T) {
	c := parse(t, whole)
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
	if name, ok := c.Clients.Any(); !ok || name != "prysm" {
		t.Errorf("got %q, %t; want the client that was named for everybody", name, ok)
	}
	var pem string
	if err := json.Unmarshal([]byte(roots), &pem); err != nil {
		t.Fatal(err)
	}
	if want := (&bundle.KMS{Key: keyARN, Endpoint: "https://kms.example:8443", Roots: []byte(pem)}); !reflect.DeepEqual(c.KMS, want) || c.KMS.Region() != "eu-central-1" {
		t.Errorf("got %+v in %s, want %+v", c.KMS, c.KMS.Region(), want)
	}
	want := bundle.Slashing{Store: bundle.DynamoDB, Table: tableARN, Endpoint: "https://[fd00::7]", Roots: []byte(pem),
		HighWatermark: &bundle.HighWatermark{Epoch: 7, Slot: math.MaxUint64}}
	if !reflect.DeepEqual(c.Slashing, want) || c.Slashing.Region() != "us-gov-west-1" {
		t.Errorf("got %+v in %s, want %+v", c.Slashing, c.Slashing.Region(), want)
	}
}

func TestSlashingProtectionIsStrictUnlessToldOtherwise(t *testing.T) {
	operator := strings.Repeat("0f", 32)
	for field, want := range map[string]bundle.Slashing{
		`"api":{}`:      {Store: bundle.Journal, Freshness: bundle.Strict},
		`"slashing":{}`: {Store: bundle.Journal, Freshness: bundle.Strict},
		`"slashing":{"store":"journal","freshness":"strict"}`:        {Store: bundle.Journal, Freshness: bundle.Strict},
		`"slashing":{"freshness":"journal"}`:                         {Store: bundle.Journal, Freshness: bundle.JournalFreshness},
		`"slashing":{"operator":"` + operator + `"}`:                 {Store: bundle.Journal, Freshness: bundle.Strict, Operator: bytes.Repeat([]byte{0x0f}, 32)},
		`"slashing":{"store":"dynamodb","table":"` + tableARN + `"}`: {Store: bundle.DynamoDB, Table: tableARN},
	} {
		if got := parse(t, with(field)).Slashing; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", field, got, want)
		}
	}
	if none := parse(t, configuration); none.KMS != nil || none.Slashing.Region() != "" {
		t.Errorf("got %+v", none)
	}
}

// identified returns the policy of whoever presents a certificate.
func identified(t *testing.T, c *bundle.Configuration, certificates ...*x509.Certificate) policy.Client {
	t.Helper()
	found, refusal := c.Clients.Identify(certificates, time.Now())
	if refusal != nil {
		t.Fatal(refusal)
	}
	return found.Client.Policy
}

func TestAClientMayDoWhatItsEntrySays(t *testing.T) {
	got := parse(t, whole)
	if p := identified(t, got); p.Name != "prysm" || !slices.Equal(p.Types, []signing.Type{signing.Attestation}) || !p.AnyKey || !p.AnyFeeRecipient {
		t.Errorf("got %+v", p)
	}
	leaf, text := makeCertificate("vc", false)
	named := strings.Replace(whole, fingerprint, fmt.Sprintf("%X", sha(leaf)), 1)
	got = parse(t, named)
	p := identified(t, got, leaf)
	want := policy.Duties("vc-1")
	want.AnyKey, want.AnyFeeRecipient = false, false
	want.Types = append(want.Types, signing.VoluntaryExit)
	want.FeeRecipients = [][20]byte{{0xfe, 0x3b, 0x55, 0x7e, 0x8f, 0xb6, 0x2b, 0x89, 0xf4, 0x91, 0x6b, 0x72, 0x1b, 0xe5, 0x5c, 0xeb, 0x82, 0x8d, 0xbd, 0x73}}
	want.Keys = append(want.Keys, [48]byte(bytes.Repeat([]byte{0xab}, 48)))
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}

	// Without types an entry allows the ordinary duties; a line of known_clients
	// too, for the common name it names.
	lines := strings.Replace(configuration, `"clients"`, fmt.Sprintf(`"known_clients":"vc %x","clients"`, sha(leaf)), 1)
	got = parse(t, lines)
	if p, want := identified(t, got, leaf), beforeGloas("vc"); !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v, want %+v", p, want)
	}

	// An authority's PEM, in a string.
	_, authority := makeCertificate("authority", true)
	encoded, err := json.Marshal(authority)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.ParseConfiguration([]byte(clients(`{"name":"a","keys":"all","ca":` + string(encoded) + `}`))); err != nil {
		t.Error(err)
	}
	encoded, err = json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.ParseConfiguration([]byte(clients(`{"name":"a","keys":"all","ca":` + string(encoded) + `}`))); err == nil || !strings.Contains(err.Error(), "not an authority's") {
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
		got, err := bundle.ParseConfiguration([]byte("{" + api + everybody[1:]))
		if err != nil {
			t.Fatal(err)
		}
		if p := identified(t, got); !reflect.DeepEqual(p, want) {
			t.Errorf("%s: got %+v, want %+v", api, p, want)
		}
	}
	byName := clients(`{"name":"any","any":true,"keys":"all","types":["duties","EXECUTION_PAYLOAD_BID"]}`)
	if _, err := bundle.ParseConfiguration([]byte(byName)); err == nil || !strings.Contains(err.Error(), "but they are off") {
		t.Errorf("got %v", err)
	}
	got, err := bundle.ParseConfiguration([]byte(`{"api":{"gloas":true},` + byName[1:]))
	if err != nil || !slices.Contains(identified(t, got).Types, signing.ExecutionPayloadBid) {
		t.Errorf("got %v", err)
	}
}

func clients(entries string) string {
	return `{"network":{"name":"hoodi"},"clients":[` + entries + `]}`
}

// with adds a field to the configuration.
func with(field string) string {
	return strings.Replace(configuration, `"network"`, field+`,"network"`, 1)
}

func TestAMisshapenConfigurationIsRefused(t *testing.T) {
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
		"config without fork":    {strings.Replace(whole, "DENEB_FORK_EPOCH: 0", "", 1), "DENEB_FORK_EPOCH"},

		"KMS without a key":         {with(`"kms":{}`), `kms: field "key" is missing`},
		"KMS key by alias":          {with(`"kms":{"key":"arn:aws:kms:eu-central-1:123456789012:alias/a"}`), "and no alias"},
		"KMS key by id":             {with(`"kms":{"key":"01234567-89ab-cdef-0123-456789abcdef"}`), "full ARN"},
		"table as KMS key":          {with(`"kms":{"key":"` + tableARN + `"}`), "full ARN"},
		"KMS over HTTP":             {with(`"kms":{"key":"` + keyARN + `","endpoint":"http://kms.example"}`), "want https://host"},
		"endpoint with a path":      {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://kms.example/"}`), "want https://host"},
		"endpoint with a user":      {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://a@kms.example"}`), "want https://host"},
		"endpoint with a wildcard":  {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://*.example"}`), "want https://host"},
		"endpoint of port 0":        {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://kms.example:0"}`), "want https://host"},
		"endpoint of port 65536":    {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://kms.example:65536"}`), "want https://host"},
		"endpoint of an empty port": {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://kms.example:"}`), "want https://host"},
		"endpoint of nothing":       {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://"}`), "want https://host"},
		"endpoint in upper case":    {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://KMS.example"}`), "want https://host"},
		"roots of Amazon's KMS":     {with(`"kms":{"key":"` + keyARN + `","roots":` + roots + `}`), `"roots" go with an "endpoint"`},
		"roots not PEM":             {with(`"kms":{"key":"` + keyARN + `","endpoint":"https://a","roots":"PEM"}`), "whole PEM"},

		"another store":            {with(`"slashing":{"store":"memory"}`), `want one of ["journal" "dynamodb"]`},
		"another freshness":        {with(`"slashing":{"freshness":"none"}`), `want one of ["strict" "journal"]`},
		"freshness of a table":     {with(`"slashing":{"store":"dynamodb","table":"` + tableARN + `","freshness":"strict"}`), "a table is always fresh"},
		"operator of a table":      {with(`"slashing":{"store":"dynamodb","table":"` + tableARN + `","operator":"` + strings.Repeat("0f", 32) + `"}`), "a table is always fresh"},
		"operator where none is":   {with(`"slashing":{"freshness":"journal","operator":"` + strings.Repeat("0f", 32) + `"}`), `"freshness":"strict" only`},
		"operator in upper case":   {with(`"slashing":{"operator":"` + strings.Repeat("0F", 32) + `"}`), "64 lower-case"},
		"short operator":           {with(`"slashing":{"operator":"` + strings.Repeat("0f", 31) + `"}`), "64 lower-case"},
		"table of a journal":       {with(`"slashing":{"table":"` + tableARN + `"}`), `go with "store":"dynamodb"`},
		"endpoint of a journal":    {with(`"slashing":{"endpoint":"https://a"}`), `go with "store":"dynamodb"`},
		"no table":                 {with(`"slashing":{"store":"dynamodb"}`), `"table" is missing`},
		"table by name":            {with(`"slashing":{"store":"dynamodb","table":"slashing"}`), "full ARN"},
		"roots of Amazon's tables": {with(`"slashing":{"store":"dynamodb","table":"` + tableARN + `","roots":` + roots + `}`), `"roots" go with an "endpoint"`},
		"watermark without a slot": {with(`"slashing":{"high_watermark":{"epoch":"1"}}`), `"slot" is missing`},
		"watermark as a number":    {with(`"slashing":{"high_watermark":{"epoch":1,"slot":"1"}}`), `want '"'`},
		"watermark with a sign":    {with(`"slashing":{"high_watermark":{"epoch":"+1","slot":"1"}}`), "unsigned integer in a string"},
		"watermark with a space":   {with(`"slashing":{"high_watermark":{"epoch":"1 ","slot":"1"}}`), "unsigned integer in a string"},
		"watermark of 65 bits":     {with(`"slashing":{"high_watermark":{"epoch":"18446744073709551616","slot":"1"}}`), "unsigned integer in a string"},
	} {
		if _, err := bundle.ParseConfiguration([]byte(test.configuration)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

// withoutRoots takes out what is made anew in each run.
func withoutRoots(text string) string { return strings.ReplaceAll(text, `, "roots": `+roots, "") }

// TestTheDigestIsThatOfTheCanonicalForm holds Digest to what anybody can compute: the
// fixed digest is of `jq -cjS . FILE | sha384sum`.
func TestTheDigestIsThatOfTheCanonicalForm(t *testing.T) {
	const fromJQ = "b0a7aaf18c928bd2d54fdaaa3d40ae3325a00cc9fe391b7e6ad5977b8593cfeb549a2bd57f11278059c59ca55ecdfed6"
	if digest := fmt.Sprintf("%x", parse(t, withoutRoots(whole)).Digest()); digest != fromJQ {
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
		if got := parse(t, form); got.Digest() != want || string(got.Canonical()) != canonical {
			t.Errorf("%s: got %s", form, got.Canonical())
		}
	}
	if changed := parse(t, strings.Replace(configuration, "02:", "03:", 1)); changed.Digest() == want {
		t.Error("another fingerprint has the same digest")
	}
}

// An authority's PEM may have any text before it, and is kept as it stands.
func TestEveryEscapeIsReadAsJSONReadsIt(t *testing.T) {
	kms := func(literal string) string {
		return with(`"kms":{"key":"` + keyARN + `","endpoint":"https://a","roots":"` + literal + `\n` + roots[1:] + `}`)
	}
	for _, literal := range []string{`\"\\\/\b\f\n\r\t`, `\u0041\u00e9\u20ac\uD83D\uDD11`, `é€🔑`, `\u0000`} {
		var want string
		if err := json.Unmarshal([]byte(`"`+literal+`\n`+roots[1:]), &want); err != nil {
			t.Fatal(err)
		}
		if got := parse(t, kms(literal)).KMS.Roots; string(got) != want {
			t.Errorf("%s: got %q, want %q", literal, got, want)
		}
	}
	for _, literal := range []string{`\ud83d`, `\udd11\ud83d`, `\x41`, `\u004`, "\xff", "\n"} {
		if _, err := bundle.ParseConfiguration([]byte(kms(literal))); err == nil || !strings.Contains(err.Error(), "valid Unicode") {
			t.Errorf("%q: got %v", literal, err)
		}
	}
}

func sha(c *x509.Certificate) [32]byte { return sha256.Sum256(c.Raw) }

// makeCertificate makes one that signs itself.
func makeCertificate(name string, authority bool) (*x509.Certificate, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: authority,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return parsed, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
