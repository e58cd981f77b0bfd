package control

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
)

// export answers with what the store remembers of every key, as EIP-3076 has it.
func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	history, err := s.history(r.Context())
	answer(w, history, err)
}

func (s *Server) history(ctx context.Context) (slashing.Interchange, error) {
	archive, err := s.Enclave.Archive()
	if err != nil {
		return slashing.Interchange{}, err
	}
	history, err := archive.Export(ctx, nil)
	if err != nil {
		return slashing.Interchange{}, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return history, nil
}

// importHistory merges an EIP-3076 document into the store, all of it or nothing.
func (s *Server) importHistory(w http.ResponseWriter, r *http.Request) {
	history, err := slashing.ReadInterchange(http.MaxBytesReader(w, r.Body, message.MaxInterchangeSize))
	if err != nil {
		fail(w, err)
		return
	}
	result, err := s.merge(r.Context(), history)
	answer(w, result, err)
}

// merge imports a history and says what it changed.
func (s *Server) merge(ctx context.Context, history slashing.Interchange) (message.ImportResult, error) {
	before, err := s.history(ctx)
	if err != nil {
		return message.ImportResult{}, err
	}
	if history.GenesisValidatorsRoot != before.GenesisValidatorsRoot {
		return message.ImportResult{}, fmt.Errorf("the history is of the network with genesis validators root %#x, want %#x",
			history.GenesisValidatorsRoot, before.GenesisValidatorsRoot)
	}
	if err := s.checkBound(history); err != nil {
		return message.ImportResult{}, err
	}
	archive, err := s.Enclave.Archive()
	if err == nil {
		err = archive.Import(ctx, history)
	}
	if err != nil {
		return message.ImportResult{}, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	result := message.ImportResult{Keys: make(map[string]string, len(history.States))}
	for key, state := range history.States {
		outcome := "raised"
		if was := before.States[key]; slashing.Merge(was, state) == was {
			outcome = "unchanged"
		}
		result.Keys[name(key)] = outcome
	}
	return result, nil
}

// checkBound refuses history that no validator can have, which would forbid signing
// for longer than the parent could.
func (s *Server) checkBound(history slashing.Interchange) error {
	epoch, slot, err := s.Enclave.Bound()
	if err != nil {
		return err
	}
	for key, state := range history.States {
		if state.Block.Slot > slot || state.Attestation.Target > epoch {
			return fmt.Errorf("key %s: slot %d or target epoch %d is more than a day ahead, where slot %d in epoch %d is", name(key), state.Block.Slot, state.Attestation.Target, slot, epoch)
		}
	}
	return nil
}

func name(key slashing.PublicKey) string { return "0x" + hex.EncodeToString(key[:]) }

func (s *Server) watermarks(w http.ResponseWriter, r *http.Request) {
	history, err := s.history(r.Context())
	answer(w, marks(history), err)
}

// marks lists the watermarks of a history in the order of its keys.
func marks(history slashing.Interchange) []message.Watermark {
	list := make([]message.Watermark, 0, len(history.States))
	for key, state := range history.States {
		mark := message.Watermark{PublicKey: name(key)}
		if state.Block.Signed {
			mark.Slot = &state.Block.Slot
		}
		if state.Attestation.Signed {
			mark.Source, mark.Target = &state.Attestation.Source, &state.Attestation.Target
		}
		list = append(list, mark)
	}
	slices.SortFunc(list, func(a, b message.Watermark) int { return strings.Compare(a.PublicKey, b.PublicKey) })
	return list
}

// raise lifts watermarks. It is an import of invented history, so it can lower
// nothing.
func (s *Server) raise(w http.ResponseWriter, r *http.Request) {
	var asked message.Raise
	err := read(w, r, &asked)
	var history slashing.Interchange
	if err == nil {
		history, err = s.invent(r.Context(), asked)
	}
	if err == nil {
		_, err = s.merge(r.Context(), history)
	}
	if err != nil {
		fail(w, err)
		return
	}
	s.watermarks(w, r)
}

// invent makes the history that raises what is asked.
func (s *Server) invent(ctx context.Context, asked message.Raise) (slashing.Interchange, error) {
	state, err := stateOf(asked)
	if err != nil {
		return slashing.Interchange{}, err
	}
	known, err := s.history(ctx)
	if err != nil {
		return known, err
	}
	invented := slashing.Interchange{GenesisValidatorsRoot: known.GenesisValidatorsRoot, States: make(map[slashing.PublicKey]slashing.State)}
	if len(asked.PublicKeys) == 0 {
		for _, key := range slices.Concat(slices.Collect(maps.Keys(known.States)), s.Enclave.PublicKeys()) {
			invented.States[key] = state
		}
	}
	for _, text := range asked.PublicKeys {
		key, err := parseKey(text)
		if err != nil {
			return invented, err
		}
		invented.States[key] = state
	}
	if len(invented.States) == 0 {
		return invented, errors.New("neither the bundle nor the store has a key: name those whose watermarks to raise")
	}
	return invented, nil
}

func stateOf(asked message.Raise) (slashing.State, error) {
	var state slashing.State
	if (asked.Source == nil) != (asked.Target == nil) {
		return state, errors.New("source_epoch and target_epoch go together")
	}
	if asked.Source == nil && asked.Slot == nil {
		return state, errors.New("want a slot, or source_epoch and target_epoch, to raise to")
	}
	if asked.Source != nil {
		if *asked.Source > *asked.Target {
			return state, fmt.Errorf("source epoch %d is above target epoch %d", *asked.Source, *asked.Target)
		}
		state.Attestation = slashing.AttestationMark{Signed: true, Source: *asked.Source, Target: *asked.Target}
	}
	if asked.Slot != nil {
		state.Block = slashing.BlockMark{Signed: true, Slot: *asked.Slot}
	}
	return state, nil
}

func parseKey(text string) (key slashing.PublicKey, err error) {
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || len(digits) != hex.EncodedLen(len(key)) {
		return key, fmt.Errorf("got public key %.110q, want 0x and %d hexadecimal digits", text, hex.EncodedLen(len(key)))
	}
	if _, err := hex.Decode(key[:], []byte(digits)); err != nil {
		return key, fmt.Errorf("got public key %.110q, want 0x and hexadecimal digits", text)
	}
	return key, nil
}
