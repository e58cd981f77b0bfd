package network_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast/enclave/ethereum/network"
)

// devnet is a configuration in the style of the published ones.
const devnet = `# A network of one's own
PRESET_BASE: 'minimal'
CONFIG_NAME: "devnet-7"

# Genesis
MIN_GENESIS_TIME: 1700000000
GENESIS_FORK_VERSION: 0x10000038
GENESIS_DELAY: 60

ALTAIR_FORK_VERSION: 0x20000038
ALTAIR_FORK_EPOCH: 0 # from the start
BELLATRIX_FORK_VERSION: 0x30000038
BELLATRIX_FORK_EPOCH: 0
TERMINAL_TOTAL_DIFFICULTY: 58750000000000000000000
CAPELLA_FORK_VERSION: 0x40000038
CAPELLA_FORK_EPOCH: 1
DENEB_FORK_VERSION: 0x50000038
DENEB_FORK_EPOCH: 2
ELECTRA_FORK_VERSION: 0x60000038
ELECTRA_FORK_EPOCH: 18446744073709551615
EIP7441_FORK_VERSION: 0x80000038
EIP7441_FORK_EPOCH: 18446744073709551615

SECONDS_PER_SLOT: 6
DEPOSIT_CONTRACT_ADDRESS: 0x00000000219ab540356cBB839Cbe05303d7705Fa

BLOB_SCHEDULE:
  - EPOCH: 274176
    MAX_BLOBS_PER_BLOCK: 15
- EPOCH: 9
GAS_LIMIT_SCHEDULE: []
`

var genesis = network.Genesis{Time: 1700000060, ValidatorsRoot: [32]byte{7}}

func TestAConfigurationIsRead(t *testing.T) {
	for name, text := range map[string]string{
		"plain":           devnet,
		"with CRLF":       strings.ReplaceAll(devnet, "\n", "\r\n"),
		"with a document": "---\n" + devnet,
		"in milliseconds": strings.Replace(devnet, "SECONDS_PER_SLOT: 6", "SLOT_DURATION_MS: 6000", 1),
		"in both":         devnet + "SLOT_DURATION_MS: 6000\n",
	} {
		n, err := network.ParseConfig([]byte(text), genesis)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if n.Name != "devnet-7" || n.GenesisTime != genesis.Time || n.GenesisValidatorsRoot != genesis.ValidatorsRoot ||
			n.SecondsPerSlot != 6 || n.SlotsPerEpoch != 8 || n.SyncCommitteeSize != 32 || n.MaxCommitteesPerSlot != 4 {
			t.Errorf("%s: got %+v", name, n)
		}
		if n.GenesisForkVersion() != (network.Version{0x10, 0, 0, 0x38}) ||
			n.Forks[network.Capella] != (network.Activation{Version: network.Version{0x40, 0, 0, 0x38}, Epoch: 1}) ||
			n.ForkAt(1<<40) != network.Deneb {
			t.Errorf("%s: forks %+v", name, n.Forks)
		}
	}
}

func TestPresetValuesMayBeSpelledOut(t *testing.T) {
	n, err := network.ParseConfig([]byte(devnet+"SLOTS_PER_EPOCH: 6\nSYNC_COMMITTEE_SIZE: 64\nMAX_COMMITTEES_PER_SLOT: 2\n"), genesis)
	if err != nil || n.SlotsPerEpoch != 6 || n.SyncCommitteeSize != 64 || n.MaxCommitteesPerSlot != 2 {
		t.Errorf("got %+v, %v", n, err)
	}
}

