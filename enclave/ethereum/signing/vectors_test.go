package signing_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/ethereum/signing"
)

type example struct {
	Name    string          `json:"name"`
	Request json.RawMessage `json:"request"`
}

func examples(t testing.TB) []example {
	t.Helper()
	data, err := os.ReadFile("testdata/sign-examples.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Cases []example }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) != 25 {
		t.Fatalf("got %d examples, want 25", len(file.Cases))
	}
	return file.Cases
}

// exampleNetwork is a network whose fork at slot 0 is the one given. The examples
// mix slot 0 with blocks and aggregates of every fork.
func exampleNetwork(fork network.Fork) *network.Network {
	n := &network.Network{
		Name:                  "examples",
		GenesisValidatorsRoot: [32]byte{1},
		SecondsPerSlot:        12,
		SlotsPerEpoch:         32,
		SyncCommitteeSize:     32, // the minimal preset's, as the Altair example has 4 bytes of bits
		MaxCommitteesPerSlot:  64,
	}
	for f := range n.Forks {
		n.Forks[f] = network.Activation{Version: network.Version{byte(f), 0, 0, 1}, Epoch: network.FarFuture}
		if network.Fork(f) <= fork {
			n.Forks[f].Epoch = 0
		}
	}
	return n
}

// forkOf reads the fork from an example's name, such as "BLOCK_V2 (PHASE 0)".
func forkOf(name string) network.Fork {
	for f := network.Gloas; f > network.Phase0; f-- {
		if strings.Contains(name, "("+f.String()+")") {
			return f
		}
	}
	return network.Phase0
}

// withoutRoot returns a request without its signing root, and the root.
func withoutRoot(t *testing.T, request json.RawMessage) ([]byte, string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(request, &fields); err != nil {
		t.Fatal(err)
	}
	root := fields["signingRoot"].(string)
	delete(fields, "signingRoot")
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return body, root
}

func hexOf(root [32]byte) string {
	const digits = "0123456789abcdef"
	out := []byte("0x")
	for _, b := range root {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return string(out)
}

func TestEveryExampleGivesItsSigningRoot(t *testing.T) {
	for _, e := range examples(t) {
		t.Run(e.Name, func(t *testing.T) {
			n := exampleNetwork(forkOf(e.Name))
			body, want := withoutRoot(t, e.Request)
			message, err := signing.Parse(body, n)
			if err != nil {
				t.Fatal(err)
			}
			if got := hexOf(message.SigningRoot); got != want {
				t.Errorf("signing root: got %s, want %s", got, want)
			}
			if _, err := signing.Parse(e.Request, n); err != nil {
				t.Errorf("with its own root: %v", err)
			}
		})
	}
}
