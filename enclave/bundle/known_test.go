package bundle_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum/network"
)

func parseNetwork(t *testing.T, description string) (network.Network, error) {
	t.Helper()
	got, err := bundle.ParseConfiguration([]byte(open(description)))
	if err != nil {
		return network.Network{}, err
	}
	return got.Network, nil
}

// forkDigest is the first 4 bytes of the root of ForkData, which peers on a
// network show each other (compute_fork_data_root, consensus-specs phase0).
func forkDigest(version [4]byte, root [32]byte) string {
	var data [64]byte
	copy(data[:], version[:])
	copy(data[32:], root[:])
	sum := sha256.Sum256(data[:])
	return hex.EncodeToString(sum[:4])
}

// The digests of running networks prove the versions and the roots; the times
// at which a fork came prove the genesis time and the epochs (EIP-7607,
// EIP-7773 and the announcements of each).
func TestKnownNetworksAreThePublicOnes(t *testing.T) {
	tests := map[string]struct {
		digests string
		times   map[string]uint64
	}{
		"mainnet": {"b5303f2a afcaaba0 4a26c58b bba4da96 6a95a1a9 ad532ceb 82fae541", map[string]uint64{
			"ALTAIR": 1635332183, "BELLATRIX": 1662464087, "CAPELLA": 1681338455, "DENEB": 1710338135, "ELECTRA": 1746612311, "FULU": 1764798551}},
		"sepolia": {"a8fee8ee 60725ca1 36fa5013 47eb72b3 d31f6191 14045b5a f52c1527 e7626d6f", map[string]uint64{
			"CAPELLA": 1677557088, "DENEB": 1706655072, "ELECTRA": 1741159776, "FULU": 1760427360, "GLOAS": 1791294816}},
		"holesky": {"219d34fe c4f705e4 69b7d974 17e2dad3 69ae0e99 019e21ad 32db67b6", map[string]uint64{
			"CAPELLA": 1696000704, "DENEB": 1707305664, "ELECTRA": 1740434112, "FULU": 1759308480}},
		"hoodi": {"5df5c106 5bc37505 92579de7 72bbc370 d2f1997f 82556a32 e9730835 754cbe70", map[string]uint64{
			"ELECTRA": 1742999832, "FULU": 1761677592}},
	}
	for name, test := range tests {
		n, err := parseNetwork(t, `{"name":"`+name+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		var digests []string
		for i, f := range n.Forks {
			if f.Epoch == network.FarFuture {
				continue
			}
			digests = append(digests, forkDigest(f.Version, n.GenesisValidatorsRoot))
			at := n.GenesisTime + f.Epoch*n.SlotsPerEpoch*n.SecondsPerSlot
			if want, ok := test.times[network.Fork(i).String()]; ok && at != want {
				t.Errorf("%s: %v comes at %d, want %d", name, network.Fork(i), at, want)
			}
		}
		if got := strings.Join(digests, " "); got != test.digests {
			t.Errorf("%s: got digests %s, want %s", name, got, test.digests)
		}
		if n.Name != name || n.SecondsPerSlot != 12 || n.SlotsPerEpoch != 32 || n.SyncCommitteeSize != 512 || n.MaxCommitteesPerSlot != 64 {
			t.Errorf("%s: got %+v", name, n)
		}
	}
}

// describe writes every field of a network.
func describe(n network.Network) map[string]string {
	var forks []string
	for i, f := range n.Forks[1:] {
		if f.Version != (network.Version{}) {
			forks = append(forks, fmt.Sprintf(`{"name":%q,"version":"%v","epoch":%d}`, strings.ToLower(network.Fork(i+1).String()), f.Version, f.Epoch))
		}
	}
	return map[string]string{
		"name":                    fmt.Sprintf("%q", n.Name),
		"genesis_time":            fmt.Sprint(n.GenesisTime),
		"genesis_fork_version":    fmt.Sprintf(`"%v"`, n.GenesisForkVersion()),
		"genesis_validators_root": fmt.Sprintf(`"%#x"`, n.GenesisValidatorsRoot),
		"seconds_per_slot":        fmt.Sprint(n.SecondsPerSlot),
		"slots_per_epoch":         fmt.Sprint(n.SlotsPerEpoch),
		"sync_committee_size":     fmt.Sprint(n.SyncCommitteeSize),
		"max_committees_per_slot": fmt.Sprint(n.MaxCommitteesPerSlot),
		"forks":                   "[" + strings.Join(forks, ",") + "]",
	}
}

func object(fields map[string]string) string {
	var pairs []string
	for name, value := range fields {
		pairs = append(pairs, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

func TestAKnownNetworkMayBeDescribedButNotOtherwise(t *testing.T) {
	want, err := parseNetwork(t, `{"name":"sepolia"}`)
	if err != nil {
		t.Fatal(err)
	}
	fields := describe(want)
	if got, err := parseNetwork(t, object(fields)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	other, err := parseNetwork(t, `{"name":"mainnet"}`)
	if err != nil {
		t.Fatal(err)
	}
	wrong := describe(other)
	wrong["seconds_per_slot"], wrong["slots_per_epoch"], wrong["sync_committee_size"], wrong["max_committees_per_slot"] = "13", "33", "544", "65"
	for name := range fields {
		if name == "name" {
			continue
		}
		if _, err := parseNetwork(t, object(map[string]string{"name": `"sepolia"`, name: fields[name]})); err != nil {
			t.Errorf("%s alone: %v", name, err)
		}
		_, err := parseNetwork(t, object(map[string]string{"name": `"sepolia"`, name: wrong[name]}))
		if err == nil || !strings.Contains(err.Error(), "has") {
			t.Errorf("another network's %s: got %v", name, err)
		}
	}
}

func TestALaterForkMayBeAddedToAKnownNetwork(t *testing.T) {
	got, err := parseNetwork(t, `{"name":"mainnet","forks":[{"name":"gloas","version":"0x07000000","epoch":500000}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if want := (network.Activation{Version: network.Version{7}, Epoch: 500000}); got.Forks[network.Gloas] != want {
		t.Errorf("got %+v, want %+v", got.Forks[network.Gloas], want)
	}
	if again, err := parseNetwork(t, `{"name":"mainnet"}`); err != nil || again.Forks[network.Gloas].Epoch != network.FarFuture {
		t.Errorf("got %+v, %v from the name alone afterwards", again.Forks[network.Gloas], err)
	}
	if _, err := parseNetwork(t, `{"name":"mainnet","forks":[{"name":"gloas","version":"0x07000000","epoch":5}]}`); err == nil || !strings.Contains(err.Error(), "before FULU") {
		t.Errorf("a fork out of order: got %v", err)
	}
}

func TestEveryNetworkOfTheSignerIsKnownByName(t *testing.T) {
	for _, name := range network.Names() {
		want, _ := network.ByName(name)
		if got, err := parseNetwork(t, `{"name":"`+name+`"}`); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
	}
}

func TestAnUnknownNetworkMustBeDescribedInFull(t *testing.T) {
	want, err := parseNetwork(t, custom)
	if err != nil {
		t.Fatal(err)
	}
	for name := range describe(want) {
		fields := describe(want)
		delete(fields, name)
		_, err := parseNetwork(t, object(fields))
		if name == "forks" { // a chain may have had none
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q is missing", name)) {
			t.Errorf("without %s: got %v", name, err)
		}
	}
}
