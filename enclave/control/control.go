// Package control serves the enclave's control port: what the parent, and nobody
// else, may ask. Package message has its routes and what they carry.
//
// The port speaks HTTP/1.1 without TLS, since there is no secret on it that the
// parent does not hold already, and no authentication: who reaches vsock is the
// parent. So nothing behind an [Enclave] may trust what comes through here. Every
// message is bounded, every request has a deadline, and few are served at once.
package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
)

// An Enclave is what the control port speaks for. Its errors are shown to the
// parent and hold no secret; [ErrRefused] and the others say which status they have.
type Enclave interface {
	Status() message.Status

	// Present takes an envelope of a bundle.
	Present(ctx context.Context, envelope []byte) error

	SetCredentials(message.Credentials) error

	// Head names the journal; Vouch takes the operator's word that it is current.
	Head() (message.Head, error)
	Vouch(message.Statement) error

	// PublicKeys are those of the bundle in force. Bound is what no watermark may be
	// raised beyond.
	PublicKeys() []slashing.PublicKey
	Bound() (epoch, slot uint64, err error)

	// Archive moves signing history. It fails while there is no store.
	Archive() (slashing.Archive, error)

	Generate(context.Context, message.Generate) (message.Generated, error)
	ImportTables(context.Context, message.Tables) (message.Generated, error)
}

// Errors that have a status of their own, to be wrapped. Any other is a bad request.
var (
	ErrRefused  = errors.New("refused")           // 403: whoever asks has not shown the right
	ErrConflict = errors.New("not in this state") // 409
	ErrFailed   = errors.New("failed")            // 500: the enclave or what it needs is at fault
)

// Bounds of the server.
const (
	maxConnections = 32
	headerTimeout  = 10 * time.Second
	readTimeout    = time.Minute
	writeTimeout   = 5 * time.Minute // keys are made, tables decrypted
	idleTimeout    = 2 * time.Minute
	maxHeaderSize  = 16 << 10
	shutdownGrace  = 2 * time.Second
)

// Config is what a server serves. Every field is needed.
type Config struct {
	Enclave Enclave
	Metrics http.Handler
	Logs    *Ring
	Log     *slog.Logger
}

// A Server answers the parent. Make one with [New].
type Server struct {
	Config
	http *http.Server
}

// New makes a server; nothing listens yet.
func New(c Config) (*Server, error) {
	if c.Enclave == nil || c.Metrics == nil || c.Logs == nil || c.Log == nil {
		return nil, errors.New("control: incomplete configuration")
	}
	s := &Server{Config: c}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderSize,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", s.status)
	mux.Handle("GET /metrics", s.Metrics)
	mux.HandleFunc("GET /logs", s.logs)
	mux.HandleFunc("PUT /bundle", s.bundle)
	mux.HandleFunc("PUT /credentials", s.credentials)
	mux.HandleFunc("GET /slashing/head", s.head)
	mux.HandleFunc("POST /slashing/vouch", s.vouch)
	mux.HandleFunc("GET /slashing/watermarks", s.watermarks)
	mux.HandleFunc("POST /slashing/watermarks", s.raise)
	mux.HandleFunc("GET /slashing/interchange", s.export)
	mux.HandleFunc("POST /slashing/interchange", s.importHistory)
	mux.HandleFunc("POST /keys", s.generate)
	mux.HandleFunc("POST /tables", s.tables)
	return mux
}

// Serve accepts connections until ctx ends, and returns nil after that.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if s.http.Shutdown(grace) != nil {
			_ = s.http.Close()
		}
	})
	defer stop()
	err := s.http.Serve(limit(listener, maxConnections))
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("control: %w", err)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, s.Enclave.Status(), nil)
}

func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	if err != nil && r.URL.RawQuery != "" {
		fail(w, fmt.Errorf("got query %q, want after=N", r.URL.RawQuery))
		return
	}
	answer(w, s.Logs.After(after), nil)
}

func (s *Server) bundle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, message.MaxBundleSize))
	if err == nil {
		err = s.Enclave.Present(r.Context(), body)
	}
	answer(w, s.Enclave.Status(), err)
}

func (s *Server) credentials(w http.ResponseWriter, r *http.Request) {
	var given message.Credentials
	err := read(w, r, &given)
	if err == nil {
		err = s.Enclave.SetCredentials(given)
	}
	done(w, err)
}

func (s *Server) head(w http.ResponseWriter, _ *http.Request) {
	head, err := s.Enclave.Head()
	answer(w, head, err)
}

func (s *Server) vouch(w http.ResponseWriter, r *http.Request) {
	var statement message.Statement
	err := read(w, r, &statement)
	if err == nil {
		err = s.Enclave.Vouch(statement)
	}
	done(w, err)
}

func (s *Server) generate(w http.ResponseWriter, r *http.Request) {
	var asked message.Generate
	err := read(w, r, &asked)
	var made message.Generated
	if err == nil {
		made, err = s.Enclave.Generate(r.Context(), asked)
	}
	answer(w, made, err)
}

func (s *Server) tables(w http.ResponseWriter, r *http.Request) {
	var rows message.Tables
	err := readUpTo(w, r, message.MaxBundleSize, &rows)
	var made message.Generated
	if err == nil {
		made, err = s.Enclave.ImportTables(r.Context(), rows)
	}
	answer(w, made, err)
}

// read decodes a message strictly: unknown members and anything after it are errors.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	return readUpTo(w, r, message.MaxSize, into)
}

func readUpTo(w http.ResponseWriter, r *http.Request, size int64, into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, size))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return clean(err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("want one JSON value and nothing after it")
	}
	return nil
}

// clean takes from an error of encoding/json what a message held: credentials may
// be among it.
func clean(err error) error {
	var kind *json.UnmarshalTypeError
	var size *http.MaxBytesError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("field %q is of the wrong type", kind.Field)
	case errors.As(err, &size):
		return fmt.Errorf("the message is longer than %d bytes", size.Limit)
	}
	return errors.New("the message is not the JSON that is wanted here")
}

// answer writes a value, or the error if there is one.
func answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	write(w, http.StatusOK, value)
}

func done(w http.ResponseWriter, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func fail(w http.ResponseWriter, err error) {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, ErrRefused):
		status = http.StatusForbidden
	case errors.Is(err, ErrConflict):
		status = http.StatusConflict
	case errors.Is(err, ErrFailed):
		status = http.StatusInternalServerError
	}
	write(w, status, struct {
		Error string `json:"error"`
		Code  int    `json:"code"`
	}{err.Error(), status})
}

func write(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"internal error","code":500}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
