package bundle_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"holdfast/enclave/bundle"
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
	if got.Network.Name != "hoodi" || got.Network.GenesisForkVersion != [4]byte{0x10, 0, 9, 0x10} {
		t.Errorf("got %+v", got.Network)
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
	want := bundle.Network{
		Name: "devnet-7", GenesisTime: 1700000000, GenesisForkVersion: [4]byte{0x20, 0, 0, 0x89},
		GenesisValidatorsRoot: root, SecondsPerSlot: 6, SlotsPerEpoch: 8, SyncCommitteeSize: 32, MaxCommitteesPerSlot: 4,
		Forks: []bundle.Fork{
			{Name: "altair", Version: [4]byte{0x20, 0, 0, 0x90}},
			{Name: "bellatrix", Version: [4]byte{0x20, 0, 0, 0x91}, Epoch: math.MaxUint64},
		},
	}
	if !reflect.DeepEqual(got.Network, want) {
		t.Errorf("got %+v, want %+v", got.Network, want)
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
		"no network":          {`{"version":1,"validators":` + one + `}`, `"network" is missing`},
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
		"no comma":            {file(hoodi, strings.Replace(one, "}]", "}{}]", 1)), `want ','`},
		"no name":             {file("{}", one), `"name" is missing`},
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
		"key missing":         {file(hoodi, "[{}]"), `number 1: field "secret_key" is missing`},
		"key unprefixed":      {file(hoodi, `[{"secret_key":"`+key(1)[2:]+`"}]`), "0x and 64"},
		"key too short":       {file(hoodi, `[{"secret_key":"`+key(1)[:65]+`"}]`), "0x and 64"},
		"key too long":        {file(hoodi, `[{"secret_key":"`+key(1)+`0"}]`), "0x and 64"},
		"key not hexadecimal": {file(hoodi, `[{"secret_key":"`+key(1)[:65]+`g"}]`), "0x and 64"},
		"key in upper case":   {file(hoodi, `[{"secret_key":"`+key(1)[:65]+`A"}]`), "0x and 64"},
		"key as number":       {file(hoodi, `[{"secret_key":1}]`), `secret_key: want '"'`},
		"key unterminated":    {file(hoodi, `[{"secret_key":"`+key(1)), "without escapes"},
		"key twice":           {file(hoodi, `[`+one[1:len(one)-1]+`,`+one[1:]), "number 2 has the key of number 1"},
		"too many keys":       {file(hoodi, `[`+repeat(1001, validator)+`]`), "more than 1000"},
		"too large":           {good + strings.Repeat(" ", bundle.MaxSize), "at most 1048576"},
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
		file(hoodi, `[{"secret_key":"0x`+planted+`"},{"secret_key":"0x`+planted+`"}]`),
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
	if got.Network.Name != "devnet-7" || got.Network.Forks[1].Name != "bellatrix" {
		t.Errorf("got %+v after the file was wiped", got.Network)
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
	for _, seed := range []string{file(hoodi, one), file(custom, one), file("{}", "[]"), "", `{"version":1}`, `{"version":1,"version":1}`} {
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
			Network    struct{ Name string }
			Validators []struct {
				SecretKey string `json:"secret_key"`
			}
		}
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if loose.Version != bundle.Version || loose.Network.Name != got.Network.Name || len(loose.Validators) != len(got.Validators) {
			t.Fatalf("got %+v, another reader %+v", got, loose)
		}
		for i, v := range got.Validators {
			if want := "0x" + hex.EncodeToString(v.SecretKey.Reveal()); loose.Validators[i].SecretKey != want {
				t.Fatalf("validator %d differs", i)
			}
		}
	})
}
