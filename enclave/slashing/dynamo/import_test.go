package dynamo_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/enclave/slashing"
)

// history returns marks for keys, all above those of a key that is new.
func history(keys int) slashing.Interchange {
	h := slashing.Interchange{GenesisValidatorsRoot: network, States: make(map[slashing.PublicKey]slashing.State)}
	for n := range keys {
		h.States[key(n)] = slashing.State{Block: slashing.BlockMark{Signed: true, Slot: 100 + uint64(n)}}
	}
	return h
}

// cutAt loses everything from the n-th request on.
func cutAt(n int64, last func(string, *http.Request, http.RoundTripper) (*http.Response, error)) func(string, *http.Request, http.RoundTripper) (*http.Response, error) {
	var seen atomic.Int64
	return func(operation string, req *http.Request, next http.RoundTripper) (*http.Response, error) {
		switch now := seen.Add(1); {
		case now < n:
			return next.RoundTrip(req)
		case now == n:
			return last(operation, req, next)
		}
		return nil, errLost
	}
}

// An enclave that dies in the middle of an import leaves all of it or nothing to those that start after it, at
// whichever request it died, and whether or not that request still arrived.
func TestAnImportCutShortAnywhereIsAllOrNothing(t *testing.T) {
	for keys, requests := range map[int]int64{
		3:   2, // a read, a transaction
		130: 7, // what is written down and two reads of records, writing down, two transactions, striking out
	} {
		for name, last := range map[string]func(string, *http.Request, http.RoundTripper) (*http.Response, error){
			"before": afterNothing, "after": afterwards,
		} {
			for cut := range requests + 1 {
				t.Run(fmt.Sprintf("%d keys, cut %s request %d", keys, name, cut+1), func(t *testing.T) {
					t.Parallel()
					importCutAt(t, keys, cutAt(cut+1, last))
				})
			}
		}
	}
}

func importCutAt(t *testing.T, keys int, fault func(string, *http.Request, http.RoundTripper) (*http.Response, error)) {
	tab := newTable(t, local.Server(t).Endpoint())
	s, w := openOn(t, tab.config())
	expect(t, s, key(1), proposal(5, 1), 1)
	w.set(fault)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := s.Import(ctx, history(keys))
	all, exportErr := open(t, tab.config()).Export(t.Context(), nil)
	if exportErr != nil {
		t.Fatal(exportErr)
	}
	imported := 0
	for n := range keys {
		if all.States[key(n)].Block.Slot == 100+uint64(n) {
			imported++
		}
	}
	if imported != 0 && imported != keys || err == nil && imported != keys {
		t.Errorf("%d of %d keys have the history, and the import said %v", imported, keys, err)
	}
	w.set(nil)
	if err := s.Import(t.Context(), history(keys)); err != nil {
		t.Errorf("a second import: %v", err)
	}
	expect(t, s, key(keys-1), proposal(99, 1), 2)
}

func TestAnImportOfSeveralPartsIsExported(t *testing.T) {
	tab := newTable(t, local.Server(t).Endpoint())
	s := open(t, tab.config())
	if err := s.Import(t.Context(), history(3_000)); err != nil {
		t.Fatal(err)
	}
	all, err := open(t, tab.config()).Export(t.Context(), nil)
	if err != nil || len(all.States) != 3_000 {
		t.Fatalf("got %d keys, %v", len(all.States), err)
	}
	for n := range 3_000 {
		if got := all.States[key(n)].Block.Slot; got != 100+uint64(n) {
			t.Fatalf("key %d has slot %d", n, got)
		}
	}
}

func TestAnImportWithMoreKeysThanFitIsRefusedWhole(t *testing.T) {
	s, w := openOn(t, newTable(t, local.Server(t).Endpoint()).config())
	h := history(25_001)
	if err := s.Import(t.Context(), h); err == nil || !strings.Contains(err.Error(), "split the file") {
		t.Errorf("got %v", err)
	}
	if all, by := w.count(); all != 0 {
		t.Errorf("it cost %v", by)
	}
}
