package ethereum

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/slashing"
)

// keystoresPath is the only path of the key manager.
const keystoresPath = "/eth/v1/keystores"

// maxDeletions bounds the keys of one request to delete.
const maxDeletions = 10_000

// KeyManager returns a handler of the key manager API (ethereum/keymanager-APIs,
// as Web3Signer serves it): it lists keys, imports keystores with their slashing
// data, and deletes keys with an export of theirs. Whoever reaches it may do all
// that, so it must be mounted behind authentication.
//
// Imported keys live as long as the enclave: nothing is written that could hold
// them. Keys of the bundle are read-only.
func (s *Service) KeyManager() http.Handler { return alone(s.keyManagerRoutes()) }

func (s *Service) keyManagerRoutes() []route {
	return []route{
		{"GET", keystoresPath, s.serveKeystores},
		{"POST", keystoresPath, s.serveImport},
		{"DELETE", keystoresPath, s.serveDelete},
	}
}

// dataJSON is the envelope of the key manager's answers.
type dataJSON[T any] struct {
	Data               []T     `json:"data"`
	SlashingProtection *string `json:"slashing_protection,omitempty"`
}

type keystoreJSON struct {
	PublicKey string  `json:"validating_pubkey"`
	Path      *string `json:"derivation_path"`
	ReadOnly  bool    `json:"readonly"`
}

func (s *Service) serveKeystores(w http.ResponseWriter, _ *http.Request) {
	answer := dataJSON[keystoreJSON]{Data: []keystoreJSON{}}
	if signer := s.loaded.Load(); signer != nil {
		answer.Data = signer.keys.current.Load().describe()
	}
	writeJSON(w, http.StatusOK, answer)
}

func (k *keyring) describe() []keystoreJSON {
	described := make([]keystoreJSON, 0, len(k.order))
	for _, public := range k.order {
		key := k.keys[public]
		one := keystoreJSON{PublicKey: public.String(), ReadOnly: !key.imported}
		if key.path != "" {
			one.Path = &key.path
		}
		described = append(described, one)
	}
	return described
}

// outcomeJSON is what became of one key.
type outcomeJSON struct {
	Status  string  `json:"status"`
	Message *string `json:"message"`
}

func outcome(status string) outcomeJSON { return outcomeJSON{Status: status} }

func failed(err error) outcomeJSON {
	message := err.Error()
	return outcomeJSON{"error", &message}
}

// archive returns a loaded signer and its store, if that can move histories.
func (s *Service) archive() (*signer, slashing.Archive, *refusal) {
	signer := s.loaded.Load()
	if signer == nil {
		return nil, nil, refuse(http.StatusServiceUnavailable, notReleased, errNotLoaded)
	}
	archive, ok := signer.Slashing.(slashing.Archive)
	if !ok {
		return nil, nil, refuse(http.StatusInternalServerError, storeFailed,
			errors.New("this signer's slashing store cannot import or export, so keys cannot move"))
	}
	return signer, archive, nil
}

func (s *Service) serveDelete(w http.ResponseWriter, r *http.Request) {
	_, archive, no := s.archive()
	var publics []bls.PublicKey
	if no == nil {
		publics, no = readDeletion(w, r)
	}
	if no != nil {
		writeError(w, no.status, no.err)
		return
	}
	answer, err := s.remove(r.Context(), archive, publics)
	if err != nil {
		writeError(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, http.StatusOK, answer)
}

func readDeletion(w http.ResponseWriter, r *http.Request) ([]bls.PublicKey, *refusal) {
	body, no := readBody(w, r)
	if no != nil {
		return nil, no
	}
	o, err := jsontree.Parse(body)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, malformed, err)
	}
	names := o.Texts("pubkeys", maxDeletions)
	if o.Err() != nil {
		return nil, refuse(http.StatusBadRequest, malformed, o.Err())
	}
	publics := make([]bls.PublicKey, len(names))
	for i, name := range names {
		if publics[i], err = bls.ParsePublicKey(name); err != nil {
			return nil, refuse(http.StatusBadRequest, malformed, fmt.Errorf("pubkeys[%d]: %w", i, err))
		}
	}
	return publics, nil
}

// remove deletes keys and exports the history of those that are not held any
// more, so that another signer can go on. A key that was deleted before is exported
// again, for a caller who lost the answer.
func (s *Service) remove(ctx context.Context, archive slashing.Archive, publics []bls.PublicKey) (dataJSON[outcomeJSON], error) {
	deletions, err := s.Delete(publics...)
	if err != nil {
		return dataJSON[outcomeJSON]{}, err
	}
	wanted := make([]slashing.PublicKey, 0, len(publics))
	for i, public := range publics {
		if deletions[i] != ReadOnly {
			wanted = append(wanted, slashing.PublicKey(public))
		}
	}
	history, err := archive.Export(ctx, wanted)
	if err != nil {
		return dataJSON[outcomeJSON]{}, fmt.Errorf("the keys are deleted, but their slashing data could not be exported; delete them again to get it: %w", err)
	}
	document, err := history.MarshalJSON()
	if err != nil {
		return dataJSON[outcomeJSON]{}, err
	}
	text := string(document)
	answer := dataJSON[outcomeJSON]{Data: make([]outcomeJSON, len(publics)), SlashingProtection: &text}
	for i, public := range publics {
		answer.Data[i] = deletionOutcome(deletions[i], history, slashing.PublicKey(public))
	}
	return answer, nil
}

func deletionOutcome(d Deletion, history slashing.Interchange, public slashing.PublicKey) outcomeJSON {
	switch _, known := history.States[public]; {
	case d == Deleted:
		return outcome("deleted")
	case d == ReadOnly:
		return failed(ErrReadOnly)
	case known:
		return outcome("not_active")
	}
	return outcome("not_found")
}

// filter keeps the history of some keys.
func filter(history slashing.Interchange, publics []bls.PublicKey) slashing.Interchange {
	kept := slashing.Interchange{
		GenesisValidatorsRoot: history.GenesisValidatorsRoot,
		States:                make(map[slashing.PublicKey]slashing.State, len(publics)),
	}
	for public, state := range history.States {
		if slices.Contains(publics, bls.PublicKey(public)) {
			kept.States[public] = state
		}
	}
	return kept
}
