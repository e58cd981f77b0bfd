package ethereum

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/policy"
)

// ErrReadOnly reports an attempt to delete a key that was released with a bundle.
// It would be back after a restart, when another signer may be using it.
var ErrReadOnly = errors.New("the key came with the bundle; leave it out of the next one instead")

// keys is what a signer signs with, changed while it does so. Readers take the
// current keyring and never wait; changes wait for each other.
type keys struct {
	change  sync.Mutex
	current atomic.Pointer[keyring]
}

// keyring is one state of the keys. It never changes.
type keyring struct {
	keys    map[bls.PublicKey]heldKey
	order   []bls.PublicKey
	listing []byte // the answer to publicKeys
}

// heldKey is a key and where it is from.
type heldKey struct {
	*guard
	imported bool   // through the key manager, not with a bundle
	path     string // of EIP-2334, where its keystore said so
}

// guard keeps a key from being wiped while it is in use, and from use afterwards.
// It is held from before a duty is recorded until the duty is signed, so that what
// is exported after a removal is all that was ever signed.
type guard struct {
	mu     sync.RWMutex
	secret *bls.SecretKey
	gone   bool
}

func hold(secret *bls.SecretKey) *guard { return &guard{secret: secret} }

// use calls sign unless the key is gone, and reports whether it did.
func (g *guard) use(sign func(*bls.SecretKey)) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.gone {
		return false
	}
	sign(g.secret)
	return true
}

// retire waits for signatures under way, and wipes the key.
func (g *guard) retire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gone = true
	g.secret.Wipe()
}

// discard wipes another copy of the key.
func (g *guard) discard(twin *bls.SecretKey) {
	if twin != g.secret {
		twin.Wipe()
	}
}

func newKeyring(held map[bls.PublicKey]heldKey) (*keyring, error) {
	order := slices.SortedFunc(maps.Keys(held), func(a, b bls.PublicKey) int { return slices.Compare(a[:], b[:]) })
	names := make([]string, len(order))
	for i, key := range order {
		names[i] = key.String()
	}
	listing, err := json.Marshal(names)
	return &keyring{keys: held, order: order, listing: listing}, err
}

// list returns the answer to publicKeys for a client.
func (s *signer) list(client policy.Client) []byte {
	ring := s.keys.current.Load()
	if client.AnyKey {
		return ring.listing
	}
	names := []string{}
	for _, key := range client.Keys {
		if _, held := ring.keys[key]; held {
			names = append(names, key.String())
		}
	}
	slices.Sort(names)
	listing, err := json.Marshal(slices.Compact(names))
	if err != nil {
		return []byte("[]")
	}
	return listing
}

// released makes the keys of a bundle, in which none may be empty or come twice.
func released(secrets []*bls.SecretKey) (map[bls.PublicKey]heldKey, error) {
	held := make(map[bls.PublicKey]heldKey, len(secrets))
	for i, secret := range secrets {
		if secret == nil || secret.PublicKey() == (bls.PublicKey{}) {
			return nil, fmt.Errorf("key %d: %w", i, bls.ErrNoKey)
		}
		if _, ok := held[secret.PublicKey()]; ok {
			return nil, fmt.Errorf("key %d: %v comes twice", i, secret.PublicKey())
		}
		held[secret.PublicKey()] = heldKey{guard: hold(secret)}
	}
	return held, nil
}

// find returns the key that an identifier names.
func (k *keys) find(identifier string) (bls.PublicKey, heldKey, error) {
	public, err := bls.ParsePublicKey(identifier)
	if err != nil {
		return public, heldKey{}, err
	}
	held, ok := k.current.Load().keys[public]
	if !ok {
		return public, heldKey{}, noSuchKey(public)
	}
	return public, held, nil
}

func noSuchKey(public bls.PublicKey) error { return fmt.Errorf("no key %v here", public) }

