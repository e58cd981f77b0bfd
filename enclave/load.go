package main

import (
	"fmt"
	"strings"

	"holdfast/enclave/bundle"
	"holdfast/enclave/ethereum"
	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/network"
	"holdfast/enclave/slashing"
	"holdfast/enclave/unseal"
)

// loader returns the loader that gives a released bundle to the signer. A
// bundle that the signer does not take leaves it as it was.
func loader(signer *ethereum.Service) unseal.Loader {
	return func(plaintext []byte) ([]string, error) {
		released, err := bundle.Parse(plaintext)
		if err != nil {
			return nil, err
		}
		defer released.Wipe()
		config, err := configure(released)
		if err == nil {
			err = signer.Load(config)
		}
		if err != nil {
			for _, key := range config.Keys {
				key.Wipe()
			}
			return nil, err
		}
		var publicKeys []string
		for _, key := range signer.PublicKeys() {
			publicKeys = append(publicKeys, key.String())
		}
		return publicKeys, nil
	}
}

// configure makes the signer's configuration of a bundle. With an error too it
// returns the keys made so far.
func configure(b *bundle.Bundle) (ethereum.Config, error) {
	var config ethereum.Config
	chain, err := chainOf(b.Network)
	if err != nil {
		return config, err
	}
	config.Network = chain
	config.Slashing = slashing.NewMemory(chain.GenesisValidatorsRoot)
	for i, v := range b.Validators {
		key, err := secretKey(v)
		if err != nil {
			return config, fmt.Errorf("validator %d: %w", i+1, err)
		}
		config.Keys = append(config.Keys, key)
	}
	return config, nil
}

func secretKey(v bundle.Validator) (*bls.SecretKey, error) {
	var scalar [32]byte
	defer clear(scalar[:])
	copy(scalar[:], v.SecretKey.Reveal())
	return bls.NewSecretKey(&scalar)
}

// chainOf describes the bundle's network to the signer. A fork that the signer
// does not know is an error: it would be signed for by the rules of another.
func chainOf(n bundle.Network) (network.Network, error) {
	chain := network.Network{
		Name:                  n.Name,
		GenesisTime:           n.GenesisTime,
		GenesisValidatorsRoot: n.GenesisValidatorsRoot,
		SecondsPerSlot:        n.SecondsPerSlot,
		SlotsPerEpoch:         n.SlotsPerEpoch,
		SyncCommitteeSize:     n.SyncCommitteeSize,
		MaxCommitteesPerSlot:  n.MaxCommitteesPerSlot,
	}
	for fork := range chain.Forks {
		chain.Forks[fork].Epoch = network.FarFuture
	}
	chain.Forks[network.Phase0] = network.Activation{Version: n.GenesisForkVersion}
	for _, f := range n.Forks {
		fork, ok := forkOf(f.Name)
		if !ok {
			return network.Network{}, fmt.Errorf("this signer does not know fork %q", f.Name)
		}
		chain.Forks[fork] = network.Activation{Version: f.Version, Epoch: f.Epoch}
	}
	return chain, chain.Validate()
}

// forkOf finds a fork after genesis by its name in lower case.
func forkOf(name string) (network.Fork, bool) {
	for fork := network.Altair; int(fork) < len(network.Schedule{}); fork++ {
		if strings.ToLower(fork.String()) == name {
			return fork, true
		}
	}
	return 0, false
}
