package ethereum

import (
	"context"
	"net/http"
	"time"

	"holdfast/enclave/slashing"
)

// probeTimeout bounds the question whether the slashing store works.
const probeTimeout = 3 * time.Second

type health struct {
	Status  status  `json:"status"`
	Checks  []check `json:"checks"`
	Outcome status  `json:"outcome"`
}

type check struct {
	ID     string     `json:"id"`
	Status status     `json:"status"`
	Checks []check    `json:"checks,omitempty"`
	Data   *keysCheck `json:"data,omitempty"`
}

// keysCheck counts keys. A release is taken whole or not at all, so there is never
// a key that did not load.
type keysCheck struct {
	Loaded int `json:"keys-loaded"`
	Errors int `json:"error-count"`
}

type status string

func up(ok bool) status {
	if ok {
		return "UP"
	}
	return "DOWN"
}

// serveHealth answers in Web3Signer's shape: 200 if the signer can sign, 503 if it
// has no keys yet or its slashing store fails.
func (s *Service) serveHealth(w http.ResponseWriter, r *http.Request) {
	signer := s.loaded.Load()
	ready := signer != nil
	recording := ready && signer.probe(r.Context()) == nil
	outcome := up(ready && recording)
	code := http.StatusOK
	if outcome != up(true) {
		code = http.StatusServiceUnavailable
	}
	keys := check{ID: "config-files-loading", Status: up(ready), Data: &keysCheck{Loaded: s.held()}}
	writeJSON(w, code, health{
		Status: outcome,
		Checks: []check{
			{ID: "default-check", Status: up(true)},
			{ID: "keys-check", Status: keys.Status, Checks: []check{keys}},
			{ID: "slashing-protection-db-health-check", Status: up(recording)},
		},
		Outcome: outcome,
	})
}

func (s *signer) probe(ctx context.Context) error {
	prober, ok := s.Slashing.(slashing.Prober)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	return prober.Probe(ctx)
}

type highWatermark struct {
	Epoch string `json:"epoch,omitempty"`
	Slot  string `json:"slot,omitempty"`
}

// serveHighWatermark answers with the high watermark, or with {} if none is set.
func (s *Service) serveHighWatermark(w http.ResponseWriter, _ *http.Request) {
	var answer highWatermark
	if signer := s.loaded.Load(); signer != nil && signer.HighWatermark != nil {
		answer = highWatermark{decimal(signer.HighWatermark.Epoch), decimal(signer.HighWatermark.Slot)}
	}
	writeJSON(w, http.StatusOK, answer)
}
