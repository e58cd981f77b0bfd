package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"time"

	"holdfast/enclave/unseal"
)

// A Releaser takes what was sealed to the enclave and returns the public keys
// it now signs with. [unseal.ErrFilled] says that it did so before; any other
// error says what is wrong with what was sealed, and holds no secret.
type Releaser interface {
	Release(sealed []byte) (publicKeys []string, err error)
}

// releaseHandler serves POST /release.
type releaseHandler struct {
	releaser Releaser
	log      *slog.Logger
}

const (
	releasePath = "/release"
	releaseType = "application/octet-stream" // its media type

	// maxReleaseSize bounds a sealed data key: HPKE's encapsulated key takes 1120
	// bytes, the message and its tag 116 (verify/envelope).
	maxReleaseSize = 4 << 10
)

type releaseAnswer struct {
	PublicKeys []string `json:"public_keys"`
}

func (h *releaseHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != releaseType {
		writeError(w, http.StatusUnsupportedMediaType, "want content type "+releaseType)
		return
	}
	sealed := bodyOf(r)
	if len(sealed) > maxReleaseSize {
		writeError(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("got %d bytes, want at most %d", len(sealed), maxReleaseSize))
		return
	}
	// Ten thousand keys take their time to load.
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(keysTimeout)); err != nil {
		writeError(w, http.StatusInternalServerError, "internal error")
		return
	}
	publicKeys, err := h.releaser.Release(sealed)
	switch {
	case errors.Is(err, unseal.ErrFilled):
		writeError(w, http.StatusConflict, err.Error())
	case err != nil:
		h.log.Warn("a release was refused", "error", err)
		writeError(w, http.StatusBadRequest, err.Error())
	default:
		h.log.Info("keys were released", "count", len(publicKeys))
		writeJSON(w, http.StatusOK, releaseAnswer{publicKeys})
	}
}
