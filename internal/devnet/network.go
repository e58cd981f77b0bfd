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
// sync committee that it holds. Here it holds all 512.
const (
	secondsPerSlot = 6
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
SECONDS_PER_SLOT: 6
SLOTS_PER_EPOCH: 4
DEPOSIT_CONTRACT_ADDRESS: 0x4242424242424242424242424242424242424242
`

// What a key file says: the same network, and the keys.
type (
	keyFile struct {
		Version    int         `json:"version"`
		Network    network     `json:"network"`
		Validators []validator `json:"validators"`
	}
	network struct {
		Name                  string `json:"name"`
		GenesisTime           int64  `json:"genesis_time"`
		GenesisForkVersion    string `json:"genesis_fork_version"`
		GenesisValidatorsRoot string `json:"genesis_validators_root"`
		SecondsPerSlot        int    `json:"seconds_per_slot"`
		SlotsPerEpoch         int    `json:"slots_per_epoch"`
		SyncCommitteeSize     int    `json:"sync_committee_size"`
		MaxCommitteesPerSlot  int    `json:"max_committees_per_slot"`
		Forks                 []fork `json:"forks"`
	}
	fork struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		Epoch   int    `json:"epoch"`
	}
	validator struct {
		SecretKey string `json:"secret_key"`
	}
)

// newKeyFile describes the chain and the keys of its first validators to a signer.
func newKeyFile(g genesis, validators int) ([]byte, error) {
	file := keyFile{Version: 1, Network: network{
		Name:                  "devnet",
		GenesisTime:           g.time.Unix(),
		GenesisForkVersion:    "0x20000089",
		GenesisValidatorsRoot: fmt.Sprintf("0x%x", g.validatorsRoot),
		SecondsPerSlot:        secondsPerSlot,
		SlotsPerEpoch:         slotsPerEpoch,
		SyncCommitteeSize:     512,
		MaxCommitteesPerSlot:  64,
		Forks: []fork{
			{"altair", "0x20000090", 0}, {"bellatrix", "0x20000091", 0},
			{"capella", "0x20000092", 1}, {"deneb", "0x20000093", 2},
		},
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
