package serve

import (
	"errors"
	"io"
	"log/slog"
	"mime"
	"net/http"

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

// releaseType is the media type of a release.
const releaseType = "application/octet-stream"

type releaseAnswer struct {
	PublicKeys []string `json:"public_keys"`
}

func (h *releaseHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != releaseType {
		writeError(w, http.StatusUnsupportedMediaType, "want content type "+releaseType)
		return
	}
	sealed, status, err := readBody(w, r)
	if err != nil {
		writeError(w, status, err.Error())
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

var (
	errReleaseTooLarge = errors.New("want a body of at most 1 MiB")
	errReleaseCutShort = errors.New("the body was cut short")
)

// readBody reads a body of at most maxReleaseSize, or says with which status
// to refuse it.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, int, error) {
	if r.ContentLength > maxReleaseSize {
		return nil, http.StatusRequestEntityTooLarge, errReleaseTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxReleaseSize))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, http.StatusRequestEntityTooLarge, errReleaseTooLarge
	case err != nil:
		return nil, http.StatusBadRequest, errReleaseCutShort
	}
	return body, http.StatusOK, nil
}
