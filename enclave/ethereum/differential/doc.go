// Package differential compares the signer's signing roots with those that
// attestantio/go-eth2-client computes, or pk910/dynamic-ssz for Gloas, over random
// objects of every type and fork.
//
// It is a module of its own, so that what it needs for comparison stays out of the
// enclave's dependencies.
package differential
