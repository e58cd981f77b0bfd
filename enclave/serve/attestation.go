package serve

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"holdfast/enclave/attest"
)

// An Attester makes an attestation document with the nonce, and the binding
// that its user_data digests. It ends with ctx.
type Attester interface {
	Attest(ctx context.Context, nonce [attest.NonceSize]byte) (attest.Evidence, error)
}

// attestationHandler serves GET /attestation?nonce=<64 hexadecimal digits>.
type attestationHandler struct {
	attester Attester
	log      *slog.Logger
	places   chan struct{}
}

func newAttestationHandler(attester Attester, log *slog.Logger) *attestationHandler {
	return &attestationHandler{attester: attester, log: log, places: make(chan struct{}, maxAttestations)}
}

// attestationAnswer holds standard base64.
type attestationAnswer struct {
	Document []byte `json:"document"`
	Binding  []byte `json:"binding"`
}

func (h *attestationHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	nonce, err := parseNonce(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		writeBusy(w)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), attestationTimeout)
	defer cancel()
	evidence, err := h.attester.Attest(ctx, nonce)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		writeBusy(w)
	case err != nil:
		h.log.Error("attestation failed", "error", err)
		writeError(w, http.StatusInternalServerError, "the module made no document")
	default:
		writeJSON(w, http.StatusOK, attestationAnswer{evidence.Document, evidence.Binding})
	}
}

func writeBusy(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "1")
	writeError(w, http.StatusServiceUnavailable, "the module is busy, try again")
}

// parseNonce reads a query of exactly one nonce, in the one spelling that has
// no escapes. Digits may be of either case.
func parseNonce(query string) (nonce [attest.NonceSize]byte, err error) {
	digits, ok := strings.CutPrefix(query, "nonce=")
	if !ok || len(digits) != hex.EncodedLen(len(nonce)) {
		return nonce, errNonce
	}
	if _, err := hex.Decode(nonce[:], []byte(digits)); err != nil {
		return [attest.NonceSize]byte{}, errNonce
	}
	return nonce, nil
}

var errNonce = errors.New("want a query of nonce=<64 hexadecimal digits> and nothing else")
