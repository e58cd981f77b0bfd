package bundle_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/network"
	"holdfast/verify/envelope"
)

const hoodi = `{"name":"hoodi"}`

const custom = `{
	"name": "devnet-7", "genesis_time": 1700000000, "genesis_fork_version": "0x20000089",
	"genesis_validators_root": "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
	"seconds_per_slot": 6, "slots_per_epoch": 8, "sync_committee_size": 32, "max_committees_per_slot": 4,
	"forks": [{"name":"altair","version":"0x20000090","epoch":0}, {"epoch":18446744073709551615,"name":"bellatrix","version":"0x20000091"}]
}`

// open is a configuration that lets any client ask for ordinary duties.
func open(network string) string {
	return `{"network":` + network + `,"clients":[{"name":"any","any":true,"keys":"all"}]}`
}

func TestAConfigurationThatNamesItsNetworkIsRead(t *testing.T) {
	got := parse(t, " \r\n\t"+open(hoodi)+"\n")
	if want, _ := network.ByName("hoodi"); got.Network != want {
		t.Errorf("got %+v, want %+v", got.Network, want)
	}
}

func TestAConfigurationThatDescribesItsNetworkIsRead(t *testing.T) {
	data := []byte(open(custom))
	got, err := bundle.ParseConfiguration(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data) // nothing of it is kept
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
	if got.Network != want {
		t.Errorf("got %+v, want %+v", got.Network, want)
	}
}

func TestAMisshapenNetworkIsRefused(t *testing.T) {
	good := open(hoodi)
	number := func(digits string) string { return strings.Replace(custom, "1700000000", digits, 1) }
	tests := map[string]struct{ file, want string }{
		"empty":              {"", `want '{' at byte 0`},
		"an array":           {"[]", `want '{'`},
		"cut short":          {good[:len(good)-1], `want ','`},
		"trailing brace":     {good + "}", "1 bytes after the end"},
		"second document":    {good + good, "after the end"},
		"trailing NUL":       {good + "\x00", "after the end"},
		"byte order mark":    {"\ufeff" + good, `want '{'`},
		"number as text":     {open(number(`"1"`)), "unsigned integer"},
		"number as float":    {open(number("1.0")), `want ','`},
		"number signed":      {open(number("-1")), "unsigned integer"},
		"number padded":      {open(number("01")), "unsigned integer"},
		"number too large":   {open(number("18446744073709551616")), "at most"},
		"unknown field":      {strings.Replace(good, `"network"`, `"verzion":1,"network"`, 1), `unknown field "verzion"`},
		"other case":         {strings.Replace(good, `"network"`, `"Network"`, 1), "unknown field at byte"},
		"escaped name":       {strings.Replace(good, `"network"`, `"\u006eetwork"`, 1), "without escapes"},
		"field twice":        {strings.Replace(good, `"network"`, `"network":{"name":"hoodi"},"network"`, 1), `"network" comes twice`},
		"null":               {open("null"), `network: want '{'`},
		"comma at the end":   {strings.Replace(good, "}]}", "},]}", 1), `want '{'`},
		"no comma":           {strings.Replace(good, "}]}", "}{}]}", 1), `want ','`},
		"no name":            {open("{}"), `"name" is missing`},
		"unknown fork":       {open(`{"name":"mainnet","forks":[{"name":"osaka","version":"0x00000009","epoch":1}]}`), `does not know fork "osaka"`},
		"unsound network":    {open(strings.Replace(custom, `"slots_per_epoch": 8`, `"slots_per_epoch": 0`, 1)), "slots per epoch is 0"},
		"empty name":         {open(`{"name":""}`), "1 to 32 characters"},
		"long name":          {open(`{"name":"` + strings.Repeat("a", 33) + `"}`), "1 to 32 characters"},
		"upper-case name":    {open(`{"name":"Hoodi"}`), "1 to 32 characters"},
		"name in Unicode":    {open(`{"name":"hoodı"}`), "printable ASCII"},
		"short fork version": {open(`{"name":"x","genesis_fork_version":"0x000000"}`), "0x and 8"},
		"short root":         {open(`{"name":"x","genesis_validators_root":"0x00"}`), "0x and 64"},
		"fork twice":         {open(`{"name":"x","forks":[{"name":"a","version":"0x00000000","epoch":1},{"name":"a","version":"0x00000001","epoch":2}]}`), `fork "a" comes twice`},
		"fork without epoch": {open(`{"name":"x","forks":[{"name":"a","version":"0x00000000"}]}`), `"epoch" is missing`},
		"too many forks":     {open(`{"name":"x","forks":[` + repeat(33, func(i int) string { return fmt.Sprintf(`{"name":"f%d","version":"0x00000000","epoch":1}`, i) }) + `]}`), "more than 32"},
		"too large":          {good + strings.Repeat(" ", envelope.MaxConfigurationSize), "at most 2097152"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := bundle.ParseConfiguration([]byte(test.file))
			if err == nil || got != nil {
				t.Fatalf("got %+v, %v, want an error alone", got, err)
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "configuration: ") {
				t.Errorf("got %q, want %q in it", err, test.want)
			}
		})
	}
}

func repeat(n int, each func(int) string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = each(i)
	}
	return strings.Join(parts, ",")
}

func FuzzParseConfiguration(f *testing.F) {
	for _, seed := range []string{open(hoodi), open(custom), open("{}"), "", "{}", whole, configuration, with(`"slashing":{}`)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := bundle.ParseConfiguration(data)
		if (err == nil) != (got != nil) {
			t.Fatalf("got %v and %v", got, err)
		}
		if err != nil {
			return
		}
		// Whatever is accepted is JSON to everybody else, and its canonical form says
		// the same.
		var loose struct{ Network struct{ Name string } }
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		again, err := bundle.ParseConfiguration(got.Canonical())
		if err != nil || again.Digest() != got.Digest() || string(again.Canonical()) != string(got.Canonical()) {
			t.Fatalf("%s: got %v", got.Canonical(), err)
		}
		if err := got.Network.Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
