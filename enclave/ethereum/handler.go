package ethereum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/jsontree"
	"holdfast/enclave/ethereum/signing"
)

// maxBody bounds a request. The largest real one, a full Altair block with every
// list full, is some 2 MiB of JSON.
const maxBody = 8 << 20

// readAhead is the most that is set aside for a body on its sender's word.
const readAhead = 16 << 10

const (
	jsonType = "application/json; charset=utf-8"
	textType = "text/plain; charset=utf-8"
)

// route is one method of one path.
type route struct {
	method, path string
	serve        http.HandlerFunc
}

func (s *Service) routes() []route {
	return []route{
		{"POST", "/api/v1/eth2/sign/{identifier}", s.serveSign},
		{"POST", "/api/v1/eth2/sign", s.serveBatch},
		{"GET", "/api/v1/eth2/publicKeys", s.servePublicKeys},
		{"GET", "/api/v1/eth2/highWatermark", s.serveHighWatermark},
		{"GET", "/api/v1/eth2/openapi.json", serveDescription},
		{"GET", "/healthcheck", s.serveHealth},
		{"GET", "/reload", s.serveReloadStatus},
		{"POST", "/reload", s.serveReload},
		{"GET", "/metrics", s.meter.registry.ServeHTTP},
	}
}

// Register adds the service's routes to mux, but for the key manager's.
func (s *Service) Register(mux *http.ServeMux) { register(mux, s.routes()) }

// register adds routes, and answers other methods of their paths with 405.
func register(mux *http.ServeMux, routes []route) {
	methods := map[string][]string{}
	for _, r := range routes {
		mux.HandleFunc(r.method+" "+r.path, r.serve)
		methods[r.path] = append(methods[r.path], r.method)
		if r.method == "GET" {
			methods[r.path] = append(methods[r.path], "HEAD")
		}
	}
	for path, allowed := range methods {
		mux.HandleFunc(path, methodNotAllowed(strings.Join(allowed, ", ")))
	}
}

// Handler returns a handler of the service's routes alone; other paths are 404.
func (s *Service) Handler() http.Handler { return alone(s.routes()) }

func alone(routes []route) http.Handler {
	mux := http.NewServeMux()
	register(mux, routes)
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

// servePublicKeys lists the keys that the client may use: a validator client takes
// every key it is shown for its own.
func (s *Service) servePublicKeys(w http.ResponseWriter, r *http.Request) {
	if !accepts(r, true, "application/json", "application/*", "*/*") {
		writeError(w, http.StatusNotAcceptable, errors.New("public keys are only listed as application/json"))
		return
	}
	listing := []byte("[]")
	if signer := s.loaded.Load(); signer != nil {
		listing = signer.list(signer.Client(r))
	}
	w.Header().Set("Content-Type", jsonType)
	_, _ = w.Write(listing)
}

func (s *Service) serveSign(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	signature, t, client, no := s.sign(w, r)
	s.meter.answered(t, no, client, time.Since(start))
	if no != nil {
		s.logRefusal(r.Context(), no, t, r.PathValue("identifier"))
		writeError(w, no.status, no.err)
		return
	}
	writeSignature(w, r, signature)
}

// sign reads and answers a request to sign. It returns what is known of the request
// in any case, for logs and metrics.
func (s *Service) sign(w http.ResponseWriter, r *http.Request) (_ bls.Signature, t signing.Type, client string, no *refusal) {
	body, no := readBody(w, r)
	if no != nil {
		return bls.Signature{}, "", "", no
	}
	signer := s.loaded.Load()
	if signer == nil {
		return bls.Signature{}, "", "", refuse(http.StatusNotFound, notReleased, errNotLoaded)
	}
	asking := signer.Client(r)
	message, no := signer.parseBody(body)
	if no != nil {
		return bls.Signature{}, message.Type, asking.Name, no
	}
	point := func() bls.Point { return bls.HashToPoint(message.SigningRoot) }
	signature, no := signer.sign(r.Context(), &asking, r.PathValue("identifier"), &message, point)
	return signature, message.Type, asking.Name, no
}

func (s *signer) parseBody(body []byte) (signing.Message, *refusal) {
	request, err := jsontree.Parse(body)
	if err != nil {
		return signing.Message{}, refuse(http.StatusBadRequest, malformed, err)
	}
	return s.parse(&request)
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
	_, _ = io.WriteString(w, answer)
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

// logRefusal tells the log why there is no signature, where an operator should
// know loudly.
func (s *Service) logRefusal(ctx context.Context, no *refusal, t signing.Type, identifier string) {
	level := slog.LevelDebug
	switch no.status {
	case http.StatusPreconditionFailed, http.StatusForbidden:
		level = slog.LevelWarn
	case http.StatusInternalServerError:
		level = slog.LevelError
	}
	s.logger.LogAttrs(ctx, level, "signing refused",
		slog.String("type", string(t)),
		slog.Int("status", no.status),
		slog.String("reason", no.reason),
		slog.String("key", fmt.Sprintf("%.100s", identifier)),
		slog.Any("error", no.err))
}

type errorJSON struct {
	Error string `json:"error"`
	Code  int    `json:"code"`
}

func writeError(w http.ResponseWriter, status int, err error) {
	writeJSON(w, status, errorJSON{err.Error(), status})
}

// writeJSON answers with a value that always encodes.
func writeJSON(w http.ResponseWriter, status int, value any) {
	answer, err := json.Marshal(value)
	if err != nil {
		status, answer = http.StatusInternalServerError, []byte(`{"error":"the answer could not be encoded","code":500}`)
	}
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
