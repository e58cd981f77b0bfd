// Package controltest is an enclave as its parent sees it: the control port's routes before an in-memory
// slashing store, for tests of what speaks to an enclave. It reads a bundle's clear part and opens none.
package controltest

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/enclave/control/client"
	"holdfast/enclave/control/message"
	"holdfast/enclave/slashing"
	"holdfast/enclave/slashing/slashingtest"
	"holdfast/verify/envelope"
)

// Enclave answers the control port. Its fields are set before it is used; [Enclave.Do] changes them
// afterwards.
type Enclave struct {
	// Open says why a bundle's data key does not come. Nil opens at once.
	Open func(message.Bundle, *message.Credentials) error
	// Verify says why a statement does not hold. Nil believes every one.
	Verify func(message.Statement) error

	// Make and Move answer for keys that are made and tables that are moved inside. An error is a refusal, of
	// status 400 unless it is a [*client.RefusedError]. Nil knows no such route.
	Make func(message.Generate) (message.Generated, error)
	Move func(message.Tables) (message.Generated, error)

	// Store is behind /slashing; it is the network of Network.
	Store   *slashingtest.Memory
	Network slashing.Root
	Head    message.Head

	mu          sync.Mutex
	status      message.Status
	credentials *message.Credentials
	bundles     [][]byte
	lines       []string
	mux         *http.ServeMux
}

// New returns an enclave that waits for a bundle.
func New() *Enclave {
	network := slashing.Root{1}
	e := &Enclave{Store: slashingtest.NewMemory(network), Network: network, mux: http.NewServeMux()}
	e.status.State = message.WaitingForBundle
	e.mux.HandleFunc("GET /status", e.serveStatus)
	e.mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "holdfast_signatures_total 7\n")
	})
	e.mux.HandleFunc("GET /logs", e.serveLogs)
	e.mux.HandleFunc("PUT /bundle", e.takeBundle)
	e.mux.HandleFunc("PUT /credentials", e.takeCredentials)
	e.mux.HandleFunc("GET /slashing/head", func(w http.ResponseWriter, _ *http.Request) { answer(w, e.Head) })
	e.mux.HandleFunc("POST /slashing/vouch", e.takeStatement)
	e.mux.HandleFunc("GET /slashing/watermarks", e.serveWatermarks)
	e.mux.HandleFunc("POST /slashing/watermarks", e.raise)
	e.mux.HandleFunc("GET /slashing/interchange", e.export)
	e.mux.HandleFunc("POST /slashing/interchange", e.importHistory)
	e.mux.HandleFunc("POST /keys", func(w http.ResponseWriter, r *http.Request) { serveCeremony(w, r, e.Make) })
	e.mux.HandleFunc("POST /tables", func(w http.ResponseWriter, r *http.Request) { serveCeremony(w, r, e.Move) })
	return e
}

// serveCeremony answers a request for a bundle that is made inside.
func serveCeremony[T any](w http.ResponseWriter, r *http.Request, make func(T) (message.Generated, error)) {
	if make == nil {
		http.NotFound(w, r)
		return
	}
	var asked T
	if !readUpTo(w, r, message.MaxBundleSize, &asked) {
		return
	}
	made, err := make(asked)
	var refused *client.RefusedError
	switch {
	case errors.As(err, &refused):
		refuse(w, refused.Code, errors.New(refused.Reason))
	case err != nil:
		refuse(w, http.StatusBadRequest, err)
	default:
		answer(w, made)
	}
}

// ServeHTTP implements [http.Handler].
func (e *Enclave) ServeHTTP(w http.ResponseWriter, r *http.Request) { e.mux.ServeHTTP(w, r) }

// Do runs f while no request is answered.
func (e *Enclave) Do(f func(*Enclave)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f(e)
}

// Restart forgets everything but the store, as an enclave does.
func (e *Enclave) Restart() {
	e.Do(func(e *Enclave) {
		e.status = message.Status{State: message.WaitingForBundle}
		e.credentials, e.lines = nil, nil
	})
}

// Log adds a line to the log.
func (e *Enclave) Log(line string) { e.Do(func(e *Enclave) { e.lines = append(e.lines, line) }) }

