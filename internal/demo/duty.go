package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// The demonstration computes signing roots for itself, with nothing of the enclave's code, so that the
// signature is checked against what the specification says and not against what the signer says.

// mainnet's values; the duties below are of its Fulu fork.
var (
	genesisValidatorsRoot = [32]byte(unhex("4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"))
	forkVersion           = [4]byte{6, 0, 0, 0}
)

const domainBeaconAttester = "\x01\x00\x00\x00"

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // a constant of this file
	}
	return b
}

// An attestation is a validator's vote: a head, and a link from a source to a target checkpoint.
type attestation struct {
	slot, source, target uint64
	head                 [32]byte
}

// request is the duty as validator clients send it.
func (a attestation) request() string {
	root := hex.EncodeToString(a.head[:])
	return fmt.Sprintf(`{
  "type": "ATTESTATION",
  "fork_info": {
    "fork": {"previous_version": "0x05000000", "current_version": "0x%x", "epoch": "411392"},
    "genesis_validators_root": "0x%x"
  },
  "attestation": {
    "slot": "%d", "index": "0", "beacon_block_root": "0x%s",
    "source": {"epoch": "%d", "root": "0x%s"},
    "target": {"epoch": "%d", "root": "0x%s"}
  }
}`, forkVersion, genesisValidatorsRoot, a.slot, root, a.source, root, a.target, root)
}

// signingRoot is compute_signing_root(AttestationData, domain) of the consensus specification.
func (a attestation) signingRoot() [32]byte {
	checkpoint := func(epoch uint64) [32]byte { return hash(chunk(epoch), a.head) }
	data := merkleize(chunk(a.slot), chunk(0), a.head, checkpoint(a.source), checkpoint(a.target))
	var version [32]byte
	copy(version[:], forkVersion[:])
	forkData := hash(version, genesisValidatorsRoot)
	var domain [32]byte
	copy(domain[:], domainBeaconAttester)
	copy(domain[4:], forkData[:28])
	return hash(data, domain)
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
