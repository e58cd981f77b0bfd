package serve

import (
	"net/http"
	"strings"
	"time"

	"holdfast/enclave/serve/access"
)

// keyManagerPath is above all that the key manager serves.
const keyManagerPath = "/eth/v1/"

// keyManager lets through those who may manage keys: a client whose entry says so,
// or whoever sends the token, as ethereum/keymanager-APIs asks. Web3Signer lets
// everybody.
func (s *Server) keyManager(handler http.Handler) http.Handler {
	if handler == nil {
		handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeError(w, http.StatusNotFound, "no such path")
		})
	}
	next := s.receive(s.afford(handler))
	return s.admit(func(w http.ResponseWriter, r *http.Request, g *generation, _ *access.Refusal) {
		client, _ := r.Context().Value(clientKey{}).(*access.Client)
		token, sent := bearer(r)
		switch {
		case !g.KeyManager:
			writeError(w, http.StatusNotFound, "the key manager is off (hint: \"api\":{\"keymanager\":true} in the configuration)")
		case client != nil && client.KeyManager || sent && g.hasSent(token):
			// Keystores take their time to open.
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(keysTimeout)); err != nil {
				writeError(w, http.StatusInternalServerError, "internal error")
				return
			}
			next.ServeHTTP(w, r)
		case sent:
			s.refuse(w, http.StatusForbidden, "keymanager_token", "keymanager_token: the bearer token is wrong")
		default:
			w.Header().Set("WWW-Authenticate", "Bearer")
			s.refuse(w, http.StatusUnauthorized, "keymanager", "keymanager: want a bearer token, or the certificate of a client that may manage keys")
		}
	})
}

// bearer returns the token of a request's Authorization (RFC 6750 section 2.1).
func bearer(r *http.Request) (string, bool) {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimLeft(token, " "), ok && strings.EqualFold(scheme, "Bearer")
}
