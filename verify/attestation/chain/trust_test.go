package chain_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"holdfast/verify/attestation/chain"
)

func TestTheEmbeddedRootIsTheOneThatAWSPublishes(t *testing.T) {
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(trust.Root())
	if got := hex.EncodeToString(sum[:]); got != "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b" {
		t.Errorf("got %s", got)
	}
}

func TestARootNeedsItsHash(t *testing.T) {
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trust.Root()})
	if _, err := chain.NewTrust(root, chain.AWSRootSHA256); err != nil {
		t.Fatal(err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: trust.Root()})
	noise := []byte("noise")
	noiseSum := sha256.Sum256(noise)
	for name, test := range map[string]struct {
		pem []byte
		sum string
	}{
		"another hash":      {root, strings.Repeat("0", 64)},
		"no hash":           {root, ""},
		"half a hash":       {root, chain.AWSRootSHA256[:32]},
		"no certificate":    {nil, chain.AWSRootSHA256},
		"another PEM type":  {key, chain.AWSRootSHA256},
		"two certificates":  {append(append([]byte(nil), root...), root...), chain.AWSRootSHA256},
		"not a certificate": {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: noise}), hex.EncodeToString(noiseSum[:])},
		"too large":         {make([]byte, chain.MaxRootSize+1), chain.AWSRootSHA256},
	} {
		if got, err := chain.NewTrust(test.pem, test.sum); err == nil || got.Root() != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTheZeroTrustHasNoRoot(t *testing.T) {
	if (chain.Trust{}).Root() != nil {
		t.Error("a root came from nowhere")
	}
}

func TestDenyLeavesTheOriginalAlone(t *testing.T) {
	trust, err := chain.AWS()
	if err != nil {
		t.Fatal(err)
	}
	one := trust.Deny(chain.Denied{Issuer: "a", Serial: "1"})
	two := one.Deny(chain.Denied{Issuer: "b", Serial: "2"})
	if string(two.Root()) != string(trust.Root()) {
		t.Error("Deny changed the root")
	}
}
