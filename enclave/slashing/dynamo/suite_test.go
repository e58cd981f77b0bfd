package dynamo_test

import (
	"testing"

	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
)

func TestTheStoreKeepsItsContract(t *testing.T) {
	endpoint := local.Server(t).Endpoint()
	slashingtest.RunStore(t, func(t *testing.T, gvr slashing.Root) slashing.Archive {
		c := newTable(t, endpoint).config(slashingtest.Keys()...)
		c.Network = gvr
		return open(t, c)
	})
}

func TestTheStoreRemembersWhatItSays(t *testing.T) {
	endpoint := local.Server(t).Endpoint()
	slashingtest.RunReopen(t, func(t *testing.T, gvr slashing.Root) func(*testing.T) slashing.Archive {
		c := newTable(t, endpoint).config()
		c.Network = gvr
		return func(t *testing.T) slashing.Archive { return open(t, c) }
	})
}
