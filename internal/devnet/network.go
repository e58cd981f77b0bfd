package devnet

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// The chain's clock: short epochs of few slots, which a test can wait for, but no shorter slots. In each,
// before it does anything else, Prysm asks for one selection proof after the other for every seat in the
// sync committee that it holds. Here it holds all 512, which takes a second of a busy processor. Where a
// slot comes too short, its duties are late or lost, and the next epoch is finalised instead.
const (
	secondsPerSlot = 4
	slotsPerEpoch  = 4
	epoch          = slotsPerEpoch * secondsPerSlot * time.Second
)

// chainID is that of the execution chain that prysmctl makes.
const chainID = "1337"

// chainConfig is the network as Prysm reads it: mainnet's preset, Bellatrix from the start, and Capella and
// Deneb while the chain runs. This geth has no final Electra. A genesis after Bellatrix would not do on a
// busy machine: where the first block of such a chain comes late, this beacon node has geth go back to the
// block of hash zero, takes geth's refusal for a verdict on the genesis block, and dies.
const chainConfig = `CONFIG_NAME: interop
PRESET_BASE: mainnet
GENESIS_FORK_VERSION: 0x20000089
ALTAIR_FORK_VERSION: 0x20000090
ALTAIR_FORK_EPOCH: 0
BELLATRIX_FORK_VERSION: 0x20000091
BELLATRIX_FORK_EPOCH: 0
CAPELLA_FORK_VERSION: 0x20000092
CAPELLA_FORK_EPOCH: 1
DENEB_FORK_VERSION: 0x20000093
DENEB_FORK_EPOCH: 2
ELECTRA_FORK_VERSION: 0x20000094
ELECTRA_FORK_EPOCH: 18446744073709551615
FULU_FORK_VERSION: 0x20000095
FULU_FORK_EPOCH: 18446744073709551615
TERMINAL_TOTAL_DIFFICULTY: 0
SECONDS_PER_SLOT: 4
SLOTS_PER_EPOCH: 4
DEPOSIT_CONTRACT_ADDRESS: 0x4242424242424242424242424242424242424242
`

// A description is what the signer's bundle is made of: the network as Prysm reads it, what its one client
// may have signed, and the keys.
type (
	description struct {
		Version       int           `json:"version"`
		Configuration configuration `json:"configuration"`
		Validators    []validator   `json:"validators"`
	}
	configuration struct {
		Network  network  `json:"network"`
		Clients  []client `json:"clients"`
		Slashing slashing `json:"slashing"`
	}
	network struct {
		Config                string `json:"config"`
		GenesisTime           int64  `json:"genesis_time"`
		GenesisValidatorsRoot string `json:"genesis_validators_root"`
	}
	client struct {
		Name  string   `json:"name"`
		Any   bool     `json:"any"` // this Prysm shows no certificate
		Keys  string   `json:"keys"`
		Types []string `json:"types"`
	}
	slashing struct {
		Freshness string `json:"freshness"`
	}
	validator struct {
		SecretKey string `json:"secret_key"`
	}
)

// describe describes the chain and the keys of its first validators to a signer, and lets any client have
// these types signed.
func describe(g genesis, version, validators int, types ...string) ([]byte, error) {
	file := description{Version: version, Configuration: configuration{
		Network:  network{chainConfig, g.time.Unix(), fmt.Sprintf("0x%x", g.validatorsRoot)},
		Clients:  []client{{Name: "prysm", Any: true, Keys: "all", Types: types}},
		Slashing: slashing{Freshness: "journal"},
	}}
	for i := range validators {
		file.Validators = append(file.Validators, validator{fmt.Sprintf("0x%064x", interopKey(uint64(i)))})
	}
	return json.Marshal(file)
}

// order is that of the group that keys are of (BLS12-381's r).
var order, _ = new(big.Int).SetString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)

// interopKey is the key of a validator that the whole world knows: SHA-256 of its index in 32 little-endian
// bytes, read as a little-endian integer, modulo the order (ethereum/eth2.0-pm, interop/mocked_start).
func interopKey(index uint64) *big.Int {
	var preimage [32]byte
	binary.LittleEndian.PutUint64(preimage[:], index)
	digest := sha256.Sum256(preimage[:])
	slices.Reverse(digest[:])
	key := new(big.Int).SetBytes(digest[:])
	return key.Mod(key, order)
}
