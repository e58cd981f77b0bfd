// Package vmring holds the tests that boot the built image on QEMU's nitro-enclave machine: the outermost
// ring, in which every part is the real one.
//
// 'make test' builds what they need and names it in the environment. Without that they skip with a word
// on what to run, and fail where CI is set, so that they cannot be forgotten.
package vmring
