package bundle_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/secret"
)

// key returns the hexadecimal form of a key.
func key(n int) string { return fmt.Sprintf("0x%064x", n) }

func file(network, validators string) string {
	return `{"version":1,"network":` + network + `,"validators":` + validators + `}`
}

const hoodi = `{"name":"hoodi"}`

var one = `[{"secret_key":"` + key(1) + `"}]`

const custom = `{
	"name": "devnet-7", "genesis_time": 1700000000, "genesis_fork_version": "0x20000089",
	"genesis_validators_root": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
	"seconds_per_slot": 6, "slots_per_epoch": 8, "sync_committee_size": 32, "max_committees_per_slot": 4,
	"forks": [{"name":"altair","version":"0x20000090","epoch":0}, {"epoch":18446744073709551615,"name":"bellatrix","version":"0x20000091"}]
}`

func TestAFileThatNamesItsNetworkIsRead(t *testing.T) {
	got, err := bundle.Parse([]byte(" \r\n\t" + file(hoodi, `[ {"secret_key" : "`+key(1)+`"} , {"secret_key":"`+key(0xabcdef)+`"} ]`) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := network.ByName("hoodi"); got.Settings.Network != want {
		t.Errorf("got %+v, want %+v", got.Settings.Network, want)
	}
	if len(got.Validators) != 2 {
		t.Fatalf("got %d validators, want 2", len(got.Validators))
	}
	for i, want := range []string{key(1), key(0xabcdef)} {
		if revealed := "0x" + hex.EncodeToString(got.Validators[i].SecretKey.Reveal()); revealed != want {
			t.Errorf("validator %d: got %s, want %s", i, revealed, want)
		}
	}
}

func TestAFileThatDescribesItsNetworkIsRead(t *testing.T) {
	got, err := bundle.Parse([]byte(file(custom, one)))
	if err != nil {
		t.Fatal(err)
	}
	var root [32]byte
	if _, err := hex.Decode(root[:], []byte("4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95")); err != nil {
		t.Fatal(err)
	}
	want := network.Network{
		Name: "devnet-7", GenesisTime: 1700000000, GenesisValidatorsRoot: root,
		SecondsPerSlot: 6, SlotsPerEpoch: 8, SyncCommitteeSize: 32, MaxCommitteesPerSlot: 4,
	}
	for f := range want.Forks {
		want.Forks[f].Epoch = network.FarFuture
	}
	want.Forks[network.Phase0] = network.Activation{Version: network.Version{0x20, 0, 0, 0x89}}
	want.Forks[network.Altair] = network.Activation{Version: network.Version{0x20, 0, 0, 0x90}}
	want.Forks[network.Bellatrix].Version = network.Version{0x20, 0, 0, 0x91}
	if got.Settings.Network != want {
		t.Errorf("got %+v, want %+v", got.Settings.Network, want)
	}
}

func TestAMisshapenFileIsRefused(t *testing.T) {
	good := file(hoodi, one)
	tests := map[string]struct{ file, want string }{
		"empty":               {"", `want '{' at byte 0`},
		"an array":            {"[]", `want '{'`},
		"cut short":           {good[:len(good)-1], `want ','`},
		"trailing brace":      {good + "}", "1 bytes after the end"},
		"second document":     {good + good, "after the end"},
		"trailing NUL":        {good + "\x00", "after the end"},
		"byte order mark":     {"\ufeff" + good, `want '{'`},
		"no version":          {`{"network":` + hoodi + `,"validators":` + one + `}`, `"version" is missing`},
		"no network":          {`{"version":1,"validators":` + one + `}`, `one of fields "configuration" and "network"`},
		"no validators":       {`{"version":1,"network":` + hoodi + `}`, `"validators" is missing`},
		"later version":       {strings.Replace(good, `"version":1`, `"version":2`, 1), "version: got 2, want 1"},
		"version as text":     {strings.Replace(good, `"version":1`, `"version":"1"`, 1), "unsigned integer"},
		"version as float":    {strings.Replace(good, `"version":1`, `"version":1.0`, 1), `want ','`},
		"version signed":      {strings.Replace(good, `"version":1`, `"version":-1`, 1), "unsigned integer"},
		"version padded":      {strings.Replace(good, `"version":1`, `"version":01`, 1), "unsigned integer"},
		"version too large":   {strings.Replace(good, `"version":1`, `"version":18446744073709551616`, 1), "at most"},
		"unknown field":       {strings.Replace(good, `"version":1`, `"version":1,"verzion":1`, 1), `unknown field "verzion"`},
		"other case":          {strings.Replace(good, `"version"`, `"Version"`, 1), "unknown field at byte"},
		"escaped name":        {strings.Replace(good, `"version"`, `"\u0076ersion"`, 1), "without escapes"},
		"field twice":         {strings.Replace(good, `"version":1`, `"version":1,"version":1`, 1), `"version" comes twice`},
		"null":                {file("null", one), `network: want '{'`},
		"comma at the end":    {strings.Replace(good, "}]}", "},]}", 1), `want '{'`},
		"both forms":          {strings.Replace(good, `"version":1`, `"version":1,"configuration":`+configuration, 1), `one of fields "configuration" and "network"`},
		"no comma":            {file(hoodi, strings.Replace(one, "}]", "}{}]", 1)), `want ','`},
		"no name":             {file("{}", one), `"name" is missing`},
		"unknown fork":        {file(`{"name":"mainnet","forks":[{"name":"osaka","version":"0x00000009","epoch":1}]}`, one), `does not know fork "osaka"`},
		"unsound network":     {file(strings.Replace(custom, `"slots_per_epoch": 8`, `"slots_per_epoch": 0`, 1), one), "slots per epoch is 0"},
		"token without use":   {strings.Replace(good, `"version":1`, `"version":1,"keymanager_token":"`+strings.Repeat("t", 32)+`"`, 1), "it is off"},
		"empty name":          {file(`{"name":""}`, one), "1 to 32 characters"},
		"long name":           {file(`{"name":"`+strings.Repeat("a", 33)+`"}`, one), "1 to 32 characters"},
		"upper-case name":     {file(`{"name":"Hoodi"}`, one), "1 to 32 characters"},
		"name in Unicode":     {file(`{"name":"hoodı"}`, one), "printable ASCII"},
		"short fork version":  {file(`{"name":"x","genesis_fork_version":"0x000000"}`, one), "0x and 8"},
		"short root":          {file(`{"name":"x","genesis_validators_root":"0x00"}`, one), "0x and 64"},
		"fork twice":          {file(`{"name":"x","forks":[{"name":"a","version":"0x00000000","epoch":1},{"name":"a","version":"0x00000001","epoch":2}]}`, one), `fork "a" comes twice`},
		"fork without epoch":  {file(`{"name":"x","forks":[{"name":"a","version":"0x00000000"}]}`, one), `"epoch" is missing`},
		"too many forks":      {file(`{"name":"x","forks":[`+repeat(33, func(i int) string { return fmt.Sprintf(`{"name":"f%d","version":"0x00000000","epoch":1}`, i) })+`]}`, one), "more than 32"},
		"no keys":             {file(hoodi, "[]"), "validators: got none"},
		"key missing":         {file(hoodi, "[{}]"), `number 1: want one of fields "secret_key" and "keystore"`},
		"key unprefixed":      {file(hoodi, `[{"secret_key":"`+key(1)[2:]+`"}]`), "0x and 64"},
		"key too short":       {file(hoodi, `[{"secret_key":"`+key(1)[:65]+`"}]`), "0x and 64"},
		"key too long":        {file(hoodi, `[{"secret_key":"`+key(1)+`0"}]`), "0x and 64"},
		"key not hexadecimal": {file(hoodi, `[{"secret_key":"`+key(1)[:65]+`g"}]`), "0x and 64"},
		"key in upper case":   {file(hoodi, `[{"secret_key":"`+key(1)[:65]+`A"}]`), "0x and 64"},
		"key as number":       {file(hoodi, `[{"secret_key":1}]`), `secret_key: want '"'`},
		"key unterminated":    {file(hoodi, `[{"secret_key":"`+key(1)), "without escapes"},
		"too many keys":       {file(hoodi, `[`+repeat(bundle.MaxValidators+1, validator)+`]`), "more than 16384"},
		"too large":           {good + strings.Repeat(" ", bundle.MaxSize), "at most 8388608"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.Parse([]byte(test.file))
			if err == nil || got != nil {
				t.Fatalf("got %+v, %v, want an error alone", got, err)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "bundle: ") {
				t.Errorf("got %q, want %q in it", err, test.want)
			}
		})
	}
}

func validator(i int) string { return `{"secret_key":"` + key(i+1) + `"}` }

func repeat(n int, each func(int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = each(i)
	}
	return strings.Join(parts, ",")
}

func TestAsManyKeysAsAllowedAreRead(t *testing.T) {
	got, err := bundle.Parse([]byte(file(hoodi, `[`+repeat(bundle.MaxValidators, validator)+`]`)))
	if err != nil || len(got.Validators) != bundle.MaxValidators {
		t.Fatalf("got %v", err)
	}
}

func TestNoErrorAndNoPrintShowsAKey(t *testing.T) {
	const planted = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2"
	for _, text := range []string{
		file(hoodi, `[{"secret_key":"0x`+planted+`0"}]`),
		file(hoodi, `[{"secret_key":"0x`+planted[1:]+`x"}]`),
		file(hoodi, `[{"secret_key":"`+planted+`"}]`),
		file(hoodi, `[{"0x`+planted+`":"secret_key"}]`),
		file(hoodi, `["0x`+planted+`"]`),
		file(hoodi, `[{"secret_key":"0x`+planted+`","password":"`+planted+`"}]`),
		file(hoodi, `[{"keystore":{"`+planted+`"},"password":"`+planted+`"}]`),
		file(hoodi, `[{"secret_key":"0x`+planted+`","public_key":"0x`+planted+`"}]`),
		strings.Replace(file(hoodi, one), `"version":1`, `"version":1,"keymanager_token":"`+planted+`"`, 1),
		strings.Replace(configured(configuration), `"vc-1"`, `"vc-1","types":["`+planted+`"]`, 1),
		file(`{"name":"0x`+planted+`"}`, one),
		file(`{"name":"x","slots_per_epoch":"0x`+planted+`"}`, one),
		planted,
	} {
		_, err := bundle.Parse([]byte(text))
		if err == nil || strings.Contains(err.Error(), planted[:8]) {
			t.Errorf("%s: got %v", text, err)
		}
	}
	got, err := bundle.Parse([]byte(file(hoodi, `[{"secret_key":"0x`+planted+`"}]`)))
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{fmt.Sprintf("%v", got), fmt.Sprintf("%+v", *got), fmt.Sprintf("%#v", got.Validators)} {
		if strings.Contains(shown, planted[:8]) || strings.Contains(shown, "94 194") || !strings.Contains(shown, secret.Redacted) {
			t.Errorf("got %s", shown)
		}
	}
}

func TestABundleKeepsNoPartOfTheFileAndCanBeWiped(t *testing.T) {
	data := []byte(file(custom, one))
	got, err := bundle.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if got.Settings.Network.Name != "devnet-7" {
		t.Errorf("got %+v after the file was wiped", got.Settings.Network)
	}
	revealed := got.Validators[0].SecretKey.Reveal()
	if revealed[31] != 1 {
		t.Errorf("got %x after the file was wiped", revealed)
	}
	got.Wipe()
	if !bytes.Equal(revealed, make([]byte, 32)) {
		t.Errorf("got %x after the bundle was wiped", revealed)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		file(hoodi, one), file(custom, one), file("{}", "[]"), "", `{"version":1}`, `{"version":1,"version":1}`,
		whole, `{"version":1,"configuration":` + configuration + `,"validators":` + one + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := bundle.Parse(data)
		if (err == nil) != (got != nil) {
			t.Fatalf("got %v and %v", got, err)
		}
		if err != nil {
			return
		}
		// Whatever is accepted is JSON to everybody else, and names what was read.
		var loose struct {
			Version    int
			Token      string `json:"keymanager_token"`
			Validators []struct {
				SecretKey string `json:"secret_key"`
				Password  string
				Keystore  json.RawMessage
			}
		}
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if loose.Version != bundle.Version || loose.Token != string(got.Token.Reveal()) || len(loose.Validators) != len(got.Validators) {
			t.Fatalf("got %+v, another reader %+v", got, loose)
		}
		for i, v := range got.Validators {
			bare := strings.TrimPrefix(loose.Validators[i].SecretKey, "0x")
			if bare != hex.EncodeToString(v.SecretKey.Reveal()) || loose.Validators[i].Password != string(v.Password.Reveal()) ||
				string(loose.Validators[i].Keystore) != string(v.Keystore) {
				t.Fatalf("validator %d differs", i)
			}
		}
		if err := got.Settings.Network.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
