package differential

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attestantio/go-eth2-client/spec/phase0"

	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/signing"
)

var (
	objects = flag.Int("objects", 12000, "random objects to compare")
	seed    = flag.Uint64("seed", 1, "seed of the random objects")
)

// forkInfo is a random fork_info.
type forkInfo struct {
	Previous, Current [4]byte
	Epoch             uint64
	ValidatorsRoot    [32]byte
}

func (f *forkInfo) json() map[string]any {
	return map[string]any{
		"fork": map[string]any{
			"previous_version": fmt.Sprintf("%#x", f.Previous),
			"current_version":  fmt.Sprintf("%#x", f.Current),
			"epoch":            fmt.Sprint(f.Epoch),
		},
		"genesis_validators_root": fmt.Sprintf("%#x", f.ValidatorsRoot),
	}
}

// forkData is what a duty's domain is made of, by the rules of the specifications:
// get_domain, EIP-7044 for exits, and the genesis version alone for deposits and
// registrations.
func (d *duty) forkData(info *forkInfo, n *network.Network) phase0.ForkData {
	switch {
	case d.forkless():
		return phase0.ForkData{CurrentVersion: phase0.Version(n.Forks[network.Phase0].Version)}
	case d.kind == "VOLUNTARY_EXIT" && n.Forks[network.Deneb].Epoch == 0:
		return phase0.ForkData{CurrentVersion: phase0.Version(n.Forks[network.Capella].Version), GenesisValidatorsRoot: info.ValidatorsRoot}
	case d.epoch < info.Epoch:
		return phase0.ForkData{CurrentVersion: info.Previous, GenesisValidatorsRoot: info.ValidatorsRoot}
	}
	return phase0.ForkData{CurrentVersion: info.Current, GenesisValidatorsRoot: info.ValidatorsRoot}
}

// forkless says that a duty's domain is of the genesis version alone.
func (d *duty) forkless() bool {
	return d.kind == "DEPOSIT" || d.kind == "VALIDATOR_REGISTRATION" || d.kind == "BUILDER_REQUEST_AUTH"
}

// request returns a duty's signing root, computed with go-eth2-client's containers,
// and a request for it.
func (d *duty) request(random *rand.Rand, n *network.Network) ([32]byte, []byte, error) {
	var info forkInfo
	fill(random, &info)
	fork := d.forkData(&info, n)
	forkRoot, err := fork.HashTreeRoot()
	if err != nil {
		return [32]byte{}, nil, err
	}
	data := phase0.SigningData{ObjectRoot: d.object}
	copy(data.Domain[:4], d.domain[:])
	copy(data.Domain[4:], forkRoot[:28])
	root, err := data.HashTreeRoot()
	if err != nil {
		return [32]byte{}, nil, err
	}
	d.payload["type"] = d.kind
	d.payload["signing_root"] = fmt.Sprintf("%#x", root)
	if !d.forkless() {
		d.payload["fork_info"] = info.json()
	}
	body, err := json.Marshal(d.payload)
	return root, body, err
}

func TestSigningRootsEqualGoEth2Clients(t *testing.T) {
	random := rand.New(rand.NewPCG(*seed, 0))
	forks := int(network.Gloas) + 1
	each := *objects/(len(makers)*forks) + 1
	compared := map[string]int{}
	for fork := network.Phase0; fork <= network.Gloas; fork++ {
		n := chain(fork)
		made := makers
		if fork == network.Gloas {
			made = slices.Concat(makers, gloasMakers)
		}
		for _, maker := range made {
			for range each {
				compared[compare(t, random, maker, n, fork)]++
			}
		}
	}
	if len(compared) != 18 {
		t.Errorf("compared %d types, want 18: %v", len(compared), compared)
	}
	t.Logf("compared %v", compared)
}

// compare makes one duty, compares its roots and returns its type.
func compare(t *testing.T, random *rand.Rand, maker maker, n *network.Network, fork network.Fork) string {
	d, err := maker(random, fork)
	if err != nil {
		t.Fatalf("%s, %v: %v", d.kind, fork, err)
	}
	want, body, err := d.request(random, n)
	if err != nil {
		t.Fatalf("%s, %v: %v", d.kind, fork, err)
	}
	message, err := signing.Parse(body, n)
	if err != nil {
		t.Fatalf("%s, %v: %v\n%.2000s", d.kind, fork, err, body)
	}
	if message.SigningRoot != want {
		t.Fatalf("%s, %v: got %#x, want %#x", d.kind, fork, message.SigningRoot, want)
	}
	return d.kind
}
