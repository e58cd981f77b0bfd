package unseal

import (
	"errors"
	"sync"
)

// ErrFilled is the error of every release after the one that succeeded.
var ErrFilled = errors.New("unseal: keys were released already, and this enclave takes them once: restart it to release others")

// A Loader takes what was released and returns the public keys of it. It keeps
// no part of plaintext, which is wiped afterwards. After an error it must be as
// if it had not been called.
type Loader func(plaintext []byte) (publicKeys []string, err error)

// A Slot takes one release. Make one with [NewSlot].
type Slot struct {
	info []byte
	load Loader

	mu  sync.Mutex
	key *Key // nil once filled
}

// NewSlot makes a slot that opens with key under info and hands on to load.
func NewSlot(key *Key, info []byte, load Loader) *Slot {
	return &Slot{key: key, info: info, load: load}
}

// Release opens what was sealed, loads it, and returns the public keys.
// Releases take turns: exactly one succeeds, every later one is [ErrFilled],
// and one that fails leaves the slot open. Other errors say what is wrong with
// sealed, or with what it holds.
func (s *Slot) Release(sealed []byte) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key == nil {
		return nil, ErrFilled
	}
	plaintext, err := s.key.Open(sealed, s.info)
	if err != nil {
		return nil, err
	}
	defer plaintext.Wipe()
	publicKeys, err := s.load(plaintext.Reveal())
	if err != nil {
		return nil, err
	}
	// Nothing sealed to the key, then or now, can be opened any more.
	s.key = nil
	return publicKeys, nil
}
