// Package enclavetest is an enclave's HTTPS side in memory, for tests of the
// verifier: /attestation and /release on a loopback TLS listener.
//
// It has no Nitro Security Module of its own: whoever starts it says how
// documents are made. No program links it.
package enclavetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"holdfast/verify/binding"
	"holdfast/verify/envelope"
)

// An Attester makes an attestation document.
type Attester func(userData, nonce []byte) ([]byte, error)

// Options change how the enclave behaves. The zero value is a good one.
type Options struct {
	// Answer, when set, changes what /attestation answers.
	Answer func(*Answer)

	// SecondKey, when set, makes every TLS connection but the first present
	// another key.
	SecondKey bool

	// Handle, when set, may answer a request in the enclave's place. It
	// returns whether it did.
	Handle func(http.ResponseWriter, *http.Request) bool

	// TLS12 offers no TLS 1.3.
	TLS12 bool

	// Bundle is what the parent has given the enclave; nil if nothing.
	Bundle *envelope.Envelope
}

// An Answer is what /attestation answers.
type Answer struct {
	Document string `json:"document"`
	Binding  string `json:"binding"`
}

// An Enclave is a running server.
type Enclave struct {
	URL string

	attest  Attester
	options Options
	server  *httptest.Server

	mu          sync.Mutex
	connections int
	silent      bool
	bundle      *envelope.Envelope
	run         *run // the one that answers
}

// A run is one life of the enclave, with the keys that it made at its start.
type run struct {
	binding       binding.Binding
	key           hpke.PrivateKey
	first, second tls.Certificate
	released      []byte
}

func newRun(bundle *envelope.Envelope) (*run, error) {
	first, spki, err := certificate()
	if err != nil {
		return nil, err
	}
	second, _, err := certificate()
	if err != nil {
		return nil, err
	}
	key, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		return nil, err
	}
	bound := binding.Binding{TLSKey: spki, HPKEKey: key.PublicKey().Bytes()}
	if bundle != nil {
		bound.Configuration = bundle.ConfigurationDigest()
	}
	return &run{binding: bound, key: key, first: first, second: second}, nil
}

// Start starts an enclave.
func Start(attest Attester, options Options) (*Enclave, error) {
	run, err := newRun(options.Bundle)
	if err != nil {
		return nil, err
	}
	e := &Enclave{attest: attest, options: options, bundle: options.Bundle, run: run}
	e.server = httptest.NewUnstartedServer(http.HandlerFunc(e.serve))
	e.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	// httptest adds a certificate of its own to the configuration, which
	// GetConfigForClient goes past.
	e.server.TLS = &tls.Config{GetConfigForClient: e.config}
	e.server.StartTLS()
	e.URL = e.server.URL
	return e, nil
}

func (e *Enclave) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.silent {
		return nil, errors.New("silent")
	}
	e.connections++
	config := &tls.Config{Certificates: []tls.Certificate{e.run.first}}
	if e.connections > 1 && e.options.SecondKey {
		config.Certificates[0] = e.run.second
	}
	if e.options.TLS12 {
		config.MaxVersion = tls.VersionTLS12
	}
	return config, nil
}

// Restart ends the enclave's life and begins another at the same address, with
// other keys and nothing released. It returns a function that goes back to the
// life before, which an honest host cannot do.
func (e *Enclave) Restart() (revive func(), err error) {
	next, err := newRun(e.bundle)
	if err != nil {
		return nil, err
	}
	before := e.become(next)
	return func() { e.become(before) }, nil
}

func (e *Enclave) become(next *run) (before *run) {
	e.mu.Lock()
	before, e.run = e.run, next
	e.mu.Unlock()
	e.server.CloseClientConnections()
	return before
}

// Give replaces the bundle by a newer one of the same configuration, which then waits
// for its data key.
func (e *Enclave) Give(bundle *envelope.Envelope) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bundle, e.run.released = bundle, nil
}

// Silence makes the enclave answer nothing, or answer again.
func (e *Enclave) Silence(silent bool) {
	e.mu.Lock()
	e.silent = silent
	e.mu.Unlock()
	e.server.CloseClientConnections()
}

// Binding returns what the documents of the present life commit to.
func (e *Enclave) Binding() binding.Binding { return e.current().binding }

func (e *Enclave) current() *run {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.run
}

// certificate makes a self-signed certificate and returns its public key too.
func certificate() (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "enclave"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, spki, err
}

// Close stops the server.
func (e *Enclave) Close() { e.server.Close() }

// CloseConnections makes the next request use a new connection.
func (e *Enclave) CloseConnections() { e.server.CloseClientConnections() }

// Released returns the data key that the present life was given, or nil.
func (e *Enclave) Released() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.run.released
}

func (e *Enclave) serve(w http.ResponseWriter, r *http.Request) {
	switch {
	case e.options.Handle != nil && e.options.Handle(w, r):
	case r.Method == http.MethodGet && r.URL.Path == "/attestation":
		e.serveAttestation(w, r)
	case r.Method == http.MethodPost && r.URL.Path == "/release":
		e.serveRelease(w, r)
	default:
		refuse(w, http.StatusNotFound, "no such route")
	}
}

func (e *Enclave) serveAttestation(w http.ResponseWriter, r *http.Request) {
	nonce, err := hex.DecodeString(r.URL.Query().Get("nonce"))
	if err != nil || len(nonce) != 32 {
		refuse(w, http.StatusBadRequest, "nonce: want 64 hexadecimal digits")
		return
	}
	bound := e.Binding()
	digest := bound.Digest()
	document, err := e.attest(digest[:], nonce)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err.Error())
		return
	}
	answer := Answer{
		Document: base64.StdEncoding.EncodeToString(document),
		Binding:  base64.StdEncoding.EncodeToString(bound.Encode()),
	}
	if e.options.Answer != nil {
		e.options.Answer(&answer)
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func (e *Enclave) serveRelease(w http.ResponseWriter, r *http.Request) {
	sealed, err := io.ReadAll(io.LimitReader(r.Body, 8<<10))
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.run.released != nil:
		refuse(w, http.StatusConflict, "released already")
		return
	case e.bundle == nil:
		refuse(w, http.StatusConflict, "no bundle waits for a data key")
		return
	}
	dataKey, err := e.open(sealed)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	e.run.released = dataKey
	var keys []string
	for _, key := range e.bundle.PublicKeys {
		keys = append(keys, fmt.Sprintf("%#x", key))
	}
	_ = json.NewEncoder(w).Encode(map[string][]string{"public_keys": keys})
}

// open returns the data key of a release for the bundle.
func (e *Enclave) open(sealed []byte) ([]byte, error) {
	info := binding.ReleaseInfo(e.run.binding.Digest())
	message, err := hpke.Open(e.run.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	if err != nil {
		return nil, errors.New("not sealed to this enclave")
	}
	digest, dataKey, err := envelope.ParseRelease(message)
	if err != nil {
		return nil, err
	}
	if digest != e.bundle.Digest() {
		return nil, errors.New("the data key of another bundle")
	}
	if ours, err := e.bundle.Commits(dataKey); err != nil || !ours {
		return nil, errors.New("not the data key of this bundle")
	}
	return dataKey, nil
}

func refuse(w http.ResponseWriter, status int, message string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": message, "code": status})
}
