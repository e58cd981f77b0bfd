package devnet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// A beacon asks a beacon node, by the Beacon API (ethereum/beacon-APIs).
type beacon struct{ url string }

// A progress is how far the chain has come.
type progress struct {
	head                 uint64 // slot of the newest block
	justified, finalised uint64 // epochs
}

// maxAnswer bounds an answer: a validator takes some 500 bytes.
const maxAnswer = 1 << 20

func (b beacon) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d: %.200s", path, resp.StatusCode, body)
	}
	return json.Unmarshal(body, into)
}

func (b beacon) progress(ctx context.Context) (progress, error) {
	var checkpoints struct {
		Data struct {
			Justified checkpoint `json:"current_justified"`
			Finalised checkpoint `json:"finalized"`
		}
	}
	if err := b.get(ctx, "/eth/v1/beacon/states/head/finality_checkpoints", &checkpoints); err != nil {
		return progress{}, err
	}
	var head struct {
		Data struct {
			Header struct {
				Message struct {
					Slot uint64 `json:",string"`
				}
			}
		}
	}
	if err := b.get(ctx, "/eth/v1/beacon/headers/head", &head); err != nil {
		return progress{}, err
	}
	return progress{head.Data.Header.Message.Slot, checkpoints.Data.Justified.Epoch, checkpoints.Data.Finalised.Epoch}, nil
}

type checkpoint struct {
	Epoch uint64 `json:",string"`
}

// A standing is how the chain holds one validator.
type standing struct {
	Index     uint64 `json:",string"`
	Status    string
	Validator struct {
		PublicKey string `json:"pubkey"`
		Slashed   bool
	}
}

func (b beacon) validators(ctx context.Context) ([]standing, error) {
	var answer struct{ Data []standing }
	err := b.get(ctx, "/eth/v1/beacon/states/head/validators", &answer)
	return answer.Data, err
}
