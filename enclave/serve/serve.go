// Package serve is the enclave's HTTPS server.
//
// TLS ends here, inside the enclave: the parent carries ciphertext. The server
// asks every client for a certificate and tells by it who sends a request (package
// access), but leaves what a client may have signed to the signer. It bounds what
// anybody can make it hold or wait for, contains a handler's panic, and answers in
// JSON; what /attestation, /release and the signer's paths do comes from whoever
// implements the interfaces of [Config] and [Settings].
//
// Identity, clients and limits may be changed while requests are under way.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// Config is what a server serves. Every field but KeyManager is needed.
type Config struct {
	Settings Settings // until the first Apply
	Releaser Releaser
	Signer   http.Handler // serves /api/v1/eth2/ and whatever path is nobody else's
	Log      *slog.Logger

	// Enclave is what the enclave says of itself, for /status; it may be nil.
	Enclave func() any

	// KeyManager serves /eth/v1/keystores, to those whom the settings allow it.
	KeyManager http.Handler
}

// A Server answers requests. Make one with [New].
type Server struct {
	http     *http.Server
	log      *slog.Logger
	current  atomic.Pointer[generation]
	listener atomic.Pointer[limitedListener]
	gate     gate
	bodies   atomic.Int64 // bytes held
	work     *semaphore.Weighted
	refused  reports
	enclave  func() any
}

// New makes a server; nothing listens yet.
func New(c Config) (*Server, error) {
	if c.Releaser == nil || c.Signer == nil || c.Log == nil {
		return nil, errors.New("serve: incomplete configuration")
	}
	s := &Server{log: c.Log, work: semaphore.NewWeighted(maxWork), refused: reports{log: c.Log}, enclave: c.Enclave}
	g, err := s.newGeneration(c.Settings)
	if err != nil {
		return nil, err
	}
	s.current.Store(g)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	s.http = &http.Server{
		Handler:           contain(c.Log, s.routes(c)),
		TLSConfig:         &tls.Config{GetConfigForClient: s.handshake, MinVersion: tls.VersionTLS12},
		Protocols:         &protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerStream: streamBuffer, MaxReceiveBufferPerConnection: connectionBuffer, SendPingTimeout: pingAfter, PingTimeout: headerTimeout, WriteByteTimeout: writeTimeout},
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderSize,
		ConnContext:       withConnection,
		// Below the level of a console: whoever connects could fill it.
		ErrorLog: slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// handshake gives a connection the identity in force, and a client that is one the
// time to make use of it. HTTP/2 begins without a request.
func (s *Server) handshake(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	g := s.current.Load()
	c, ok := hello.Conn.(*connection)
	if !ok {
		return g.tls, nil
	}
	c.presented.Store(g)
	config := g.tls.Clone()
	config.VerifyConnection = func(state tls.ConnectionState) error {
		_, refusal := g.Clients.Identify(state.PeerCertificates, time.Now())
		c.patient.Store(refusal == nil && state.NegotiatedProtocol != "h2")
		return nil // whoever is refused hears why in an answer
	}
	return config, nil
}

func (s *Server) routes(c Config) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/upcheck", s.open(methods(http.HandlerFunc(upcheck), http.MethodGet, http.MethodHead)))
	mux.Handle("/attestation", s.open(methods(http.HandlerFunc(s.attestation), http.MethodGet)))
	mux.Handle(releasePath, s.open(methods(s.receive(&releaseHandler{releaser: c.Releaser, log: c.Log}), http.MethodPost)))
	// Neither shows what a client could not see, and neither a load balancer nor
	// Prometheus has a client's certificate.
	mux.Handle("/healthcheck", s.open(s.receive(c.Signer)))
	mux.Handle("/metrics", s.open(s.receive(c.Signer)))
	mux.Handle("/status", s.known(methods(http.HandlerFunc(s.serveStatus), http.MethodGet)))
	mux.Handle(keyManagerPath, s.keyManager(c.KeyManager))
	mux.Handle("/", s.known(s.receive(s.afford(c.Signer))))
	return mux
}

// Serve accepts connections until ctx ends, lets the requests under way
// finish, and closes the listener. It returns nil after that.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	limited := limit(listener, func() int { return s.current.Load().Limits.Connections }, spareConnections)
	s.listener.Store(limited)
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
	err := s.http.ServeTLS(limited, "", "")
	if stop() {
		_ = s.http.Close()
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}

// upcheck answers as Web3Signer does, without a newline, and in JSON to whoever
// accepts nothing else, where Web3Signer answers 406.
func upcheck(w http.ResponseWriter, r *http.Request) {
	if acceptsOnlyJSON(r.Header.Values("Accept")) {
		writeJSON(w, http.StatusOK, struct {
			Status string `json:"status"`
		}{"OK"})
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("OK"))
}

// acceptsOnlyJSON reports whether there is an Accept and no entry of it is text.
func acceptsOnlyJSON(headers []string) bool {
	json := false
	for _, header := range headers {
		for entry := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(entry, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "*/*", "text/*", "text/plain":
				return false
			case "application/json", "application/*":
				json = true
			}
		}
	}
	return json
}

// attestation serves the attester of the identity that the connection presented.
func (s *Server) attestation(w http.ResponseWriter, r *http.Request) {
	g := s.current.Load()
	if c := connectionOf(r.Context()); c != nil && c.presented.Load() != nil {
		g = c.presented.Load()
	}
	g.attestation.ServeHTTP(w, r)
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

// contain makes a handler's panic an answer of 500 and a line in the log. The line
// says where, not what: the value of a panic may hold what a request held.
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
