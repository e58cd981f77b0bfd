package network

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
)

// builtin is a public network in the form of its published configuration.
type builtin struct {
	name           string
	preset         preset
	genesisTime    uint64
	validatorsRoot string
	secondsPerSlot uint64
	forks          []fork // from Phase0 on; the rest is not scheduled
}

type fork struct {
	version uint32
	epoch   uint64
}

// builtins holds the networks that Holdfast knows by name. Forks are those of the
// metadata/config.yaml of eth-clients/<network> and of the config.yaml of
// gnosischain/configs, as far as each was scheduled in November 2026. Genesis
// times and validators roots are what those networks' READMEs and
// genesis_validators_root.txt say, which Lodestar's packages/config/src/networks.ts
// repeats.
//
// Gloas stood scheduled on sepolia (eth-clients/sepolia pull request 126) and hoodi
// only. A network that schedules a fork after a release of Holdfast is served from
// its own config.yaml until the next.
var builtins = []builtin{
	{
		name: "mainnet", preset: mainnetPreset, genesisTime: 1606824023, secondsPerSlot: 12,
		validatorsRoot: "4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95",
		forks: []fork{
			{0x00000000, 0}, {0x01000000, 74240}, {0x02000000, 144896}, {0x03000000, 194048},
			{0x04000000, 269568}, {0x05000000, 364032}, {0x06000000, 411392},
		},
	},
	{
		name: "sepolia", preset: mainnetPreset, genesisTime: 1655733600, secondsPerSlot: 12,
		validatorsRoot: "d8ea171f3c94aea21ebc42a1ed61052acf3f9209c00e4efbaaddac09ed9b8078",
		forks: []fork{
			{0x90000069, 0}, {0x90000070, 50}, {0x90000071, 100}, {0x90000072, 56832},
			{0x90000073, 132608}, {0x90000074, 222464}, {0x90000075, 272640}, {0x90000076, 353024},
		},
	},
	{
		name: "hoodi", preset: mainnetPreset, genesisTime: 1742213400, secondsPerSlot: 12,
		validatorsRoot: "212f13fc4df078b6cb7db228f1c8307566dcecf900867401a92023d7ba99cb5f",
		forks: []fork{
			{0x10000910, 0}, {0x20000910, 0}, {0x30000910, 0}, {0x40000910, 0},
			{0x50000910, 0}, {0x60000910, 2048}, {0x70000910, 50688}, {0x80000910, 132352},
		},
	},
	{
		name: "holesky", preset: mainnetPreset, genesisTime: 1695902400, secondsPerSlot: 12,
		validatorsRoot: "9143aa7c615a7f7115e2b6aac319c03529df8242ae705fba9df39b79c59fa8b1",
		forks: []fork{
			{0x01017000, 0}, {0x02017000, 0}, {0x03017000, 0}, {0x04017000, 256},
			{0x05017000, 29696}, {0x06017000, 115968}, {0x07017000, 165120},
		},
	},
	{
		name: "gnosis", preset: gnosisPreset, genesisTime: 1638993340, secondsPerSlot: 5,
		validatorsRoot: "f5dcb5564e829aab27264b9becd5dfaa017085611224cb3036f573368dbb9d47",
		forks: []fork{
			{0x00000064, 0}, {0x01000064, 512}, {0x02000064, 385536}, {0x03000064, 648704},
			{0x04000064, 889856}, {0x05000064, 1337856}, {0x06000064, 1714688},
		},
	},
	{
		name: "chiado", preset: gnosisPreset, genesisTime: 1665396300, secondsPerSlot: 5,
		validatorsRoot: "9d642dac73058fbf39c0ae41ab1e34e4d889043cb199851ded7095bc99eb4c1e",
		forks: []fork{
			{0x0000006f, 0}, {0x0100006f, 90}, {0x0200006f, 180}, {0x0300006f, 244224},
			{0x0400006f, 516608}, {0x0500006f, 948224}, {0x0600006f, 1353216},
		},
	},
}

// preset is the part of a consensus-specs preset that signing depends on.
type preset struct {
	slotsPerEpoch        uint64
	syncCommitteeSize    uint64
	maxCommitteesPerSlot uint64
}

// The presets of consensus-specs (presets/mainnet, presets/minimal) and of
// gnosischain/configs (presets/gnosis).
var (
	mainnetPreset = preset{slotsPerEpoch: 32, syncCommitteeSize: 512, maxCommitteesPerSlot: 64}
	minimalPreset = preset{slotsPerEpoch: 8, syncCommitteeSize: 32, maxCommitteesPerSlot: 4}
	gnosisPreset  = preset{slotsPerEpoch: 16, syncCommitteeSize: 512, maxCommitteesPerSlot: 64}
)

// Names lists the networks that ByName knows.
func Names() []string {
	var names []string
	for _, b := range builtins {
		names = append(names, b.name)
	}
	return names
}

// ByName returns a public network. It reports false for a name it does not know.
func ByName(name string) (Network, bool) {
	i := slices.IndexFunc(builtins, func(b builtin) bool { return b.name == name })
	if i < 0 {
		return Network{}, false
	}
	return builtins[i].network(), true
}

func (b *builtin) network() Network {
	n := Network{
		Name:                 b.name,
		GenesisTime:          b.genesisTime,
		SecondsPerSlot:       b.secondsPerSlot,
		SlotsPerEpoch:        b.preset.slotsPerEpoch,
		SyncCommitteeSize:    b.preset.syncCommitteeSize,
		MaxCommitteesPerSlot: b.preset.maxCommitteesPerSlot,
		Forks:                unscheduled(),
	}
	// A root that does not decode stays zero, which Validate refuses.
	hex.Decode(n.GenesisValidatorsRoot[:], []byte(b.validatorsRoot))
	for i, f := range b.forks {
		binary.BigEndian.PutUint32(n.Forks[i].Version[:], f.version)
		n.Forks[i].Epoch = f.epoch
	}
	return n
}

// unscheduled is a schedule without any fork.
func unscheduled() (s Schedule) {
	for f := range s {
		s[f].Epoch = FarFuture
	}
	return s
}
