package ethereum

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"holdfast/enclave/ethereum/bls"
	"holdfast/enclave/ethereum/keystore"
	"holdfast/enclave/secret"
	"holdfast/enclave/slashing"
)

const (
	// maxKeystores bounds those of one import. Each takes about a second of a
	// processor.
	maxKeystores = 256

	// importTimeout bounds an import, which a server's usual timeouts would cut.
	importTimeout = 10 * time.Minute
)

// importRequest is the body of an import. Unknown fields are ignored, as the key
// manager's specification may grow.
type importRequest struct {
	Keystores          []string   `json:"keystores"`
	Passwords          []password `json:"passwords"`
	SlashingProtection string     `json:"slashing_protection"`
}

// password is a secret that is decoded straight from the body, since a string
// could not be wiped.
type password struct{ secret.Bytes }

// UnmarshalJSON reads a JSON string.
func (p *password) UnmarshalJSON(literal []byte) error {
	if len(literal) < 2 || literal[0] != '"' {
		return errors.New("a password is not a string")
	}
	text, err := unquote(literal[1 : len(literal)-1])
	if err != nil {
		return errors.New("a password has a bad escape") // which is not shown
	}
	p.Bytes = secret.New(text)
	return nil
}

// unquote resolves the escapes of a JSON string (RFC 8259, section 7), whose syntax
// encoding/json has checked.
func unquote(s []byte) ([]byte, error) {
	text := make([]byte, 0, len(s))
	for len(s) > 0 {
		switch {
		case s[0] != '\\':
			text, s = append(text, s[0]), s[1:]
		case s[1] == 'u':
			r, size, err := unquoteRune(s)
			if err != nil {
				return nil, err
			}
			text, s = utf8.AppendRune(text, r), s[size:]
		default:
			text, s = append(text, escapes[s[1]]), s[2:]
		}
	}
	return text, nil
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unquoteRune reads \uXXXX, or two of them that make a surrogate pair, and returns
// how long that was.
func unquoteRune(s []byte) (rune, int, error) {
	const size = len(`\uXXXX`)
	first, err := strconv.ParseUint(string(s[2:size]), 16, 16)
	if err != nil || !utf16.IsSurrogate(rune(first)) {
		return rune(first), size, err
	}
	if len(s) < 2*size || s[size] != '\\' || s[size+1] != 'u' {
		return 0, 0, errors.New("half a surrogate pair")
	}
	second, err := strconv.ParseUint(string(s[size+2:2*size]), 16, 16)
	r := utf16.DecodeRune(rune(first), rune(second))
	if err == nil && r == utf8.RuneError {
		err = errors.New("half a surrogate pair")
	}
	return r, 2 * size, err
}

func (s *Service) serveImport(w http.ResponseWriter, r *http.Request) {
	extendDeadlines(w)
	signer, archive, no := s.archive()
	var request importRequest
	if no == nil {
		request, no = readImport(w, r)
	}
	defer request.wipe()
	var outcomes []outcomeJSON
	if no == nil {
		ctx, cancel := context.WithTimeout(r.Context(), importTimeout)
		defer cancel()
		outcomes, no = s.importKeystores(ctx, signer, archive, &request)
	}
	if no != nil {
		s.logger.LogAttrs(r.Context(), slog.LevelWarn, "import refused", slog.Any("error", no.err))
		writeError(w, no.status, no.err)
		return
	}
	s.logger.LogAttrs(r.Context(), slog.LevelInfo, "keystores imported", slog.Int("given", len(outcomes)))
	writeJSON(w, http.StatusOK, dataJSON[outcomeJSON]{Data: outcomes})
}

// extendDeadlines makes room for slow key derivations. A writer that has no
// deadlines needs none.
func extendDeadlines(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	until := time.Now().Add(importTimeout)
	_ = control.SetReadDeadline(until)
	_ = control.SetWriteDeadline(until)
}

func readImport(w http.ResponseWriter, r *http.Request) (request importRequest, no *refusal) {
	body, no := readBody(w, r)
	if no != nil {
		return request, no
	}
	defer clear(body)
	if err := json.Unmarshal(body, &request); err != nil {
		return request, refuse(http.StatusBadRequest, malformed, withoutContent(err))
	}
	switch keystores, passwords := len(request.Keystores), len(request.Passwords); {
	case keystores != passwords:
		no = refuse(http.StatusBadRequest, malformed, fmt.Errorf("got %d keystores and %d passwords, want as many of each", keystores, passwords))
	case keystores > maxKeystores:
		no = refuse(http.StatusBadRequest, malformed, fmt.Errorf("got %d keystores, limit %d; import them in parts", keystores, maxKeystores))
	}
	return request, no
}

// withoutContent says what is wrong with a body without quoting any of it, since
// it may hold passwords.
func withoutContent(err error) error {
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("body is not JSON, at byte %d", syntax.Offset)
	case errors.As(err, &mismatch):
		return fmt.Errorf("body has another type than wanted, at byte %d", mismatch.Offset)
	}
	return errors.New("body is not an import: want keystores, passwords and slashing_protection")
}

func (r *importRequest) wipe() {
	for _, p := range r.Passwords {
		p.Wipe()
	}
}

// importKeystores opens keystores, then imports the slashing data of the keys that
// are new, and only then holds the keys. If the data are not taken, no key is.
func (s *Service) importKeystores(ctx context.Context, signer *signer, archive slashing.Archive, request *importRequest) ([]outcomeJSON, *refusal) {
	opened := signer.open(ctx, request)
	outcomes := make([]outcomeJSON, len(opened))
	var fresh []Imported
	var places []int
	for i, o := range opened {
		if o.err != nil {
			outcomes[i] = failed(o.err)
			continue
		}
		fresh, places = append(fresh, Imported{o.key, o.path}), append(places, i)
	}
	if err := importHistory(ctx, archive, request.SlashingProtection, fresh); err != nil {
		for _, f := range fresh {
			f.Key.Wipe()
		}
		return nil, refuse(http.StatusBadRequest, malformed, fmt.Errorf("slashing_protection: %w; nothing was imported", err))
	}
	added, err := s.Import(fresh...)
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, keyFailed, err)
	}
	for i, ok := range added {
		outcomes[places[i]] = outcome("duplicate")
		if ok {
			outcomes[places[i]] = outcome("imported")
		}
	}
	return outcomes, nil
}

// importHistory imports what a document says of keys, and nothing of others.
func importHistory(ctx context.Context, archive slashing.Archive, document string, keys []Imported) error {
	if document == "" {
		return nil
	}
	history, err := slashing.ReadInterchange(strings.NewReader(document))
	if err != nil {
		return err
	}
	publics := make([]bls.PublicKey, len(keys))
	for i, key := range keys {
		publics[i] = key.Key.PublicKey()
	}
	return archive.Import(ctx, filter(history, publics))
}

type openedKeystore struct {
	key  *bls.SecretKey
	path string
	err  error
}

// open decrypts keystores side by side, as far as the opener's bounds allow.
func (s *signer) open(ctx context.Context, request *importRequest) []openedKeystore {
	opened := make([]openedKeystore, len(request.Keystores))
	var group sync.WaitGroup
	for i, file := range request.Keystores {
		group.Go(func() {
			o := &opened[i]
			o.path = keystore.Path([]byte(file))
			o.key, o.err = s.Keystores.Open(ctx, []byte(file), request.Passwords[i].Reveal())
		})
	}
	group.Wait()
	return opened
}