// SetStatus replaces what the enclave says of itself.
func (e *Enclave) SetStatus(s message.Status) { e.Do(func(e *Enclave) { e.status = s }) }

// Status is what the enclave says of itself.
func (e *Enclave) Status() (s message.Status) {
	e.Do(func(e *Enclave) { s = e.status })
	return s
}

// Bundles are those that were handed over since the beginning, refused ones included.
func (e *Enclave) Bundles() (b [][]byte) {
	e.Do(func(e *Enclave) { b = slices.Clone(e.bundles) })
	return b
}

// Credentials are those handed over last since the last restart.
func (e *Enclave) Credentials() (c *message.Credentials) {
	e.Do(func(e *Enclave) { c = e.credentials })
	return c
}

func (e *Enclave) serveStatus(w http.ResponseWriter, _ *http.Request) { answer(w, e.Status()) }

func (e *Enclave) serveLogs(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(r.FormValue("after"), 10, 64)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	total := uint64(len(e.lines))
	answer(w, message.Logs{Lines: e.lines[min(after, total):], Next: total})
}

func (e *Enclave) takeBundle(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, message.MaxBundleSize))
	if err != nil {
		refuse(w, http.StatusRequestEntityTooLarge, err)
		return
	}
	bundle, err := describe(data)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.bundles = append(e.bundles, data)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	for _, other := range []*message.Bundle{e.status.Bundle, e.status.Pending} {
		if other != nil && other.Configuration != bundle.Configuration {
			refuse(w, http.StatusConflict, fmt.Errorf("another configuration is locked until a restart"))
			return
		}
	}
	e.status.Pending = &bundle
	if e.status.State == message.WaitingForBundle {
		e.status.State = message.WaitingForKey
	}
	e.open()
	answer(w, e.status)
}

// describe reads a bundle's clear part.
func describe(data []byte) (message.Bundle, error) {
	e, err := envelope.Parse(data)
	if err != nil {
		return message.Bundle{}, err
	}
	b := message.Bundle{
		Name: e.Name, Version: e.Version, Configuration: fmt.Sprintf("%x", e.ConfigurationDigest()),
		Keys: len(e.PublicKeys), Age: e.Age != nil,
	}
	if e.KMS != nil {
		b.KMSKey = e.KMS.Key
	}
	return b, nil
}

// KMSKey is the key that wraps the data key of a bundle whose configuration names it.
const KMSKey = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

// Bundle returns a bundle for one validator that nothing can open, but whose clear part is sound. Its data key is
// wrapped by [KMSKey] if the configuration, which is canonical JSON, names that, and else to an age identity.
func Bundle(name string, version uint64, configuration string) []byte {
	e := &envelope.Envelope{
		Name: name, Version: version, Configuration: []byte(configuration),
		PublicKeys: [][48]byte{{7}}, Sealed: make([]byte, 64),
	}
	if strings.Contains(configuration, KMSKey) {
		e.KMS = &envelope.KMSWrap{Key: KMSKey, Ciphertext: []byte{1}}
	} else {
		e.Age = []byte("age-encryption.org/v1\n")
	}
	return e.Bytes()
}

// open tries the pending bundle.
func (e *Enclave) open() {
	if e.status.Pending == nil {
		return
	}
	if e.Open != nil {
		if err := e.Open(*e.status.Pending, e.credentials); err != nil {
			e.status.Problem = err.Error()
			return
		}
	}
	e.status.Bundle, e.status.Pending, e.status.Problem = e.status.Pending, nil, ""
	e.status.State = message.Serving
}