// update makes a new keyring of a copy of the current one. When it returns, the
// keys that edit returned sign no more.
func (k *keys) update(edit func(held map[bls.PublicKey]heldKey) (retired []*guard)) error {
	k.change.Lock()
	defer k.change.Unlock()
	held := maps.Clone(k.current.Load().keys)
	retired := edit(held)
	next, err := newKeyring(held)
	if err != nil {
		return err
	}
	k.current.Store(next)
	for _, g := range retired {
		g.retire()
	}
	return nil
}

// replace makes released the keys that came with the bundle. Those of them that
// are held already stay as they are; those imported stay beside them.
func (k *keys) replace(released map[bls.PublicKey]heldKey) error {
	return k.update(func(held map[bls.PublicKey]heldKey) (retired []*guard) {
		for public, old := range held {
			fresh, ok := released[public]
			switch {
			case ok:
				old.discard(fresh.secret)
				held[public] = heldKey{guard: old.guard}
			case !old.imported:
				delete(held, public)
				retired = append(retired, old.guard)
			}
		}
		for public, fresh := range released {
			if _, ok := held[public]; !ok {
				held[public] = fresh
			}
		}
		return retired
	})
}

// Imported is a key for Import.
type Imported struct {
	Key  *bls.SecretKey
	Path string // derivation path by EIP-2334, shown in listings; may be empty
}

// Import adds keys to those of the bundle, until they are deleted or the enclave
// ends. It reports for each whether it was added; a key that is held already is
// wiped and stays what it was. It fails before Load and for empty keys, and adds
// nothing then. Keys belong to the service afterwards.
func (s *Service) Import(imported ...Imported) (added []bool, err error) {
	signer := s.loaded.Load()
	if signer == nil {
		return nil, errNotLoaded
	}
	for i, key := range imported {
		if key.Key == nil || key.Key.PublicKey() == (bls.PublicKey{}) {
			return nil, fmt.Errorf("key %d: %w", i, bls.ErrNoKey)
		}
	}
	added = make([]bool, len(imported))
	err = signer.keys.update(func(held map[bls.PublicKey]heldKey) []*guard {
		for i, key := range imported {
			if old, ok := held[key.Key.PublicKey()]; ok {
				old.discard(key.Key)
				continue
			}
			held[key.Key.PublicKey()] = heldKey{hold(key.Key), true, key.Path}
			added[i] = true
		}
		return nil
	})
	return added, err
}

// Deletion is what became of a key.
type Deletion int

// The outcomes of Delete.
const (
	NotHeld  Deletion = iota // the service has no such key
	Deleted                  // it had one, and signs with it no more
	ReadOnly                 // it came with the bundle and stays: see ErrReadOnly
)

// Delete takes imported keys away. When it returns, they sign no more and their
// secrets are wiped; what they have signed stays recorded in the slashing store.
func (s *Service) Delete(publics ...bls.PublicKey) ([]Deletion, error) {
	signer := s.loaded.Load()
	if signer == nil {
		return nil, errNotLoaded
	}
	outcomes := make([]Deletion, len(publics))
	err := signer.keys.update(func(held map[bls.PublicKey]heldKey) (retired []*guard) {
		for i, public := range publics {
			key, ok := held[public]
			switch {
			case ok && key.imported:
				delete(held, public)
				retired = append(retired, key.guard)
				outcomes[i] = Deleted
			case ok:
				outcomes[i] = ReadOnly
			}
		}
		return retired
	})
	return outcomes, err
}

// Replace makes keys those of a newer bundle. Keys of the old one that are not
// among them sign no more when it returns; imported keys stay. It fails, and
// changes nothing, before Load and for empty or repeated keys. Keys belong to the
// service afterwards.
func (s *Service) Replace(secrets []*bls.SecretKey) error {
	signer := s.loaded.Load()
	if signer == nil {
		return errNotLoaded
	}
	fresh, err := released(secrets)
	if err != nil {
		return err
	}
	return signer.keys.replace(fresh)
}
