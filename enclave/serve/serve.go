// Package serve is the enclave's HTTPS server.
//
// TLS ends here, inside the enclave, with a key made at start: the parent
// carries ciphertext. The server holds no policy. It bounds what anybody can
// make it hold or wait for, contains a handler's panic, and answers in JSON;
// what /attestation, /release and the signer's paths do comes from whoever
// implements the interfaces of [Config].
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
)

// Config is what a server serves. Every field is needed.
type Config struct {
	Identity Identity
	Attester Attester
	Releaser Releaser
	Signer   http.Handler // serves /api/v1/eth2/
	Log      *slog.Logger
}

// A Server answers requests. Make one with [New].
type Server struct {
	http *http.Server
}

// New makes a server; nothing listens yet.
func New(c Config) (*Server, error) {
	if len(c.Identity.publicKey) == 0 || c.Attester == nil || c.Releaser == nil || c.Signer == nil || c.Log == nil {
		return nil, errors.New("serve: incomplete configuration")
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true) // no signer's client needs HTTP/2
	return &Server{&http.Server{
		Handler:           contain(c.Log, c.routes()),
		TLSConfig:         c.Identity.tlsConfig(),
		Protocols:         &protocols,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderSize,
		// Below the level of a console: whoever connects could fill it.
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}}, nil
}

func (c Config) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/upcheck", methods(http.HandlerFunc(upcheck), http.MethodGet, http.MethodHead))
	mux.Handle("/attestation", methods(newAttestationHandler(c.Attester, c.Log), http.MethodGet))
	mux.Handle("/release", methods(&releaseHandler{releaser: c.Releaser, log: c.Log}, http.MethodPost))
	mux.Handle("/api/v1/eth2/", c.Signer)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, http.StatusNotFound, "no such path")
	})
	return mux
}

// Serve accepts connections until ctx ends, lets the requests under way
// finish, and closes the listener. It returns nil after that.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err := s.http.Shutdown(grace)
		if err != nil {
			err = s.http.Close()
		}
		stopped <- err
	})
	err := s.http.ServeTLS(limit(listener, maxConnections), "", "")
	if stop() {
		_ = s.http.Close()
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// upcheck answers as Web3Signer does: no newline.
func upcheck(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("OK"))
}

// methods lets requests with these methods through.
func methods(next http.Handler, allowed ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, method := range allowed {
			if r.Method == method {
				next.ServeHTTP(w, r)
				return
			}
		}
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeError(w, http.StatusMethodNotAllowed, "want method "+strings.Join(allowed, " or "))
	})
}

// contain bounds every body, and makes a handler's panic an answer of 500 and
// a line in the log. The line says where, not what: the value of a panic may
// hold what a request held.
func contain(log *slog.Logger, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			fault := recover()
			if fault == nil {
				return
			}
			if fault == http.ErrAbortHandler {
				panic(fault) // net/http's own way to drop a connection
			}
			log.Error("a handler panicked", "type", fmt.Sprintf("%T", fault), "at", panicked())
			writeError(w, http.StatusInternalServerError, "internal error")
		}()
		r.Body = http.MaxBytesReader(w, r.Body, maxBodySize)
		next.ServeHTTP(w, r)
	})
}

// panicked names the functions and lines on the stack of a panic, innermost
// first, without their arguments.
func panicked() string {
	const skip, depth = 4, 8 // Callers, panicked, the deferred function, gopanic
	counters := make([]uintptr, depth)
	frames := runtime.CallersFrames(counters[:runtime.Callers(skip, counters)])
	var out strings.Builder
	for {
		frame, more := frames.Next()
		fmt.Fprintf(&out, "%s:%d ", frame.Function, frame.Line)
		if !more {
			return strings.TrimSpace(out.String())
		}
	}
}