func (e *Enclave) takeCredentials(w http.ResponseWriter, r *http.Request) {
	var c message.Credentials
	if !read(w, r, &c) {
		return
	}
	if c.AccessKeyID == "" || !c.Expiration.After(time.Now()) {
		refuse(w, http.StatusBadRequest, fmt.Errorf("credentials are absent or expired"))
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.credentials, e.status.CredentialsUntil = &c, &c.Expiration
	e.open()
	w.WriteHeader(http.StatusNoContent)
}

func (e *Enclave) takeStatement(w http.ResponseWriter, r *http.Request) {
	var s message.Statement
	if !read(w, r, &s) {
		return
	}
	if e.Verify != nil {
		if err := e.Verify(s); err != nil {
			refuse(w, http.StatusForbidden, err)
			return
		}
	}
	e.Do(func(e *Enclave) {
		if e.Head.Floor = nil; e.status.Slashing != nil {
			e.status.Slashing.Floor = nil
		}
	})
	w.WriteHeader(http.StatusNoContent)
}

// history returns what the store has.
func (e *Enclave) history(w http.ResponseWriter, r *http.Request) (slashing.Interchange, bool) {
	history, err := e.Store.Export(r.Context(), nil)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err)
	}
	return history, err == nil
}

func (e *Enclave) serveWatermarks(w http.ResponseWriter, r *http.Request) {
	history, ok := e.history(w, r)
	if !ok {
		return
	}
	marks := []message.Watermark{}
	for _, key := range slices.SortedFunc(maps.Keys(history.States), compareKeys) {
		marks = append(marks, watermark(key, history.States[key]))
	}
	answer(w, marks)
}

func compareKeys(a, b slashing.PublicKey) int { return bytes.Compare(a[:], b[:]) }

func watermark(key slashing.PublicKey, s slashing.State) message.Watermark {
	mark := message.Watermark{PublicKey: fmt.Sprintf("%#x", key)}
	if s.Block.Signed {
		mark.Slot = &s.Block.Slot
	}
	if s.Attestation.Signed {
		mark.Source, mark.Target = &s.Attestation.Source, &s.Attestation.Target
	}
	return mark
}

func (e *Enclave) raise(w http.ResponseWriter, r *http.Request) {
	var raise message.Raise
	if !read(w, r, &raise) {
		return
	}
	history, ok := e.history(w, r)
	if !ok {
		return
	}
	least := slashing.State{}
	if raise.Slot != nil {
		least.Block = slashing.BlockMark{Signed: true, Slot: *raise.Slot}
	}
	if raise.Source != nil || raise.Target != nil {
		least.Attestation = slashing.AttestationMark{
			Signed: true, Source: value(raise.Source), Target: cmp.Or(value(raise.Target), value(raise.Source)),
		}
	}
	for key := range history.States {
		history.States[key] = least
	}
	if len(raise.PublicKeys) > 0 {
		clear(history.States)
	}
	for _, text := range raise.PublicKeys {
		key, err := hex.DecodeString(strings.TrimPrefix(text, "0x"))
		if err != nil || len(key) != len(slashing.PublicKey{}) {
			refuse(w, http.StatusBadRequest, fmt.Errorf("got public key %q", text))
			return
		}
		history.States[slashing.PublicKey(key)] = least
	}
	if err := e.Store.Import(r.Context(), history); err != nil {
		refuse(w, http.StatusConflict, err)
		return
	}
	e.serveWatermarks(w, r)
}

func value(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

func (e *Enclave) export(w http.ResponseWriter, r *http.Request) {
	if history, ok := e.history(w, r); ok {
		answer(w, history)
	}
}

func (e *Enclave) importHistory(w http.ResponseWriter, r *http.Request) {
	imported, err := slashing.ReadInterchange(http.MaxBytesReader(w, r.Body, message.MaxInterchangeSize))
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	before, ok := e.history(w, r)
	if !ok {
		return
	}
	if err := e.Store.Import(r.Context(), imported); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	result := message.ImportResult{Keys: map[string]string{}}
	for key, state := range imported.States {
		said := "raised"
		if slashing.Merge(before.States[key], state) == before.States[key] {
			said = "unchanged"
		}
		result.Keys[fmt.Sprintf("%#x", key)] = said
	}
	answer(w, result)
}

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	return readUpTo(w, r, message.MaxSize, into)
}

func readUpTo(w http.ResponseWriter, r *http.Request, limit int64, into any) bool {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
	}
	return err == nil
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the peer's connection is the peer's matter
}

func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": err.Error(), "code": code})
}
