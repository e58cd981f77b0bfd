package ethereum

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"holdfast/enclave/ethereum/bls"
)

// maxBody bounds a request. The largest real one, a full Altair block with every
// list full, is some 2 MiB of JSON.
const maxBody = 8 << 20

// readAhead is the most that is set aside for a body on its sender's word.
const readAhead = 16 << 10

const (
	signPath       = "/api/v1/eth2/sign/{identifier}"
	publicKeysPath = "/api/v1/eth2/publicKeys"

	jsonType = "application/json; charset=utf-8"
	textType = "text/plain; charset=utf-8"
)

// Register adds the service's routes to mux.
func (s *Service) Register(mux *http.ServeMux) {
	mux.HandleFunc("POST "+signPath, s.serveSign)
	mux.HandleFunc(signPath, methodNotAllowed("POST"))
	mux.HandleFunc("GET "+publicKeysPath, s.servePublicKeys)
	mux.HandleFunc(publicKeysPath, methodNotAllowed("GET, HEAD"))
}

// Handler returns a handler of the service's routes alone; other paths are 404.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	s.Register(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, fmt.Errorf("no such path: %.100q", r.URL.Path))
	})
	return mux
}

func methodNotAllowed(allow string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		writeError(w, http.StatusMethodNotAllowed, fmt.Errorf("method %.20q is not allowed here, want %s", r.Method, allow))
	}
}

func (s *Service) servePublicKeys(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, true, "application/json", "application/*", "*/*") {
		writeError(w, http.StatusNotAcceptable, errors.New("public keys are only listed as application/json"))
		return
	}
	listing := []byte("[]")
	if signer := s.loaded.Load(); signer != nil {
		listing = signer.listing
	}
	w.Header().Set("Content-Type", jsonType)
	w.Write(listing)
}

func (s *Service) serveSign(w http.ResponseWriter, r *http.Request) {
	body, no := readBody(w, r)
	if no != nil {
		s.answerRefusal(w, r, no)
		return
	}
	signer := s.loaded.Load()
	if signer == nil {
		s.answerRefusal(w, r, refuse(http.StatusNotFound, "not_released", errors.New("no keys are released to this signer yet")))
		return
	}
	signature, message, no := signer.sign(r.Context(), signer.client(r), r.PathValue("identifier"), body)
	if no != nil {
		s.answerRefusal(w, r, no, slog.String("type", string(message.Type)))
		return
	}
	writeSignature(w, r, signature)
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *refusal) {
	limited := http.MaxBytesReader(w, r.Body, maxBody)
	body := make([]byte, 0, min(max(r.ContentLength, 0), readAhead)+1)
	for {
		n, err := limited.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		if err == io.EOF {
			return body, nil
		}
		if err != nil {
			return nil, unreadable(err)
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
}

func unreadable(err error) *refusal {
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "too_large", fmt.Errorf("body is longer than %d bytes", tooLarge.Limit))
	}
	return refuse(http.StatusRequestTimeout, "unreadable", errors.New("the body did not arrive whole"))
}

// writeSignature answers in the form that Web3Signer chooses: JSON if any entry of
// Accept is JSON or everything, otherwise bare text without a newline.
func writeSignature(w http.ResponseWriter, r *http.Request, signature bls.Signature) {
	contentType, answer := textType, signature.String()
	if accepts(r, false, "application/json", "*/*") {
		contentType, answer = jsonType, `{"signature":"`+answer+`"}`
	}
	w.Header().Set("Content-Type", contentType)
	io.WriteString(w, answer)
}

// accepts reports whether any entry of Accept is one of types. Weights are
// ignored, as Web3Signer ignores them. missing is the answer without the header.
func accepts(r *http.Request, missing bool, types ...string) bool {
	headers := r.Header.Values("Accept")
	if len(headers) == 0 {
		return missing
	}
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(entry, ";")
			for _, t := range types {
				if strings.EqualFold(strings.TrimSpace(name), t) {
					return true
				}
			}
		}
	}
	return false
}

// answerRefusal says why there is no signature, to the client and, where an
// operator should know, to the log.
func (s *Service) answerRefusal(w http.ResponseWriter, r *http.Request, no *refusal, about ...slog.Attr) {
	level := slog.LevelDebug
	switch no.status {
	case http.StatusPreconditionFailed, http.StatusForbidden:
		level = slog.LevelWarn
	case http.StatusInternalServerError:
		level = slog.LevelError
	}
	attributes := append(about,
		slog.Int("status", no.status),
		slog.String("reason", no.reason),
		slog.String("key", fmt.Sprintf("%.100s", r.PathValue("identifier"))),
		slog.Any("error", no.err))
	s.logger.LogAttrs(r.Context(), level, "signing refused", attributes...)
	writeError(w, no.status, no.err)
}

type errorJSON struct {
	Error string `json:"error"`
	Code  int    `json:"code"`
}

func writeError(w http.ResponseWriter, status int, err error) {
	answer, _ := json.Marshal(errorJSON{err.Error(), status}) // a string and an int always marshal
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	w.Write(answer)
}