func TestAMisshapenConfigurationIsRefused(t *testing.T) {
	replace := func(old, with string) string {
		if !strings.Contains(devnet, old) {
			t.Fatalf("nothing to replace with %q", old)
		}
		return strings.Replace(devnet, old, with, 1)
	}
	for name, text := range map[string]string{
		"empty":                       "",
		"no preset":                   replace("PRESET_BASE: 'minimal'\n", ""),
		"unknown preset":              replace("'minimal'", "'maximal'"),
		"no name":                     replace("CONFIG_NAME: \"devnet-7\"\n", ""),
		"empty name":                  replace("\"devnet-7\"", ""),
		"no genesis version":          replace("GENESIS_FORK_VERSION: 0x10000038\n", ""),
		"no Capella version":          replace("CAPELLA_FORK_VERSION: 0x40000038\n", ""),
		"no Capella epoch":            replace("CAPELLA_FORK_EPOCH: 1\n", ""),
		"Electra without an epoch":    replace("ELECTRA_FORK_EPOCH: 18446744073709551615\n", ""),
		"no slot length":              replace("SECONDS_PER_SLOT: 6\n", ""),
		"slot lengths that differ":    devnet + "SLOT_DURATION_MS: 12000\n",
		"half seconds":                replace("SECONDS_PER_SLOT: 6", "SLOT_DURATION_MS: 6500"),
		"key twice":                   devnet + "DENEB_FORK_EPOCH: 2\n",
		"ignored key twice":           devnet + "GENESIS_DELAY: 60\n",
		"forks out of order":          replace("DENEB_FORK_EPOCH: 2", "DENEB_FORK_EPOCH: 0"),
		"version too short":           replace("0x40000038", "0x400038"),
		"version without 0x":          replace("0x40000038", "40000038"),
		"version not hex":             replace("0x40000038", "0x4000003g"),
		"epoch in hex":                replace("CAPELLA_FORK_EPOCH: 1", "CAPELLA_FORK_EPOCH: 0x1"),
		"epoch with a sign":           replace("CAPELLA_FORK_EPOCH: 1", "CAPELLA_FORK_EPOCH: +1"),
		"epoch with underscores":      replace("CAPELLA_FORK_EPOCH: 1", "CAPELLA_FORK_EPOCH: 1_0"),
		"unknown fork scheduled":      replace("EIP7441_FORK_EPOCH: 18446744073709551615", "EIP7441_FORK_EPOCH: 9"),
		"open quote":                  replace("'minimal'", "'minimal"),
		"data after a quote":          replace("'minimal'", "'minimal' x"),
		"escape in a quote":           replace("\"devnet-7\"", `"dev\nnet"`),
		"block scalar":                replace("\"devnet-7\"", "|"),
		"anchor":                      replace("\"devnet-7\"", "&name devnet"),
		"flow mapping":                replace("GAS_LIMIT_SCHEDULE: []", "GAS_LIMIT_SCHEDULE: {"),
		"no colon":                    devnet + "HELLO\n",
		"no space after the colon":    devnet + "HELLO:1\n",
		"lower-case key":              devnet + "hello: 1\n",
		"a second document":           devnet + "---\nHELLO: 1\n",
		"too long":                    devnet + strings.Repeat("# x\n", 1<<17),
		"too many keys":               devnet + manyKeys(1100),
		"preset value of no sense":    devnet + "SLOTS_PER_EPOCH: 0\n",
		"sync committee of odd size":  devnet + "SYNC_COMMITTEE_SIZE: 31\n",
		"same version for two forks":  replace("0x40000038", "0x30000038"),
		"JSON":                        `{"PRESET_BASE": "minimal"}`,
		"tab for a space before keys": "\tPRESET_BASE: 'minimal'\n",
	} {
		if n, err := network.ParseConfig([]byte(text), genesis); err == nil {
			t.Errorf("%s was taken: %+v", name, n)
		}
	}
	if _, err := network.ParseConfig([]byte(devnet), network.Genesis{}); err == nil {
		t.Error("a network without a validators root was taken")
	}
}

func manyKeys(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "KEY_%d: 1\n", i)
	}
	return text.String()
}

func TestBuiltInNetworksAreSound(t *testing.T) {
	if len(network.Names()) != 6 {
		t.Errorf("got %v, want six networks", network.Names())
	}
	for _, name := range network.Names() {
		n, ok := network.ByName(name)
		if !ok || n.Name != name {
			t.Errorf("%s: got %q, %v", name, n.Name, ok)
		}
		if err := n.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n.ForkAt(1<<40) < network.Fulu {
			t.Errorf("%s: newest fork %v, want Fulu or later", name, n.ForkAt(1<<40))
		}
	}
	if n, ok := network.ByName("goerli"); ok || n.Validate() == nil {
		t.Error("an unknown network was found")
	}
}

// TestForksOfBuiltInNetworksBeganWhenTheyDid checks epochs and clocks together
// against the announced times of activation.
func TestForksOfBuiltInNetworksBeganWhenTheyDid(t *testing.T) {
	for _, c := range []struct {
		network string
		fork    network.Fork
		at      string
	}{
		{"mainnet", network.Altair, "2021-10-27T10:56:23Z"},
		{"mainnet", network.Capella, "2023-04-12T22:27:35Z"},
		{"mainnet", network.Deneb, "2024-03-13T13:55:35Z"},
		{"mainnet", network.Electra, "2025-05-07T10:05:11Z"},
		{"mainnet", network.Fulu, "2025-12-03T21:49:11Z"},
		{"sepolia", network.Gloas, "2026-10-06T13:53:36Z"},
		{"gnosis", network.Bellatrix, "2022-11-30T19:23:40Z"},
		{"gnosis", network.Capella, "2023-08-01T11:34:20Z"},
		{"gnosis", network.Deneb, "2024-03-11T18:30:20Z"},
		{"gnosis", network.Electra, "2025-04-30T14:03:40Z"},
		{"gnosis", network.Fulu, "2026-04-14T12:06:20Z"},
		{"chiado", network.Deneb, "2024-01-31T18:15:40Z"},
		{"chiado", network.Fulu, "2026-03-16T09:33:00Z"},
	} {
		n, _ := network.ByName(c.network)
		seconds := n.GenesisTime + n.Forks[c.fork].Epoch*n.SlotsPerEpoch*n.SecondsPerSlot
		if got := time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339); got != c.at {
			t.Errorf("%s %v: got %s, want %s", c.network, c.fork, got, c.at)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(devnet))
	f.Add([]byte("A: 'b'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := network.ParseConfig(data, genesis)
		if (err == nil) != (n.Validate() == nil) {
			t.Fatalf("got %+v with error %v", n, err)
		}
	})
}
