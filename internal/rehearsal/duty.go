package rehearsal

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// The demonstrations compute signing roots for themselves, with nothing of the enclave's code, so that a
// signature is checked against what the specification says and not against what the signer says.

// A Network is what of a network duties depend on: its clock, and the fork that they are of.
type Network struct {
	Genesis       time.Time
	SlotDuration  time.Duration
	SlotsPerEpoch uint64

	ValidatorsRoot    [32]byte
	Previous, Current [4]byte // versions of the fork before, and of the fork
	ForkEpoch         uint64
	Fork              string // as BLOCK_V2 names it
}

// Mainnet, in its Fulu fork (ethereum/consensus-specs, configs/mainnet.yaml).
func Mainnet() *Network {
	root, _ := hex.DecodeString("4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95")
	return &Network{
		Genesis: time.Unix(1606824023, 0), SlotDuration: 12 * time.Second, SlotsPerEpoch: 32,
		ValidatorsRoot: [32]byte(root), Previous: [4]byte{5}, Current: [4]byte{6}, ForkEpoch: 411392, Fork: "FULU",
	}
}

// Slot is the slot of a time after genesis.
func (n *Network) Slot(t time.Time) uint64 { return uint64(t.Sub(n.Genesis) / n.SlotDuration) }

// Epoch is the epoch of a time after genesis.
func (n *Network) Epoch(t time.Time) uint64 { return n.Slot(t) / n.SlotsPerEpoch }

// SlotStart is when a slot begins.
func (n *Network) SlotStart(slot uint64) time.Time {
	return n.Genesis.Add(time.Duration(slot) * n.SlotDuration)
}

// EpochStart is when an epoch begins.
func (n *Network) EpochStart(epoch uint64) time.Time { return n.SlotStart(epoch * n.SlotsPerEpoch) }

// A Duty is what a validator client has signed.
type Duty interface {
	fmt.Stringer
	request(*Network) string
	signingRoot(*Network) [32]byte
}

// An Attestation is a vote: a head, and a link from a source to a target checkpoint.
type Attestation struct {
	Source, Target uint64
	Head           byte // whatever fills the roots, to tell votes apart
}

func (a Attestation) String() string {
	return fmt.Sprintf("attestation %d -> %d, head %02x…", a.Source, a.Target, a.Head)
}

// A Block is a proposal, of which signers see the header.
type Block struct {
	Slot uint64
	Body byte // whatever fills the body's root, to tell blocks apart
}

func (b Block) String() string { return fmt.Sprintf("block at slot %d, body %02x…", b.Slot, b.Body) }

// filled is a root for which there is nothing.
func filled(with byte) (root [32]byte) {
	for i := range root {
		root[i] = with
	}
	return root
}

func (n *Network) forkInfo() string {
	return fmt.Sprintf(`{"fork": {"previous_version": "0x%x", "current_version": "0x%x", "epoch": "%d"}, "genesis_validators_root": "0x%x"}`,
		n.Previous, n.Current, n.ForkEpoch, n.ValidatorsRoot)
}

// request is the duty as validator clients send it.
func (a Attestation) request(n *Network) string {
	return fmt.Sprintf(`{"type": "ATTESTATION", "fork_info": %[1]s, "attestation": {
  "slot": "%[2]d", "index": "0", "beacon_block_root": "0x%[3]x",
  "source": {"epoch": "%[4]d", "root": "0x%[3]x"}, "target": {"epoch": "%[5]d", "root": "0x%[3]x"}}}`,
		n.forkInfo(), a.Target*n.SlotsPerEpoch, filled(a.Head), a.Source, a.Target)
}

func (b Block) request(n *Network) string {
	return fmt.Sprintf(`{"type": "BLOCK_V2", "fork_info": %s, "beacon_block": {"version": "%s", "block_header": {
  "slot": "%d", "proposer_index": "1", "parent_root": "0x%[4]x", "state_root": "0x%[4]x", "body_root": "0x%[5]x"}}}`,
		n.forkInfo(), n.Fork, b.Slot, filled(0), filled(b.Body))
}

// The domain types (consensus specification, phase0, beacon-chain.md).
var (
	domainBeaconProposer = [4]byte{0}
	domainBeaconAttester = [4]byte{1}
)

// signingRoot is compute_signing_root(AttestationData, domain) of the specification.
func (a Attestation) signingRoot(n *Network) [32]byte {
	head := filled(a.Head)
	checkpoint := func(epoch uint64) [32]byte { return hash(chunk(epoch), head) }
	data := merkleize(chunk(a.Target*n.SlotsPerEpoch), chunk(0), head, checkpoint(a.Source), checkpoint(a.Target))
	return hash(data, n.domain(domainBeaconAttester))
}

// signingRoot is compute_signing_root(BeaconBlockHeader, domain).
func (b Block) signingRoot(n *Network) [32]byte {
	header := merkleize(chunk(b.Slot), chunk(1), filled(0), filled(0), filled(b.Body))
	return hash(header, n.domain(domainBeaconProposer))
}

// domain is compute_domain of the specification.
func (n *Network) domain(kind [4]byte) (domain [32]byte) {
	var version [32]byte
	copy(version[:], n.Current[:])
	forkData := hash(version, n.ValidatorsRoot)
	copy(domain[:], kind[:])
	copy(domain[4:], forkData[:28])
	return domain
}

// chunk is a uint64 as SSZ puts it into a tree.
func chunk(n uint64) (c [32]byte) {
	binary.LittleEndian.PutUint64(c[:], n)
	return c
}

func hash(a, b [32]byte) [32]byte { return sha256.Sum256(append(a[:], b[:]...)) }

// merkleize is the root of a tree over eight chunks at most, padded with zeros to eight.
func merkleize(chunks ...[32]byte) [32]byte {
	level := make([][32]byte, 8)
	copy(level, chunks)
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = hash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}
